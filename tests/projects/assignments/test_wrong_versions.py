"""Wrong versions that learners wrote and that once passed, or failed under the name of another mistake."""

import pytest
import torch
from tests.projects.assignments.wrong_parts import WRONG
from tests.projects.assignments.wrong_small_lm_parts import WRONG_SMALL_LM

from llmguide.exercises.grading import grade_exercise
from llmguide.projects.assignments.assignment import part_of

ALL = [*WRONG, *WRONG_SMALL_LM]


@pytest.mark.parametrize(("part", "mistake", "function"), ALL, ids=[f"{w[0]}: {w[1]}" for w in ALL])
def test_a_wrong_version_is_named(part, mistake, function):
    grade = grade_exercise(part_of(part), function)
    assert (grade.passed, grade.mistake) == (False, mistake), grade.message


def test_tied_tokens_may_be_kept_in_any_order():
    top_p = part_of("top-p").solution
    assert grade_exercise(part_of("top-p"), lambda logits, p: top_p(logits.flip(0), p).flip(0)).passed


def test_an_empty_result_and_whole_numbers_are_shown_as_they_are():
    grade = grade_exercise(part_of("sft-targets"), lambda prompt, answer: None)
    assert grade.mistake == "returns nothing"
    grade = grade_exercise(part_of("four-bits"), lambda block, codes: torch.arange(len(block)))
    assert "Got [0, 1, 2, 3]" in grade.message


def test_a_result_without_a_gradient_to_compare_is_none_or_has_a_note():
    bradley_terry = part_of("bradley-terry")
    grade = grade_exercise(bradley_terry, lambda chosen, rejected: None)
    assert grade.mistake == "returns nothing"
    assert "Is a return statement missing?\nExpected 0.8133\n" in grade.message


def test_a_wrong_entry_of_a_dict_is_named():
    merge = part_of("merge").solution

    def rows_reversed(weights, adapter, config):
        return {
            name: merged.flip(0) if name == "up" else merged
            for name, merged in merge(weights, adapter, config).items()
        }

    message = grade_exercise(part_of("merge"), rows_reversed).message
    assert "The entry 'up' is the first wrong one: got [[" in message


def test_a_message_names_the_inputs_and_shortens_a_large_one():
    grade = grade_exercise(part_of("bpe-encode"), lambda piece, ranks: [0])
    assert "not in a way that this test can name" in grade.message
    assert grade.message.endswith("for piece = b'lowest', ranks = dict of 262 entries")
    grade = grade_exercise(part_of("chinchilla"), lambda flops: [0] * 1000)
    assert "0, 0, ... of type list" in grade.message
    assert len(grade.message) < 1000


def test_merges_end_where_no_pair_is_left():
    grade = grade_exercise(part_of("bpe-train"), lambda words, n_merges: [min([])])
    assert "raises ValueError" in grade.message
    assert ({b"ab": 9, b"cd": 3}, 4) in part_of("bpe-train").probes()
    assert len(part_of("bpe-train").solution({b"ab": 9, b"cd": 3}, 4)) == 2
