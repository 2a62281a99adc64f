"""Part of the assignment on a domain expert: a guardrail behind the model."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from llmguide.exercises.definition import Exercise, Mistake
from llmguide.projects.domain_expert.templates import OUTSIDE, UNKNOWN


def _whole_word(value: str, answer: str) -> bool:
    return re.search(rf"\b{re.escape(value)}\b", answer) is not None


def _guarded(
    answer: str,
    values: Sequence[str],
    *,
    states: Callable[[str, str], bool] = _whole_word,
    enough: Callable[[Iterable[bool]], bool] = any,
    refusals: Sequence[str] = (OUTSIDE,),
) -> str:
    """Withhold an answer that states no value of the card, with switches for the mistakes."""
    supported = enough(states(value, answer) for value in values)
    return answer if supported or answer in refusals else UNKNOWN


GUARDRAIL_PARTS = (
    Exercise(
        "answer-guardrail",
        f"guarded(answer, values) returns the answer of a model if a card supports it, and {UNKNOWN!r} "
        "otherwise. `values` is a list of the values on the card that was retrieved for the question; it is "
        "empty if there is no such card. A value supports the answer if the answer contains it as a whole "
        "word: no letter, digit or underscore comes before or after it. Upper and lower case differ. The "
        f"refusal {OUTSIDE!r} is returned as it is.",
        _guarded,
        lambda: [
            ("The package of bisect_left is bisect.", ["bisect", "function", "a"]),
            ("The package of bisect_left is heapq.", ["bisect", "function", "x"]),
            ("The package of left_bisect is bisect.", []),
            ("The package of join is os-path.", ["os.path"]),
            ("The base class of lock is object.", ["Object"]),
            (OUTSIDE, ["bisect"]),
        ],
        (
            Mistake(
                "part of a word",
                "a value that is only a part of a word supports the answer",
                "'bisect' is in 'bisect_left', which the question itself contains. Compare whole words.",
                partial(_guarded, states=lambda value, answer: value in answer),
            ),
            Mistake(
                "punctuation kept",
                "a value before a period is not found",
                "answer.split() keeps the period at the end of a sentence. re.search with \\b does not.",
                partial(_guarded, states=lambda value, answer: value in answer.split()),
            ),
            Mistake(
                "every value required",
                "the answer has to state every value of the card",
                "A question asks for one fact, so one value is enough.",
                partial(_guarded, enough=all),
            ),
            Mistake(
                "passed without a card",
                "an answer passes if no card was retrieved",
                "Without a card nothing supports the answer, so withhold it.",
                lambda answer, values: _guarded(answer, values) if values else answer,
            ),
            Mistake(
                "refusal replaced",
                "a refusal is replaced by an abstention",
                "A refusal claims no fact, so it needs no support.",
                partial(_guarded, refusals=()),
            ),
            Mistake(
                "case ignored",
                "a value supports the answer if it differs from it in upper and lower case",
                "Names in Python depend on case.",
                partial(_guarded, states=lambda value, answer: _whole_word(value.lower(), answer.lower())),
            ),
            Mistake(
                "value read as a pattern",
                "a period in a value stands for any character",
                "Use re.escape on the value.",
                partial(
                    _guarded,
                    states=lambda value, answer: re.search(rf"\b{value}\b", answer) is not None,
                ),
            ),
        ),
        ("In a regular expression, \\b is where a run of letters, digits and underscores begins or ends.",),
    ),
)
