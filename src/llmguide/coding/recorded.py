"""The requests of the guide's pages, whose responses are recorded, right or wrong, for pages to replay.

`llmguide.runs.recording` sends them to a small model.
"""

from collections.abc import Iterator

from llmguide.coding import prompts
from llmguide.coding.client import Request
from llmguide.coding.problems import COIN_CHANGE, IS_PALINDROME, SECOND_LARGEST, TWO_SUM, Problem
from llmguide.coding.sandbox.judging import judge
from llmguide.evaluation.extraction import extract_code

MODEL = "SmolLM2-135M-Instruct"
MAX_TOKENS = 320
SAMPLES = 5  # for self-consistency
SOLVED = (
    SECOND_LARGEST,
    """def second_largest(numbers: list[int]) -> int | None:
    smaller = [number for number in numbers if number < max(numbers)]
    return max(smaller, default=None)
""",
)


def ask_for(messages: list[prompts.Message], *, temperature: float = 0.0, seed: int = 0) -> Request:
    """Return the request whose response is recorded for these messages."""
    return Request(tuple(messages), MODEL, temperature, MAX_TOKENS, seed)


def first_round() -> Iterator[tuple[str, Problem, Request]]:
    """Yield the name, problem and request of every prompt that does not depend on a response."""
    yield "direct", SECOND_LARGEST, ask_for(prompts.direct(SECOND_LARGEST))
    yield "direct", IS_PALINDROME, ask_for(prompts.direct(IS_PALINDROME))
    yield "chain of thought", SECOND_LARGEST, ask_for(prompts.chain_of_thought(SECOND_LARGEST))
    yield "by problem type", COIN_CHANGE, ask_for(prompts.by_kind(COIN_CHANGE))
    yield "few-shot", TWO_SUM, ask_for(prompts.few_shot(TWO_SUM, [SOLVED]))
    for seed in range(SAMPLES):
        messages = prompts.direct(IS_PALINDROME)
        yield "self-consistency", IS_PALINDROME, ask_for(messages, temperature=0.8, seed=seed)


def debugging(problem: Problem, answer: str) -> Request | None:
    """Return a request that shows failing code to the model; None if there is no code or no failure."""
    code = extract_code(answer, problem.name)
    verdict = judge(code, problem.tests) if code else None
    if code is None or verdict is None or verdict.passed:
        return None
    return ask_for(prompts.debug(problem, code, verdict))
