"""Wrong versions that learners wrote and that once passed, or failed under the name of another mistake."""

import pytest
import torch
from tests.projects.assignments.wrong_parts import WRONG

from llmguide.exercises.grading import grade_exercise
from llmguide.projects.assignments.assignment import part_of


@pytest.mark.parametrize(("part", "mistake", "function"), WRONG, ids=[f"{w[0]}: {w[1]}" for w in WRONG])
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
