r"""Answers: quoted sentences, the prompt for a model that writes its own, and the gate that abstains.

The quoting answer is the default on a machine without a language model: the sentences of the documents
nearest to the question, each with the number of its passage. A model writes more freely, and is told to keep
to the passages; `llmguide.projects.retrieval_chatbot.support` checks whether it did.

Before either there is a gate: if the cosine of the nearest passage is below a threshold, the answer is
`REFUSAL`. The threshold is fitted on questions that the documents are known to answer, or not.

Reference: Lewis et al. 2020, arXiv:2005.11401 (generation from retrieved passages; their model is trained end
to end, this one is not).

Leaves out: follow-up questions, which would have to be rewritten as standalone questions before the search.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from llmguide.post_training.chat import Message
from llmguide.projects.retrieval_chatbot.chunks import Chunk

REFUSAL = "The documents do not say."
N_PASSAGES = 3  # passages that an answer is written from, numbered from 1
N_QUOTED = 2  # sentences of a quoting answer
_ENDS = re.compile(r"(?:(?<=[.!?:])|(?<=[.!?:][\"”\u2019)]))\s+(?=[\"“A-Z(*])|\n[^\S\n]*\n")
_SHORTEST = 20  # characters of a sentence worth quoting; headings and scraps are shorter
_RULE = re.compile(r"^[*=~^-]{3,}$", re.MULTILINE)  # the line under a heading

SYSTEM = f"""\
Answer the question from the numbered passages alone, in one or two sentences. Keep to their words, and end \
each sentence with the number of its passage in brackets, such as [1]. If they do not answer it, write only: \
{REFUSAL}"""


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Find where sentences begin and end; list items and code are sentences of their own.

    >>> text = "It is so. Or is it? See f(x.y) for more."
    >>> [text[start:stop] for start, stop in sentences(text)]
    ['It is so.', 'Or is it?', 'See f(x.y) for more.']
    """
    borders = [0, *(end for match in _ENDS.finditer(text) for end in (match.start(), match.end())), len(text)]
    for start, stop in list(pairwise(borders))[::2]:
        part = text[start:stop]
        if part.strip():
            yield start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def quotable(passages: Sequence[Chunk]) -> list[tuple[int, str]]:
    """Return the sentences of passages that can be quoted, each with the number of its passage."""
    found: dict[str, int] = {}  # neighboring passages overlap
    for number, passage in enumerate(passages, start=1):
        for start, stop in sentences(passage.text):
            text = " ".join(passage.text[start:stop].split())
            if len(text) >= _SHORTEST and not _RULE.search(passage.text[start:stop]):
                found.setdefault(text, number)
    return [(number, text) for text, number in found.items()]


def quote(
    question: str, passages: Sequence[Chunk], embed: Callable[[list[str]], Float[Tensor, "N D"]]
) -> Iterator[str]:
    """Answer with the sentences of the passages that are nearest to the question, in the order of the text.

    Args:
        question: Question of the user.
        passages: Retrieved passages.
        embed: Function that turns texts into vectors.

    Yields:
        Pieces of the answer: each sentence and the number of its passage.
    """
    known = quotable(passages)
    vectors = embed([question, *(text for _, text in known)])
    yield from quotation(known, (vectors[1:] @ vectors[0]).tolist())


def quotation(known: Sequence[tuple[int, str]], scores: Sequence[float]) -> Iterator[str]:
    """Quote the sentences with the highest scores, in the order of the text.

    Args:
        known: Sentences, each with the number of its passage.
        scores: Score of each sentence.

    Yields:
        Pieces of the answer: each sentence and the number of its passage.

    >>> list(quotation([(1, "It is red."), (1, "It is new."), (2, "It is big.")], [0.3, 0.1, 0.2]))
    ['“It is red.” [1]', ' “It is big.” [2]']
    """
    if not known:
        yield REFUSAL
    best = sorted(range(len(known)), key=lambda i: -scores[i])[:N_QUOTED]
    for place, i in enumerate(sorted(best)):
        number, text = known[i]
        yield f"{' ' if place else ''}“{text}” [{number}]"


def messages(question: str, passages: Sequence[Chunk]) -> list[Message]:
    """Write the chat messages that give a model the question and the numbered passages."""
    numbered = "\n\n".join(f"[{i}] {passage.titled}" for i, passage in enumerate(passages, start=1))
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"{numbered}\n\nQuestion: {question}"},
    ]


def fit_gate(answerable: Sequence[float], unanswerable: Sequence[float]) -> float:
    """Fit the threshold of the gate: the cosine below which to abstain, with the highest balanced accuracy.

    Args:
        answerable: Cosine of the nearest passage, for each question that the documents answer.
        unanswerable: Cosine of the nearest passage, for each question that they do not answer. Both kinds
            have equal weight, whatever their numbers.

    Returns:
        The threshold, midway between two neighboring cosines.

    Raises:
        ValueError: There are no questions of one kind.

    >>> round(fit_gate([0.5, 0.7, 0.9], [0.1, 0.3]), 3)
    0.4
    """
    if not answerable or not unanswerable:
        raise ValueError(
            f"{len(answerable)} answerable and {len(unanswerable)} other questions: give some of both kinds"
        )
    values = sorted({*answerable, *unanswerable})
    gates = [values[0] - 1.0, *((a + b) / 2 for a, b in pairwise(values)), values[-1] + 1.0]

    def right(gate: float) -> float:
        kept = sum(value >= gate for value in answerable) / len(answerable)
        return kept + sum(value < gate for value in unanswerable) / len(unanswerable)

    return max(gates, key=right)
