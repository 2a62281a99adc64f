"""Test questions with a gold quotation from the documents, or known to have no answer in them.

A passage is relevant if it contains the whole quotation, ignoring white space. So the same questions can
evaluate any chunk size, and a chunk border through the middle of an answer counts as a miss.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmguide.projects.retrieval_chatbot.chunks import Chunk

QUESTIONS = Path(__file__).with_name("questions.toml")


class Question(NamedTuple):
    """A test question.

    Attributes:
        text: Text of the question.
        quote: Quotation that answers it; empty if the documents do not.
        kind: ``answered``; or unanswerable, either ``near`` (about the same field) or ``far`` from it.
    """

    text: str
    quote: str
    kind: str


def load_questions(path: str | Path | None = None) -> list[Question]:
    """Read test questions.

    Args:
        path: TOML file with tables ``[[question]]`` of ``text`` and either ``quote`` or ``kind``, near or
            far. None: the questions about the documentation of Python.

    Raises:
        ValueError: A table has another form, or a question occurs twice.
    """
    path = Path(path or QUESTIONS)
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("question", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    found = [_question(row, path) for row in rows]
    if len({question.text for question in found}) < len(found):
        raise ValueError(f"{path} contains a question twice")
    return found


def answerable(questions: Iterable[Question], documents: Iterable[str]) -> list[Question]:
    """Drop questions whose quotation is not in these documents, which may be of another version.

    >>> one, other = Question("Big?", "It is  big.", "answered"), Question("Red?", "It is red.", "answered")
    >>> answerable([one, other], ["So: it is not. It is big."]) == [one]
    True
    """
    known = [flat(text) for text in documents]
    return [q for q in questions if not q.quote or any(flat(q.quote) in text for text in known)]


def relevant(quote: str, chunks: Sequence[Chunk], flattened: Sequence[str]) -> set[str]:
    """Return the ids of the passages that hold a quotation.

    Args:
        quote: Passage of the documents that answers a question.
        chunks: All passages.
        flattened: Texts of the passages after `flat`, computed once for all questions.
    """
    wanted = flat(quote)
    return {chunk.id for chunk, text in zip(chunks, flattened, strict=True) if wanted in text}


def flat(text: str) -> str:
    r"""Write a text on one line; a word that was hyphenated at the end of a line is joined.

    >>> flat("two\n  lines of pre-\n  computed text")
    'two lines of pre-computed text'
    """
    return " ".join(text.split()).replace("- ", "-")


def _question(row: Mapping[str, str], path: Path) -> Question:
    quote, kind = row.get("quote", ""), row.get("kind", "answered")
    if not row.get("text") or bool(quote) != (kind == "answered") or kind not in ("answered", "near", "far"):
        raise ValueError(f"{path}: {dict(row)} is not a question: give text, and quote or kind (near, far)")
    return Question(row["text"], quote, kind)
