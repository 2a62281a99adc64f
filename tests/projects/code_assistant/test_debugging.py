import pytest
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.coding.humaneval import CodeProblem
from llmguide.coding.sandbox.judging import judge
from llmguide.data.splits import in_validation
from llmguide.projects.code_assistant import debugging
from llmguide.projects.code_assistant import project as code_assistant
from llmguide.projects.code_assistant.bugs import (
    Bug,
    Change,
    bugs,
    changed,
    is_short_assertion,
    mutations,
    passes_its_test,
    solution,
)
from llmguide.projects.code_assistant.code import Plan
from llmguide.projects.code_assistant.debugging import (
    HELD_OUT,
    bugs_in,
    change_of,
    mends,
    nearest_change,
    response,
    searched_change,
)

LINE = "name = self.value\n"
PROBLEMS = [
    CodeProblem(
        f"t/{i}",
        f'def add_{i}(x):\n    """Add a number. Or not."""\n',
        f"add_{i}",
        f"    return x + {i}\n",
        f"def check(candidate):\n    assert candidate(10) == {10 + i}\n    assert candidate(2) == {2 + i}\n",
    )
    for i in (2, 3, 5)  # the last is held out
]


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory):
    """A run that adapts the tiny model to one line and to bugs in small programs."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "code").mkdir()
    for i in range(40):
        (folder / "code" / f"module_{i}.py").write_text(LINE * 30)
    small = pytest.MonkeyPatch()
    small.setattr(debugging, "load_humaneval", lambda: PROBLEMS)
    args = ["project", "code-assistant", "--base", str(base), "--corpus", str(folder / "code")]
    sizes = ["--n-steps", "2", "--batch-size", "2", "--bugs-per-program", "1", "--context-length", "500"]
    assert main([*args, *sizes, "--seed", str(SEED), "--output", str(folder / "whole")]) == 0
    yield folder / "whole"
    small.undo()


def test_a_bug_fails_the_shown_test_and_its_answer_passes_all():
    found = list(bugs(PROBLEMS[:2], 2, seed=SEED))
    assert len(found) == 4
    for bug, problem in zip(found, [p for p in PROBLEMS[:2] for _ in range(2)], strict=True):
        assert bug.problem == problem.task_id
        assert not judge(bug.program, problem.tests()).passed
        assert not passes_its_test(bug, bug.program)
        assert not mends(bug, problem, Change(0, ""))  # unchanged
        assert mends(bug, problem, change_of(response(bug)))


def test_mutations_change_the_body_alone_and_can_be_undone():
    program = solution(PROBLEMS[0])
    found = mutations(program, "add_2")
    assert [change.text.split("return ")[1] for change in found] == ["x - 2", "x * 2", "x + 1", "x + 3"]
    for change in found:
        wrong = changed(program, change)
        assert program in [changed(wrong, other) for other in mutations(wrong, "add_2")]


@pytest.mark.parametrize(
    ("test", "short"),
    [
        ("assert candidate(1) == [2]", True),
        ("assert candidate(x) == [2]", False),
        ("assert candidate([1,", False),
        ("assert abs(candidate(1)) < 1", False),
        (f"assert candidate({'1' * 90}) == 1", False),
    ],
)
def test_a_shown_test_needs_no_other_line(test, short):
    assert is_short_assertion(test) == short


def test_the_search_stops_at_the_first_mutation_that_passes_the_shown_test():
    bug = Bug("t", "f", "def f(x):\n    return x - 1", 2, "    return x + 1", "assert candidate(3) == 4", "")
    assert searched_change(bug) == (Change(2, "    return x + 1"), 1)
    hopeless = bug._replace(test="assert candidate(3) == 'no'")
    assert searched_change(hopeless) == (Change(0, ""), len(mutations(bug.program, "f")))


def test_the_nearest_neighbor_repeats_a_change_that_it_knows():
    train = [Bug("t", "f", "def f(x):\n    return x < 7", 2, "    return x <= 7", "", "")]
    bug = Bug("u", "g", "def g(y):\n    z = y - 1\n    return y < z", 3, "    return y <= z", "", "")
    assert nearest_change(bug, train) == Change(3, "    return y <= z")


@pytest.mark.nightly
def test_training_and_held_out_bugs_are_of_different_problems(finished, results):
    found = bugs_in(finished)
    for side, is_held_out in (("train", False), ("held out", True)):
        assert found[side]
        assert all(in_validation(bug.problem, HELD_OUT) == is_held_out for bug in found[side])
    measured = results(finished)
    assert measured["n_held_out"] == len(found["held out"])
    assert measured["mended"]["search"]["score"] == 1  # one bug, one number, and it is in the table of swaps
    gain = measured["gains"]["bugs mended by the training"]["score"]
    assert gain == pytest.approx(measured["mended"]["model"]["score"] - measured["mended"]["before"]["score"])


def test_a_model_that_has_learned_nothing_fails_the_check(finished):
    assert not any(criterion.passed for criterion in code_assistant.check(finished))


def test_debugging_needs_a_base():
    with pytest.raises(ValueError, match="--bugs-per-program needs a --base"):
        Plan(bugs_per_program=1)
