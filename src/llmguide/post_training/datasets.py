r"""Read post-training data: conversations, comparisons, problems.

The format of a row is recognized by its fields; `llmguide.data.rows` reads the files.

| format | fields |
| --- | --- |
| messages | ``messages``, objects with ``role`` and ``content`` |
| ShareGPT | ``conversations``, objects with ``from`` (human, gpt) and ``value`` |
| prompt and completion | ``prompt``, ``completion`` |
| Alpaca | ``instruction``, ``output``, and perhaps ``input``, which continues the instruction |
| comparison | ``prompt``, ``chosen``, ``rejected`` |
| comparison with the prompt inside | ``chosen``, ``rejected``, which begin alike; or transcripts of HH-RLHF |
| problem | ``prompt`` or ``question``, and ``answer`` if completions are checked |

A prompt or completion is a list of messages, or a text, which is the message of the user or the assistant.
Messages may have ``tool_calls``, and rows ``tools``, a list or its JSON; the chat template writes both. A
conversation is a problem as well: its last response is the answer, unless the row has an ``answer``. Other
fields are ignored. An invalid row is an error that names line and field.

TRL makes the same of these rows but for texts: it joins a ``prompt`` and a ``completion`` without a chat
template, and splits ``chosen`` and ``rejected`` at the first character that differs, here before its word.

Leaves out: completions of several messages in comparisons, and the loss of only the completion where a prompt
has turns of the assistant.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from llmguide.data.rows import Row, read_rows
from llmguide.post_training import row_messages
from llmguide.post_training.chat import Message

Item = TypeVar("Item")
Report = Callable[[str], object]

FORMATS = """\
Formats of --data, recognized by the columns:
  sft          messages | conversations (ShareGPT) | prompt, completion | instruction, input, output (Alpaca)
  dpo, reward  prompt, chosen, rejected | chosen, rejected (both begin with the prompt)
  ppo, grpo    prompt | question | the formats of sft, whose last response is left out
  grpo also    answer; without this column, the last response of a format of sft

