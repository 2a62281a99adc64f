"""An exercise of beam search."""

from collections.abc import Callable
from functools import partial
from math import exp, log

from llmguide.exercises.definition import Arguments, Exercise, Mistake

Text = tuple[str, ...]
NextLogprobs = Callable[[Text], dict[str, float]]
END = "."


def beam_search(
    next_logprobs: NextLogprobs,
    n_beams: int,
    max_tokens: int,
    alpha: float,
    *,
    end: str = END,
    finish: bool = True,
    alone: bool = False,
    stop: bool = False,
    places: bool = False,
    every_end: bool = False,
    unfinished: bool = True,
    length: int = 0,
    add: Callable[[float, float], float] = lambda total, logprob: total + logprob,
) -> list[str]:
    """Search for a probable text, with switches for the mistakes."""
    beams: list[tuple[float, Text]] = [(0.0, ())]
    finished: list[tuple[float, Text]] = []
    for step in range(1, max_tokens + 1):
        groups = [
            sorted(
                ((add(total, p), (*text, token)) for token, p in next_logprobs(text).items()), reverse=True
            )
            for total, text in beams
        ]
        if alone and step > 1:
            groups = [group[:1] for group in groups]
        longer = sorted((beam for group in groups for beam in group), reverse=True)
        finished += [
            (total / max(step + length, 1) ** alpha, text)
            for rank, (total, text) in enumerate(longer)
            if (rank < n_beams and ((step == max_tokens and unfinished) or (text[-1] == end and finish)))
            or (every_end and text[-1] == end)
        ]
        if stop and finished:
            break
        beams = [beam for beam in (longer[:n_beams] if places else longer) if beam[1][-1] != end][:n_beams]
    return list(max(finished or beams)[1])


def _ending_goes_on(next_logprobs: NextLogprobs, n_beams: int, max_tokens: int, alpha: float) -> list[str]:
    return beam_search(next_logprobs, n_beams, max_tokens, alpha, end="")


_TOKENS = {
    "": {"the": 0.55, "a": 0.4, "an": 0.05},
    "the": {"cat": 0.46, "dog": 0.44, ".": 0.1},
    "a": {"rabbit": 0.5, "cat": 0.42, ".": 0.08},
    "an": {"owl": 0.97, ".": 0.03},
    "cat": {"sat": 0.4, ".": 0.35, "the": 0.25},
    "dog": {"sat": 0.9, ".": 0.06, "a": 0.04},
    "owl": {"sat": 0.1, ".": 0.9},
    "rabbit": {"sat": 0.7, ".": 0.28, "a": 0.02},
    "sat": {".": 0.6, "the": 0.1, "a": 0.3},
    ".": {".": 0.95, "the": 0.05},
}


_SHORT = {
    "": {"x": 0.4, "y": 0.35, ".": 0.25},
    "x": {".": 0.45, "x": 0.3, "y": 0.25},
    "y": {"y": 0.5, "x": 0.3, ".": 0.2},
    ".": {".": 0.9, "x": 0.1},
}


def after_x_or_y(text: Text) -> dict[str, float]:
    """Return the log-probability of each next token in texts of x and y."""
    return {token: log(p) for token, p in _SHORT[text[-1] if text else ""].items()}


def after_the_last(text: Text) -> dict[str, float]:
    """Return the log-probability of each next token; a named function, so that an error can show it."""
    return {token: log(p) for token, p in _TOKENS[text[-1] if text else ""].items()}


def _beam_probes() -> list[Arguments]:
    sizes = (2, 4, 0.0), (2, 4, 1.0), (1, 3, 0.0), (3, 5, 0.7), (2, 2, 1.0), (4, 5, 1.0), (3, 6, 2.0)
    more = (2, 3, 0.0), (1, 4, 2.0), (2, 4, 2.0), (2, 4, 0.7)
    return [(after_the_last, *size) for size in sizes] + [(after_x_or_y, *size) for size in more]


EXERCISES = (
    Exercise(
        "beam-search",
        "beam_search(next_logprobs, n_beams, max_tokens, alpha) returns a probable text as a list of "
        "tokens. `next_logprobs(text)` takes a tuple of tokens and returns a dict from each next token to "
        "its log-probability. The token `.` ends a text. Start with the empty tuple as the only beam. At "
        "each of the max_tokens steps, extend every beam by every token. Of the n_beams most probable "
        "extensions, those that end with `.` are finished, and at the last step all of them are. The next "
        "beams are the n_beams most probable extensions that do not end with `.`. Of all finished texts, "
        "return the one with the largest score: its log-probability divided by the number of its tokens, "
        "`.` included, to the power of alpha. There are no ties.",
        beam_search,
        _beam_probes,
        (
            Mistake(
                "greedy",
                "only one beam is kept",
                "Keep n_beams sequences after each step.",
                lambda next_logprobs, n_beams, *rest: beam_search(next_logprobs, 1, *rest),
            ),
            Mistake(
                "length ignored",
                "the log-probabilities are not divided by a power of the length",
                "Each token makes a text less probable. alpha says how much this is compensated.",
                lambda next_logprobs, n_beams, n, alpha: beam_search(next_logprobs, n_beams, n, 0.0),
            ),
            Mistake(
                "finished texts go on",
                "texts are extended after the token that ends them",
                "A finished text leaves the beams.",
                _ending_goes_on,
            ),
            Mistake(
                "finished texts lost",
                "only texts that have max_tokens tokens can be returned",
                "Store each finished text with its score when it ends.",
                partial(beam_search, finish=False),
            ),
            Mistake(
                "each beam by itself",
                "each beam is extended by its own best token",
                "Compare the extensions of all beams with each other: one beam can have several of the best, "
                "and another one none.",
                partial(beam_search, alone=True),
            ),
            Mistake(
                "probabilities added",
                "probabilities are added instead of log-probabilities",
                "The probability of a text is the product of those of its tokens.",
                partial(beam_search, add=lambda total, logprob: total + exp(logprob)),
            ),
            Mistake(
                "stops at the first end",
                "the search ends when the first text is finished",
                "A longer text can have a larger score. Go on for max_tokens steps.",
                partial(beam_search, stop=True),
            ),
            Mistake(
                "finished texts take beams",
                "there are fewer beams after a text is finished",
                "Take the n_beams most probable extensions of those that do not end, so that there are as "
                "many beams as before.",
                partial(beam_search, places=True),
            ),
            Mistake(
                "every end counts",
                "an extension that ends the text is finished, however improbable it is",
                "It must be among the n_beams most probable extensions of its step.",
                partial(beam_search, every_end=True),
            ),
            Mistake(
                "unfinished texts left out",
                "texts that have not ended after max_tokens steps count only if none has ended",
                "At the last step, all of the n_beams most probable extensions are finished.",
                partial(beam_search, unfinished=False),
            ),
            Mistake(
                "length without the end",
                "the token that ends a text is not counted in its length",
                "The length is the number of all tokens.",
                partial(beam_search, length=-1),
            ),
        ),
        (
            "Keep two lists of pairs (total, text): the beams, and the finished texts with their scores.",
            "Sort all extensions of all beams by their total, the largest first.",
            "Go through the first n_beams of them to find the finished texts. Then filter the whole list for "
            "the next beams.",
        ),
        level="hard",
        minutes=30,
        after="Beam search usually finds more probable texts than greedy decoding, which helps in "
        "translation. In open text generation, the most probable text is often short or repetitive.",
    ),
)
