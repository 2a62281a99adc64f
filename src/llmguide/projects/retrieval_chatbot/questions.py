"""Questions of which it is known what answers them, or that nothing does.

An answer is known as a quotation of the documents. A passage is relevant if it holds all of it, white space
aside: so the same questions measure any size of chunks, and a border through the middle of the answer counts
against it.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmguide.projects.retrieval_chatbot.chunks import Chunk

QUESTIONS = Path(__file__).with_name("questions.toml")


class Question(NamedTuple):
    """A question.

    Attributes:
        text: Text of the question.
        quote: What answers it; empty if the documents do not.
        kind: ``answered``; or not, and ``near``, about the same field, or ``far`` from it.
    """

    text: str
    quote: str
    kind: str


def load_questions(path: str | Path | None = None) -> list[Question]:
    """Read questions.

    Args:
        path: A TOML file with tables ``[[question]]`` of ``text`` and either ``quote`` or ``kind``, near or
            far. None: those to the documentation of Python.

    Raises:
        ValueError: A table is something else, or a question stands twice.
    """
    path = Path(path or QUESTIONS)
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("question", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error
    found = [_question(row, path) for row in rows]
    if len({question.text for question in found}) < len(found):
        raise ValueError(f"{path} has a question twice, which would count twice")
    return found


def answerable(questions: Iterable[Question], documents: Iterable[str]) -> list[Question]:
    """Leave out questions whose answer these documents do not hold, such as those of another version.

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
        flattened: Their texts after `flat`, which is worth doing once.
    """
    wanted = flat(quote)
    return {chunk.id for chunk, text in zip(chunks, flattened, strict=True) if wanted in text}


def flat(text: str) -> str:
    r"""Write a text on one line; a hyphen at the end of a line joins what it had cut.

    >>> flat("two\n  lines of pre-\n  computed text")
    'two lines of pre-computed text'
    """
    return " ".join(text.split()).replace("- ", "-")


def _question(row: Mapping[str, str], path: Path) -> Question:
    quote, kind = row.get("quote", ""), row.get("kind", "answered")
    if not row.get("text") or bool(quote) != (kind == "answered") or kind not in ("answered", "near", "far"):
        raise ValueError(
            f"{path}: {dict(row)} is no question: give text, and quote or kind = 'near' or 'far'"
        )
    return Question(row["text"], quote, kind)