Prompts and responses are texts or lists of messages. A column system has the system message. Messages may
have tool_calls, and rows tools, if the chat template of the model writes them. Give a file of JSON lines,
JSON, CSV or Parquet, a folder of such files, or a data set of the hub as OWNER/NAME[:CONFIG[:SPLIT]]."""

_COLUMNS = {"messages", "conversations", "prompt", "completion", "instruction", "input", "output"}
_COLUMNS |= {"system", "tools", "chosen", "rejected", "question", "answer"}
_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


class Messages(list[Message]):
    """Messages of a row, and the place of the row, for error messages."""

    def __init__(self, messages: Sequence[Message], where: str):
        super().__init__(messages)
        self.where = where


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


def conversations(source: str | Path, *, report: Report | None = None) -> list[list[Message]]:
    """Read conversations for supervised fine-tuning.

    Args:
        source: File, folder, or name on the hub.
        report: Function that is called with one line on the number of rows and their format.

    Raises:
        ValueError: A row is invalid; the message names line and field. So do those of the other functions.
    """
    return _read(source, _conversation, "messages", report)


def comparisons(source: str | Path, *, report: Report | None = None) -> list[TextPair]:
    """Read comparisons; pairs of HH-RLHF that differ before their last response are left out."""
    pairs = _read(source, _comparison, "prompt, chosen and rejected", report)
    return [pair for pair in pairs if pair is not None]


def problems(source: str | Path, *, with_answer: bool, report: Report | None = None) -> list[Problem]:
    """Read prompts, and the expected answers."""

    def convert(row: Row, where: str) -> tuple[str, Problem]:
        return _problem(row, where, with_answer)

    return _read(source, convert, "prompts", report)


def first_turn(messages: Sequence[Message]) -> str:
    """Return the text of the first message that is not the system's.

    >>> first_turn([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    'Hi'
    """
    return next((message["content"] for message in messages if message["role"] != "system"), "")


def hh_row(row: Row, where: str) -> TextPair | None:
    """Convert a row of HH-RLHF to a comparison, as `hh_pair` does."""
    row_messages.require(row, where, "chosen", "rejected")
    chosen, rejected = (
        row_messages.text(row[name], f"{where}, field {name!r}") for name in ("chosen", "rejected")
    )
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


def _read(
    source: str | Path, convert: Callable[[Row, str], tuple[str, Item]], wanted: str, report: Report | None
) -> list[Item]:
    items: list[Item] = []
    formats: Counter[str] = Counter()
    columns: set[str] = set()
    for where, row in read_rows(source):
        name, item = convert(row, where)
        items.append(item)
        formats[name] += 1
        columns |= row.keys()
    if report is not None:
        names = ", ".join(name if len(formats) == 1 else f"{n:,} {name}" for name, n in formats.items())
        converted = "" if names == wanted else f", converted to {wanted}"
        unknown = ", ".join(sorted(columns - _COLUMNS))
        ignored = f"; ignored columns: {unknown}" if unknown else ""
        report(f"{source}: {len(items):,} rows, {names}{converted}{ignored}")
    return items


def _conversation(row: Row, where: str) -> tuple[str, list[Message]]:
    name, messages = row_messages.conversation(row, where)
    if all(message["role"] != "assistant" for message in messages):
        raise ValueError(f"{where}: no message is from the assistant, so nothing has a loss")
    return name, Messages(messages, where)


def _comparison(row: Row, where: str) -> tuple[str, TextPair | None]:
    row_messages.require(row, where, "chosen", "rejected")
    one, other, asked = row["chosen"], row["rejected"], row.get("prompt")
    if asked is None and str(one).startswith(("\n\nHuman:", "\n\nAssistant:")):
        return "HH-RLHF", hh_row(row, where)
    if one == other:
        raise ValueError(f"{where}, fields 'chosen' and 'rejected': both are the same; none is preferred")
    name = "chosen and rejected with the prompt inside" if asked is None else "prompt, chosen and rejected"
    prompt = [] if asked is None else row_messages.prompt(row, where, "prompt")
    if asked is None and isinstance(one, str) and isinstance(other, str):
        begun = re.sub(r"\s?\S*\Z", "", one[: _n_common(one, other)])
        prompt = [{"role": "user", "content": begun}] if begun else []
        row = {field: row[field].removeprefix(begun) for field in ("chosen", "rejected")}
    talks = []
    for field in ("chosen", "rejected"):
        talk = row_messages.response(row, where, field)
        # a prompt that is a text often repeats what the messages begin with
        has_prompt = isinstance(asked, str) and talk[0]["role"] != "assistant"
        talks.append(talk if has_prompt or talk[: len(prompt)] == prompt else [*prompt, *talk])
    n = _n_common(*talks)
    last = [message for talk in talks for message in talk[n:]]
    if [message["role"] for message in last] != ["assistant"] * 2 or any("tool_calls" in m for m in last):
        raise ValueError(
            f"{where}, fields 'chosen' and 'rejected': must differ in one last text of the "
            f"assistant; they differ from message {n} on, in {len(last)} messages"
        )
    prompt = Messages(row_messages.with_columns(talks[0][:n], row, where), where)
    chosen, rejected = (message["content"] for message in last)
    return name, TextPair(prompt, chosen, rejected, (first_turn(prompt) or chosen,))


def _n_common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Count the characters or messages that both begin with."""
    differ = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _problem(row: Row, where: str, with_answer: bool) -> tuple[str, Problem]:
    if any(field in row for field in ("messages", "conversations", "instruction", "completion")):
        name, prompt = row_messages.conversation(row, where)
        if prompt[-1]["role"] == "assistant":
            *prompt, last = prompt
            row = {"answer": last["content"]} | row
    else:
        name, asked = "prompts", "question" if "question" in row and "prompt" not in row else "prompt"
        row_messages.require(row, where, *((asked, "answer") if with_answer else (asked,)))
        prompt = row_messages.with_columns(row_messages.prompt(row, where, asked), row, where)
    if not prompt:
        raise ValueError(f"{where}: there is no message before the assistant's")
    prompt = Messages(prompt, where)
    if not with_answer:
        return name, Problem(prompt)
    row_messages.require(row, where, "answer")
    answer = row["answer"]
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if not row_messages.text(answer, f"{where}, field 'answer'").strip():
        raise ValueError(f"{where}, field 'answer': is empty, so no completion would be right")
    return name, Problem(prompt, answer)
