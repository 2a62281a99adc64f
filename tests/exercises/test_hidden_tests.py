"""Hidden tests: right answers pass them, stored results do not, and each seed has its own inputs."""

import copy

import pytest
import torch
from site_tools.markdown.exercises import solution

from llmguide.exercises import exercise, exercises
from llmguide.exercises.checking import check, needed, observe_source
from llmguide.exercises.comparing import same
from llmguide.exercises.grading import Grade, compare, observe
from llmguide.exercises.hidden_tests import with_hidden_tests
from llmguide.exercises.samplers import SAMPLERS


def stored(name):
    """Source of an answer that has stored the results of the public tests."""
    asked = exercise(name)
    results = [asked.solution(*arguments) for arguments in asked.probes()]
    plain = [result.tolist() if isinstance(result, torch.Tensor) else result for result in results]
    table = dict(zip(map(repr, asked.probes()), plain, strict=True))
    return f"def {asked.function}(*arguments):\n    return {table!r}.get(repr(arguments), 0.5)\n"


@pytest.mark.parametrize("name", exercises())
def test_right_answers_pass_the_tests_of_a_seed(name):
    imports, answer = solution(exercise(name))
    asked = with_hidden_tests(exercise(name), 7)
    names = {each.function: each.solution for each in needed(asked.needs)}
    exec(f"{imports}\n{answer}", names)
    assert compare(asked, observe(asked, names[asked.function], timeout=600)).passed


ALL_INPUTS_ARE_PUBLIC = {"release-kind"}


def test_every_exercise_has_its_own_inputs_for_each_seed():
    assert set(SAMPLERS) <= set(exercises())
    for name in exercises().keys() - ALL_INPUTS_ARE_PUBLIC:
        first, again, other = (observed(with_hidden_tests(exercise(name), seed)) for seed in (1, 1, 2))
        assert same(first, again), name
        assert not same(first, other), name


def observed(asked):
    return observe(asked, asked.solution, timeout=600)


def remembering(asked):
    """An answer that has stored the results of the public tests, and returns the first of them elsewhere."""
    results = {}

    def key(arguments):
        return repr([argument for argument in arguments if not callable(argument)])

    def record(*arguments):
        called_with = key(arguments)
        result = asked.solution(*arguments)
        results[called_with] = copy.deepcopy(result)
        return result

    observe(asked, record, timeout=600)
    return lambda *arguments: results.get(key(arguments), next(iter(results.values())))


HIDE_INPUTS = sorted(exercises().keys() - ALL_INPUTS_ARE_PUBLIC)
OTHERS = [(name, seed) for name in HIDE_INPUTS for seed in (0, 1) if seed or HIDE_INPUTS.index(name) % 4]


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        *((name, 0) for name in HIDE_INPUTS[::4]),
        *(pytest.param(*other, marks=pytest.mark.nightly) for other in OTHERS),
    ],
)
def test_an_answer_that_stores_the_results_of_the_public_tests_is_caught(name, seed):
    asked = with_hidden_tests(exercise(name), seed)
    result = observe(asked, remembering(exercise(name)), timeout=600)
    assert not (result if isinstance(result, Grade) else compare(asked, result)).passed


def test_random_tensors_are_those_of_the_seed_in_the_hidden_tests_only():
    asked = exercise("attention")
    public = asked.probes()
    first, again, other = (with_hidden_tests(asked, seed).probes() for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)
    assert not same(first, public)
    assert same(asked.probes(), public)


@pytest.mark.parametrize("name", ["bits", "second-largest", "causal-mask", "temperature"])
def test_stored_results_pass_the_public_tests_and_no_hidden_ones(name):
    assert check(name, stored(name)).passed
    for seed in range(5):
        asked = with_hidden_tests(exercise(name), seed)
        assert not compare(asked, observe_source(asked, stored(name), {})).passed


def test_the_sandbox_tells_stored_results_from_right_answers(sandbox):
    result = sandbox.grade("bits", stored("bits"), seed=1)
    assert not result.passed
    assert result.mistake == "passes only the public tests"
    assert result.message.startswith(
        "bits: it passes the public tests, but fails a test with other inputs.\n"
    )
    assert "Got 0.5" in result.message
    assert sandbox.grade("bits", stored("bits")).passed


def test_hidden_tests_use_the_earlier_answers_with_which_the_public_ones_pass(sandbox):
    logits = "gpt(ids[:, :-1], weights, n_heads).log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]"
    own = f"def token_logprobs(ids, weights, n_heads, sign):\n    return sign * {logits}\n"
    loss = (
        "def lm_loss(ids, weights, n_heads):\n    return token_logprobs(ids, weights, n_heads, -1).mean()\n"
    )
    assert sandbox.grade("lm-loss", loss, {"token-logprobs": own}, seed=1).passed
    assert not sandbox.grade("lm-loss", loss, seed=1).passed
