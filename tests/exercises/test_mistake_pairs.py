"""Two mistakes at once: both are named, unless the result is that of one or of another pair."""

from itertools import combinations

import pytest

from llmguide.exercises import exercises, grade
from llmguide.exercises.grading import Grade, compare, observe
from llmguide.exercises.mistake_pairs import combined

PAIRS = {
    name: pairs
    for name, asked in exercises().items()
    if (pairs := [pair for pair in combinations(asked.mistakes, 2) if combined(*(it.mutant for it in pair))])
}


def test_two_mistakes_written_by_hand_are_both_named():
    def mine(x, w1, w2, grad):
        hidden, into = x @ w1.T, grad @ w2
        gated = into * (hidden > 0)
        return into @ w1, gated.T @ x / len(x), grad.T @ hidden.clamp(min=0) / len(x)

    found = grade("backpropagation", mine)
    assert not found.passed
    assert found.mistake == "averaged over the batch; ReLU left out for x"
    assert "what two mistakes give together: the gradients of the weights are divided" in str(found)
    assert str(found).count("\nHint: ") == 2


SOME = {*list(PAIRS)[::4]}


@pytest.mark.parametrize(
    "name", [name if name in SOME else pytest.param(name, marks=pytest.mark.nightly) for name in PAIRS]
)
def test_a_pair_is_caught_and_a_mistake_is_named(name):
    asked = exercises()[name]
    for first, second in PAIRS[name]:
        results = observe(asked, combined(first.mutant, second.mutant), timeout=600)
        if isinstance(results, Grade):
            continue  # it raises an error, which is shown instead
        found = compare(asked, results)
        assert found.mistake, (first.name, second.name)


def test_pairs_are_many():
    assert len(PAIRS) >= len(exercises()) / 2
