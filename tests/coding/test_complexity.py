"""The meter on functions and counts whose growth is known, and every pattern's claim."""

import json
import math
import random
import subprocess
import sys

import numpy as np
import pytest

from llmguide.coding._fast_fits import fast_errors
from llmguide.coding.claims import CLAIMS
from llmguide.coding.complexity import (
    CLASSES,
    SIZES,
    SMALL_SIZES,
    UNDECIDED,
    Counted,
    count_steps,
    fit,
    fit_class,
    measure,
)


def loops(depth):
    def function(n):
        if depth == 0:
            return 1
        total = 0
        for _ in range(n):
            total += loops(depth - 1)(n)
        return total

    return function


def halve(n):
    while n > 1:
        n //= 2


def n_log_n(n):
    for _ in range(n):
        halve(n)


def two_to_n(n):
    for _ in range(2**n):
        pass


@pytest.mark.parametrize(
    ("function", "growth", "sizes"),
    [
        (loops(0), "O(1)", SIZES),
        (halve, "O(log n)", SIZES),
        (loops(1), "O(n)", SIZES),
        (n_log_n, "O(n log n)", SIZES[:-2]),
        (loops(2), "O(n^2)", (4, 8, 12, 16, 24, 32, 48)),
        (loops(3), "O(n^3)", (4, 6, 8, 10, 12, 14, 16, 20)),
        (two_to_n, "O(2^n)", SMALL_SIZES),
    ],
)
def test_known_growth_is_found(function, growth, sizes):
    found = measure(function, lambda n: (n,), sizes)
    assert (found.name, found.confidence) == (growth, 1.0)
    assert found.runner_up != growth
    assert found.sizes == tuple(sizes)


MEASURE_ALL = """
import json
from llmguide.coding.claims import CLAIMS
from random import Random
from llmguide.coding.complexity import SIZES, SMALL_SIZES, Counted, measure
from llmguide.coding.patterns import backtracking, dynamic
found = [[c.growth, c.measured().name, c.measured().confidence] for c in CLAIMS]
permutations = measure(backtracking.permutations, lambda n: (range(n),), range(2, 8)).name
fibonacci = measure(dynamic.fibonacci_naive, lambda n: (n,), SMALL_SIZES).name
shuffled = lambda n: ([Counted(x) for x in Random(n).sample(range(n), n)],)
builtin = measure(sorted, shuffled).name
print(json.dumps([found, permutations, fibonacci, builtin]))
"""


def test_every_pattern_grows_as_it_claims():
    # in another process: here the type checks of the test-suite would be counted
    done = subprocess.run([sys.executable, "-c", MEASURE_ALL], capture_output=True, text=True, check=True)
    found, permutations, fibonacci, builtin = json.loads(done.stdout)
    wrong = [
        (c.name, measured) for c, (_, *measured) in zip(CLAIMS, found, strict=True) if measured[0] != c.growth
    ]
    assert not wrong
    assert permutations == UNDECIDED  # n! is not on the list
    assert fibonacci in (UNDECIDED, "O(2^n)")  # 1.618^n: no polynomial
    assert builtin == "O(n log n)"


@pytest.mark.parametrize("name", CLASSES)
def test_lower_terms_and_noise_do_not_mislead(name):
    growth, sizes = CLASSES[name], SMALL_SIZES if name == "O(2^n)" else SIZES
    noise = np.random.default_rng(0).normal(1, 0.01, len(sizes))
    steps = [growth(n) * e + 3 for n, e in zip(sizes, noise, strict=True)]
    assert fit(sizes, steps).name == name
    lower = list(CLASSES.values())[max(list(CLASSES).index(name) - 1, 0)]
    assert fit(sizes, [growth(n) + lower(n) for n in sizes]).name == name
    assert fit(sizes, [1e6 * growth(n) for n in sizes]).name == name  # units do not matter


@pytest.mark.parametrize(
    ("steps", "sizes"),
    [
        (math.factorial, SMALL_SIZES),
        (math.sqrt, SIZES),
        (lambda n: random.Random(n).random() + 0.01, SIZES),
        (lambda n: n if math.log2(n) % 2 else n * n, SIZES),
        (lambda n: 1 if n < 2000 else 10**6, SIZES),
    ],
)
def test_growth_that_is_none_of_them_is_undecided(steps, sizes):
    assert fit(sizes, [steps(n) for n in sizes]).name == UNDECIDED


def test_counts_are_the_same_every_time():
    first, second = (measure(n_log_n, lambda n: (n,), SIZES[:6]) for _ in range(2))
    assert first == second


def test_steps_by_hand():
    def function(n):
        while n:
            n -= 1

    assert count_steps(function, 3) == 4 + 3  # tests of n, and bodies


def test_tracing_ends_with_the_call():
    def fails():
        raise KeyError

    with pytest.raises(KeyError):
        count_steps(fails)
    assert sys.gettrace() is None


def test_counted_numbers_compare_as_numbers():
    assert Counted(1) == Counted(1) != Counted(2)
    assert Counted(2) >= Counted(1)
    assert len({Counted(1), Counted(1)}) == 1


@pytest.mark.parametrize(
    ("sizes", "steps", "message"),
    [
        ([2, 4, 8], [1, 2, 3], "give 6 or more"),
        ([8, 9, 10, 11, 12, 13], [1] * 6, "factor of 3"),
        ([1, 2, 4, 8, 16, 32], [1] * 6, "from 2"),
        ([2, 4, 8, 16, 32, 64], [0] * 6, "positive"),
        ([2, 4, 8, 16, 32, 64], [1] * 5, "5 counts"),
    ],
)
def test_what_cannot_be_measured_is_refused(sizes, steps, message):
    with pytest.raises(ValueError, match=message):
        fit(sizes, steps)


def test_the_fast_fits_equal_the_readable_one():
    generator = np.random.default_rng(0)
    n = np.array([4.0, 8, 16, 32, 64, 128, 256, 512])
    growths = [np.ones_like(n), np.log2(n), n, n * np.log2(n), n**2, n**3]
    samples = [np.arange(8), *(generator.choice(8, 8) for _ in range(30))]
    samples = [rows for rows in samples if len(set(rows.tolist())) >= 4]
    weights = np.array([np.bincount(rows, minlength=8) for rows in samples], dtype=float)
    for steps in (3 * n + 20, n * np.log2(n) + 5, 0.1 * n**2 + 7 * n):
        y = steps * generator.uniform(0.9, 1.1, len(n))
        expected = [
            [fit_class(growth[rows], [low[rows] for low in growths[:i]], y[rows]) for rows in samples]
            for i, growth in enumerate(growths)
        ]
        assert fast_errors(growths, y, weights) == pytest.approx(np.array(expected), rel=1e-4)
