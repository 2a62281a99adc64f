"""Prompts hold what they promise; code is found in answers; votes go to what agrees."""

import pytest

from llmguide.coding import prompts
from llmguide.coding.patterns import dynamic, edge_cases, graphs, structures, two_pointers
from llmguide.coding.problems import COIN_CHANGE, PROBLEMS, SECOND_LARGEST, TWO_SUM
from llmguide.coding.sandbox import process
from llmguide.coding.sandbox.judging import judge
from llmguide.coding.sandbox.verdicts import FunctionTests
from llmguide.coding.voting import Vote, vote
from llmguide.evaluation.extraction import extract_code

CODE = "def second_largest(numbers):\n    return sorted(numbers)[-2]\n"
SIMPLE = (
    prompts.direct,
    prompts.chain_of_thought,
    prompts.several_approaches,
    prompts.socratic,
    prompts.explain_then_code,
    prompts.by_kind,
)
SOLUTIONS = {
    "two_sum": lambda numbers, target: list(structures.two_sum(numbers, target)),
    "second_largest": edge_cases.second_largest,
    "is_palindrome": two_pointers.is_palindrome,
    "coin_change": lambda coins, amount: -1 if (n := dynamic.coin_change(coins, amount)) is None else n,
    "count_islands": graphs.count_islands,
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_problems_agree_with_their_patterns_and_examples(problem):
    solution = SOLUTIONS[problem.name]
    assert all(solution(*args) == expected for args, expected in problem.tests.cases)
    assert all(eval(call, {problem.name: solution}) == eval(value) for call, value in problem.examples)
    assert problem.signature.startswith(f"def {problem.name}(")


@pytest.mark.parametrize("build", SIMPLE)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_every_prompt_specifies_the_problem(build, problem):
    messages = build(problem)
    assert messages[-1]["role"] == "user"
    for part in (
        problem.signature,
        problem.statement,
        *problem.constraints,
        *map(" returns ".join, problem.examples),
    ):
        assert part in messages[-1]["content"]


def test_techniques_differ():
    texts = {build(TWO_SUM)[-1]["content"] for build in SIMPLE if build is not prompts.socratic}
    assert len(texts) == len(SIMPLE) - 1


def test_few_shot_shows_solutions_as_earlier_turns():
    messages = prompts.few_shot(TWO_SUM, [(SECOND_LARGEST, CODE)])
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert extract_code(messages[1]["content"], "second_largest") == CODE
    assert messages[2:] == prompts.direct(TWO_SUM)


def test_refining_keeps_the_conversation():
    first = prompts.explain_then_code(TWO_SUM)
    assert prompts.refine(first, "Use a hash map.", "Now write the code.")[:2] == [
        *first,
        {"role": "assistant", "content": "Use a hash map."},
    ]


def test_debugging_shows_the_failing_case():
    verdict = judge(CODE, FunctionTests("second_largest", [([[5, 5]], None)]))
    text = prompts.debug(SECOND_LARGEST, CODE, verdict)[0]["content"]
    for part in (CODE, "wrong_answer", "Input: [[5, 5]]", "Expected: None", "Got: 5"):
        assert part in text
    crashed = judge("import nothing_such", SECOND_LARGEST.tests)
    assert (
        "ModuleNotFoundError" in prompts.debug(SECOND_LARGEST, "import nothing_such", crashed)[0]["content"]
    )


def test_requirements_and_code_are_in_the_prompt():
    assert "- no imports" in prompts.constrained(TWO_SUM, ["no imports"])[0]["content"]
    assert CODE in prompts.review(SECOND_LARGEST, CODE)[0]["content"]
    assert all(
        question in prompts.by_kind(COIN_CHANGE)[0]["content"]
        for question in prompts.QUESTIONS["dynamic programming"]
    )


def test_votes_count_programs_that_compute_the_same():
    calls = FunctionTests("f", [([2], None), ([0], None)])
    right, wrong = "def f(x): return x * x", "def f(x): return x + 1"
    crashes, never = "def f(x): return 4 // (x // 2 + 0 * x) // x * 2", "def f(x): raise ValueError"
    assert vote([wrong, right, None, "f = lambda x: x ** 2", never], calls) == Vote(1, ((1, 3), (0,)))
    assert vote([crashes, crashes, right], calls).groups == ((0, 1), (2,))
    assert vote([None, never], calls) == Vote(None, ())


def test_a_vote_can_demand_protections(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", ("limits",))
    calls, candidates = FunctionTests("f", [([2], None)]), ["def f(x): return x"]
    assert vote(candidates, calls, require=["limits"]).winner == 0
    with pytest.raises(
        RuntimeError, match=r"lacks required layers of the sandbox: \{'landlock': 'not asked for'\}"
    ):
        vote(candidates, calls, require=["limits", "landlock"])
