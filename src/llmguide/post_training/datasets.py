r"""Read post-training data from JSON lines: conversations, comparisons, problems.

| kind | fields |
| --- | --- |
| conversation | ``messages``, or ``prompt`` and ``completion`` |
| comparison | ``prompt``, ``chosen`` and ``rejected``; or two transcripts of HH-RLHF, without ``prompt`` |
| problem | ``prompt`` (or ``question``), and ``answer`` if completions are checked |

Messages are a list of objects with ``role`` and ``content``; a prompt is such a list, or a text, which is the
user's message. Other fields are ignored. An invalid row is an error that names line and field.

Leaves out: several formats in one file.
"""

import gzip
import json
import re
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

from llmguide.post_training.chat import ROLES, Message

_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


class TextPair(NamedTuple):
    """Two completions of one prompt as text, the preferred one first.

    Attributes:
        prompt: Messages before the completions; empty for texts without a prompt.
        chosen: Text of the preferred completion.
        rejected: Text of the other completion.
        units: Names of what other comparisons may share, such as the two texts; results that share a unit are
            correlated.
        seconded: Whether a second panel agrees: 1, 0, or 0.5 for a tie; NaN: there is no second panel.
    """

    prompt: list[Message]
    chosen: str
    rejected: str
    units: tuple[str, ...]
    seconded: float = nan


class Problem(NamedTuple):
    """A prompt and its expected answer; the answer is empty if a reward model scores the completions."""

    prompt: list[Message]
    answer: str = ""


def json_lines(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines, plain or ``.gz``, each with a description of its place.

    Empty lines are skipped.

    Raises:
        ValueError: The file does not exist or has another format; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; give a file of JSON lines")
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a file of JSON lines in UTF-8 ({error})") from error
    n_rows = 0
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would split inside of JSON texts
        if line.strip():
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{where}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{where}: must be an object with fields, not {line[:40]}")
            n_rows += 1
            yield where, row
    if not n_rows:
        raise ValueError(f"{path} has no rows")


def conversations(path: str | Path) -> list[list[Message]]:
    """Read conversations for supervised fine-tuning.

    Raises:
        ValueError: A row is invalid; the message names line and field. So do those of the other functions.
    """
    return [_conversation(row, where) for where, row in json_lines(path)]


def comparisons(path: str | Path) -> list[TextPair]:
    """Read comparisons; pairs of HH-RLHF that differ before their last response are left out."""
    found = [_comparison(row, where) for where, row in json_lines(path)]
    return [pair for pair in found if pair is not None]


def problems(path: str | Path, *, with_answer: bool) -> list[Problem]:
    """Read prompts, and the expected answers."""
    return [_problem(row, where, with_answer) for where, row in json_lines(path)]


def hh_row(row: dict[str, Any], where: str) -> TextPair | None:
    """Convert a row of HH-RLHF to a comparison, as `hh_pair` does."""
    _require(row, where, ("chosen", "rejected"), "chosen and rejected")
    chosen, rejected = (_text(row[name], f"{where}, field {name!r}") for name in ("chosen", "rejected"))
    return hh_pair(chosen, rejected, where=where)


def hh_pair(chosen: str, rejected: str, *, where: str = "") -> TextPair | None:
    r"""Convert two transcripts to a comparison; None unless they differ in their last response alone.

    >>> pair = hh_pair("\n\nHuman: Hi\n\nAssistant: Hello!", "\n\nHuman: Hi\n\nAssistant: What?")
    >>> pair.prompt, pair.chosen, pair.rejected
    ([{'role': 'user', 'content': 'Hi'}], 'Hello!', 'What?')
    """
    one, other = (
        transcript(text, where=f"{where}, field {field!r}")
        for field, text in (("chosen", chosen), ("rejected", rejected))
    )
    if one[:-1] != other[:-1] or one == other or {one[-1]["role"], other[-1]["role"]} != {"assistant"}:
        return None
    begun = one[0]["content"] if len(one) > 1 else ""
    return TextPair(one[:-1], one[-1]["content"], other[-1]["content"], (begun,))


def transcript(text: str, *, where: str = "transcript") -> list[Message]:
    r"""Split a transcript of HH-RLHF into messages.

    >>> [message["role"] for message in transcript("\n\nHuman: Hi\n\nAssistant: Hello")]
    ['user', 'assistant']
    """
    before, *pieces = _TURN.split(text)
    if before.strip() or not pieces:
        raise ValueError(
            f"{where}: a transcript starts with '\\n\\nHuman:' or '\\n\\nAssistant:', not with {text[:40]!r}"
        )
    turns = zip(pieces[::2], pieces[1::2], strict=True)
    return [{"role": _SPEAKERS[who], "content": said.strip()} for who, said in turns]


def _conversation(row: dict[str, Any], where: str) -> list[Message]:
    if "messages" in row:
        messages = _messages(row["messages"], f"{where}, field 'messages'")
        if all(message["role"] != "assistant" for message in messages):
            raise ValueError(f"{where}, field 'messages': none is from the assistant, so nothing has a loss")
        return messages
    _require(row, where, ("prompt", "completion"), "messages, or prompt and completion")
    answer = _text(row["completion"], f"{where}, field 'completion'")
    return [*_prompt(row, where, "prompt"), {"role": "assistant", "content": answer}]


def _comparison(row: dict[str, Any], where: str) -> TextPair | None:
    if "prompt" not in row and str(row.get("chosen")).startswith(("\n\nHuman:", "\n\nAssistant:")):
        return hh_row(row, where)
    _require(row, where, ("prompt", "chosen", "rejected"), "prompt, chosen and rejected")
    chosen, rejected = (_text(row[name], f"{where}, field {name!r}") for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise ValueError(f"{where}, fields 'chosen' and 'rejected': both are the same; none is preferred")
    prompt = _prompt(row, where, "prompt")
    # the system message is shared by all, and would merge all units into one
    begun = next((message["content"] for message in prompt if message["role"] != "system"), "")
    return TextPair(prompt, chosen, rejected, (begun,))


def _problem(row: dict[str, Any], where: str, with_answer: bool) -> Problem:
    asked = "question" if "question" in row and "prompt" not in row else "prompt"
    _require(row, where, (asked, "answer") if with_answer else (asked,), "prompt and answer")
    answer = ""
    if with_answer:
        given = row["answer"]
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        answer = str(given) if is_number else _text(given, f"{where}, field 'answer'")
    return Problem(_prompt(row, where, asked), answer)


def _prompt(row: dict[str, Any], where: str, field: str) -> list[Message]:
    if isinstance(row[field], str):
        return [{"role": "user", "content": row[field]}]
    return _messages(row[field], f"{where}, field {field!r}")


def _messages(value: Any, where: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where}: must be a list of messages, not {_shown(value)}")
    for i, message in enumerate(value):
        place = f"{where}, message {i}"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise ValueError(f"{place}: the role must be one of {', '.join(ROLES)}, not {_shown(message)}")
        _text(message.get("content"), f"{place}, field 'content'")
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _require(row: dict[str, Any], where: str, fields: tuple[str, ...], form: str) -> None:
    if missing := [field for field in fields if field not in row]:
        raise ValueError(
            f"{where}: there is no field {missing[0]!r} among {', '.join(row) or 'none'}; a row has {form}"
        )


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: must be a text, not {_shown(value)}")  # noqa: TRY004  # the file is wrong
    return value


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]
