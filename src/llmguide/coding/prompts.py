"""Prompts for coding problems: functions that return chat messages.

Every function takes a `Problem` and returns a list of messages ``{"role": ..., "content": ...}`` for any
endpoint that speaks OpenAI's chat format. The techniques differ in one paragraph; `specification` is common
to all, because most of the effect of a prompt comes from a clear specification.

References: chain of thought, Wei et al. 2022, arXiv:2201.11903, and Kojima et al. 2022, arXiv:2205.11916;
few-shot, Brown et al. 2020, arXiv:2005.14165; refinement from test results, Chen et al. 2023,
arXiv:2304.05128, of which Olausson et al. 2023, arXiv:2306.09896, measured how little it gains over taking
more samples. Self-consistency is in `llmguide.coding.voting`.
"""

from collections.abc import Sequence

from llmguide.coding.problems import Problem
from llmguide.coding.sandbox.verdicts import Verdict

Message = dict[str, str]

QUESTIONS = {
    "array": (
        "Is the array sorted, or may it be sorted?",
        "Can two pointers, a sliding window, prefix sums or a hash map save a loop?",
        "What happens for an empty array, one item, duplicates and negative numbers?",
    ),
    "string": (
        "Which characters occur, and do case and whitespace matter?",
        "Can two pointers or character counts save a loop?",
        "What happens for an empty string and for one character?",
    ),
    "tree": (
        "Which traversal fits: pre-order, in-order, post-order or level order?",
        "What does a call on a subtree return, and how are the two results combined?",
        "What happens for an empty tree, a single node and a tree that is a chain?",
    ),
    "dynamic programming": (
        "What is the state, in words: the answer to which smaller problem?",
        "What is the recurrence, and what are the base cases?",
        "In which order are states filled, and how much memory do they need?",
    ),
    "graph": (
        "What are the nodes and edges? Directed? Weighted? How are they represented?",
        "Breadth-first or depth-first search, Dijkstra, topological order or union-find, and why?",
        "What happens with cycles, disconnected components, and an empty graph?",
    ),
}

_FORM = "Answer with one Python code block that holds the whole solution, imports included."


def user(text: str) -> Message:
    """Return a user message."""
    return {"role": "user", "content": text}


def specification(problem: Problem) -> str:
    """Write the specification of a problem: task, statement, examples, constraints, style.

    >>> from llmguide.coding.problems import TWO_SUM
    >>> print(specification(TWO_SUM).splitlines()[0])
    Write this function in Python 3.11, with the standard library only:
    """
    lines = ["Write this function in Python 3.11, with the standard library only:", "", problem.signature, ""]
    lines += [problem.statement, "", "Examples:"]
    lines += [f"- {call} returns {value}" for call, value in problem.examples]
    lines += ["", "Constraints:", *(f"- {constraint}" for constraint in problem.constraints)]
    return "\n".join(lines)


def direct(problem: Problem) -> list[Message]:
    """Ask for the code only: the baseline of every comparison."""
    return [user(f"{specification(problem)}\n\n{_FORM}")]


def chain_of_thought(problem: Problem) -> list[Message]:
    """Ask for step-by-step reasoning before the code (chain of thought)."""
    steps = (
        "Think step by step before you write code:\n"
        "1. Restate the problem and work through the examples by hand.\n"
        "2. Name the brute-force solution and its complexity.\n"
        "3. Find what it computes twice, and a data structure or pattern that avoids it.\n"
        "4. List the edge cases.\n"
        "5. Write the code and trace it on one example."
    )
    return [user(f"{specification(problem)}\n\n{steps}\n\n{_FORM}")]


def few_shot(problem: Problem, solved: Sequence[tuple[Problem, str]]) -> list[Message]:
    """Show solved problems as earlier turns before the question (few-shot prompting).

    Args:
        problem: Problem to solve.
        solved: Problems of the same kind with solutions in the format that the response should have.
    """
    messages = []
    for example, solution in solved:
        messages += [
            *direct(example),
            {"role": "assistant", "content": f"```python\n{solution.strip()}\n```"},
        ]
    return [*messages, *direct(problem)]


def constrained(problem: Problem, requirements: Sequence[str]) -> list[Message]:
    """Add requirements, such as a time complexity, a style, or forbidden functions."""
    listed = "\n".join(f"- {requirement}" for requirement in requirements)
    return [user(f"{specification(problem)}\n\nRequirements:\n{listed}\n\n{_FORM}")]


def several_approaches(problem: Problem, n: int = 3) -> list[Message]:
    """Ask for different solutions with their trade-offs, and for a choice."""
    request = (
        f"Give {n} different approaches, from brute force to the best you know. For each: the idea, time and "
        "space complexity, and when you would use it. Then choose one and say why."
    )
    return [
        user(f"{specification(problem)}\n\n{request}\n\nEnd with one Python code block of the chosen one.")
    ]


def refine(messages: Sequence[Message], answer: str, request: str) -> list[Message]:
    """Follow up on a response with one request, such as a better complexity or clearer names."""
    return [*messages, {"role": "assistant", "content": answer}, user(f"{request}\n\n{_FORM}")]


def socratic(problem: Problem) -> list[Message]:
    """Ask for Socratic tutoring: the model asks questions that lead to the solution, and gives no code."""
    rules = (
        "I want to solve this myself. Do not show a solution or code. Ask me one question at a time that "
        "leads me to the next step; after my answer say what is right and what is missing, then ask the next."
    )
    return [{"role": "system", "content": rules}, user(specification(problem))]


def explain_then_code(problem: Problem) -> list[Message]:
    """Ask for the explanation first; the code is a second turn, by `refine`."""
    request = (
        "Do not write code yet. Explain the approach in plain words: the idea, the invariant that makes it "
        "right, the complexity, and what happens in each edge case."
    )
    return [user(f"{specification(problem)}\n\n{request}")]


def debug(problem: Problem, code: str, verdict: Verdict) -> list[Message]:
    """Show failing code with the judge's verdict: the input, the expected and the actual value."""
    facts = [f"Verdict: {verdict.status}. {verdict.message}".strip()]
    if verdict.case is not None:
        facts += [f"Input: {verdict.input!r}", f"Expected: {verdict.expected!r}"]
    if verdict.status == "wrong_answer":
        facts.append(f"Got: {verdict.got!r}")
    request = (
        "Trace the code on this input by hand, name the first step that goes wrong, and explain why. Then "
        "give the smallest change that corrects it, and check the other examples."
    )
    shown = f"This solution fails:\n\n```python\n{code.strip()}\n```\n\n" + "\n".join(facts)
    return [user(f"{specification(problem)}\n\n{shown}\n\n{request}\n\n{_FORM}")]


def review(problem: Problem, code: str) -> list[Message]:
    """Ask for a code review by a checklist, most serious problem first."""
    request = (
        "Review this solution. Go through: correctness, edge cases, time and space complexity, names and "
        "style. For each finding give the line, an input that shows it, and the correction. Say so if there "
        "is none; do not invent any."
    )
    return [user(f"{specification(problem)}\n\n```python\n{code.strip()}\n```\n\n{request}")]


def by_kind(problem: Problem) -> list[Message]:
    """Ask the key questions of this kind of problem before the code."""
    questions = "\n".join(f"- {question}" for question in QUESTIONS[problem.kind])
    return [user(f"{specification(problem)}\n\nAnswer these questions first:\n{questions}\n\n{_FORM}")]
