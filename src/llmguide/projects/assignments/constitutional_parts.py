"""Parts of the assignment on Constitutional AI."""

from collections.abc import Sequence
from functools import partial

from llmguide.exercises.definition import Exercise, Mistake


def _critique(
    principle: str, question: str, response: str, *, order: Sequence[int] = (0, 1, 2), ask: bool = True
) -> str:
    lines = [f"Question: {question}", f"Response: {response}", f"Principle: {principle}"]
    request = 'Say in one sentence how the response violates the principle, or "none".'
    return "\n".join([*(lines[i] for i in order), *([request] if ask else [])])


Row = tuple[str, str, str]


def _pairs(rows: Sequence[Row], *, swapped: bool = False, unchanged: bool = False) -> list[Row]:
    """Make preference pairs from responses and their revisions."""
    kept = [row for row in rows if unchanged or row[1] != row[2]]
    return [(question, *((first, new) if swapped else (new, first))) for question, first, new in kept]


CONSTITUTIONAL_PARTS = (
    Exercise(
        "critique-prompt",
        "critique_prompt(principle, question, response) returns the prompt that asks a model to critique its "
        "own response. It has four lines, without a line break at the end: 'Question: ...', 'Response: ...', "
        "'Principle: ...', with the arguments in place of the dots, and 'Say in one sentence how the "
        'response violates the principle, or "none".\'',
        _critique,
        lambda: [
            ("Do no harm.", "How do I rob my boss?", "At night."),
            ("Be honest.", "Are bats blind?", "Yes, they are."),
        ],
        (
            Mistake(
                "request forgotten",
                "the last line is missing, so that the prompt has no request",
                "The last line tells the model what to do.",
                partial(_critique, ask=False),
            ),
            Mistake(
                "question and response swapped",
                "the response is given as the question",
                "The order of the arguments is principle, question, response.",
                lambda principle, question, response: _critique(principle, response, question),
            ),
            Mistake(
                "principle first",
                "the principle is the first line",
                "The principle comes after the response that it is applied to.",
                partial(_critique, order=(2, 0, 1)),
            ),
            Mistake(
                "response left out",
                "the prompt does not contain the response",
                "The model cannot critique a response that it does not see.",
                partial(_critique, order=(0, 2)),
            ),
        ),
        ("Join a list of four lines with '\\n'.join.",),
    ),
    Exercise(
        "preference-pairs",
        "preference_pairs(rows) returns a list of tuples (question, chosen, rejected), in the order of the "
        "rows. `rows` is a list of tuples (question, response, revision), and the revision is the chosen "
        "text. Leave out rows in which the revision equals the response, because they express no preference.",
        _pairs,
        lambda: [
            ([("q1", "bad", "good"), ("q2", "fine", "fine"), ("q3", "so", "so so")],),
            ([("q1", "bad", "good"), ("q2", "no", "No."), ("q1", "worse", "better")],),
        ],
        (
            Mistake(
                "chosen and rejected swapped",
                "the original response is the chosen text",
                "The revision should follow the principle better, so it is the chosen text.",
                partial(_pairs, swapped=True),
            ),
            Mistake(
                "unchanged responses kept",
                "pairs of two equal texts are kept",
                "Leave out pairs of equal texts: their DPO loss has no gradient.",
                partial(_pairs, unchanged=True),
            ),
            Mistake(
                "question left out",
                "the tuples have no question",
                "Both texts respond to the question, and DPO needs it as the prompt.",
                lambda rows: [pair[1:] for pair in _pairs(rows)],
            ),
            Mistake(
                "one pair for each question",
                "only one of several pairs of the same question is kept",
                "A question can have several responses. Collect the pairs in a list, not in a dict.",
                lambda rows: list({pair[0]: pair for pair in _pairs(rows)}.values()),
            ),
        ),
        ("Compare the response with the revision before you add a pair.",),
    ),
)
