"""Convert the fields of a row to messages: texts, lists of messages, ShareGPT, Alpaca and tools."""

import json
from typing import Any

from llmguide.data.rows import Row
from llmguide.post_training.chat import ROLES, Message

_SHAREGPT = {"human": "user", "gpt": "assistant"}


def conversation(row: Row, where: str) -> tuple[str, list[Message]]:
    r"""Return the format of a row and its messages.

    Raises:
        ValueError: The row is invalid; the message names its place and the field.

    >>> conversation({"instruction": "Add.", "input": "2 and 3", "output": "5"}, "line 1")
    ('Alpaca', [{'role': 'user', 'content': 'Add.\n\n2 and 3'}, {'role': 'assistant', 'content': '5'}])
    """
    if "messages" in row:
        name, talk = "messages", messages(row["messages"], f"{where}, field 'messages'")
    elif "conversations" in row:
        name, talk = "ShareGPT", messages(row["conversations"], f"{where}, field 'conversations'")
    elif "instruction" in row:
        require(row, where, "instruction", "output")
        given = text(row.get("input") or "", f"{where}, field 'input'")
        asked = text(row["instruction"], f"{where}, field 'instruction'")
        asked += f"\n\n{given}" if given else ""
        name, talk = "Alpaca", [{"role": "user", "content": asked}, *response(row, where, "output")]
    elif "prompt" in row or "completion" in row:
        require(row, where, "prompt", "completion")
        name = "prompt and completion"
        talk = [*prompt(row, where, "prompt"), *response(row, where, "completion")]
    else:
        raise ValueError(
            f"{where}: the fields {', '.join(row) or '(none)'} are no format of conversations; a row has "
            "messages, conversations, prompt and completion, or instruction and output"
        )
    return name, with_columns(talk, row, where)


def prompt(row: Row, where: str, field: str) -> list[Message]:
    """Convert a prompt, a text or a list of messages."""
    return _turns(row, where, field, "user")


def response(row: Row, where: str, field: str) -> list[Message]:
    """Convert a completion, a text or a list of messages."""
    return _turns(row, where, field, "assistant")


def messages(value: Any, where: str) -> list[Message]:
    """Convert a list of messages, with ``role`` and ``content``, or ``from`` and ``value`` as in ShareGPT."""
    if not isinstance(value, list) or not value:
        raise _wrong(where, "a list of messages", value)
    return [_message(item, f"{where}, message {i}") for i, item in enumerate(value)]


def with_columns(talk: list[Message], row: Row, where: str) -> list[Message]:
    """Put the system message and the tools that have columns of their own in a row into its messages."""
    if talk and row.get("system") and talk[0]["role"] != "system":
        content = text(row["system"], f"{where}, field 'system'")
        talk = [{"role": "system", "content": content}, *talk]
    tools = row.get("tools")
    if not tools or not talk:
        return talk
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}, field 'tools': not JSON: {error}") from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise _wrong(f"{where}, field 'tools'", "a list of objects", tools)
    return [talk[0] | {"tools": tools}, *talk[1:]] if tools else talk


def require(row: Row, where: str, *fields: str) -> None:
    """Check that a row has fields.

    Raises:
        ValueError: A field is missing.
    """
    if missing := [field for field in fields if field not in row]:
        raise ValueError(
            f"{where}: there is no field {missing[0]!r} among {', '.join(row) or '(none)'}; a row has "
            + " and ".join(fields)
        )


def text(value: Any, where: str) -> str:
    """Check that the value of a field is a text.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, str):
        raise _wrong(where, "a text", value)
    return value


def _turns(row: Row, where: str, field: str, role: str) -> list[Message]:
    value, place = row[field], f"{where}, field {field!r}"
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list):
        raise _wrong(place, "a text or a list of messages", value)
    return messages(value, place)


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise _wrong(where, "an object with role and content", item)
    role = item.get("role", item.get("from"))
    role = _SHAREGPT.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        names = f"{', '.join(ROLES)}, {', '.join(_SHAREGPT)}"
        raise _wrong(f"{where}, the role", f"one of {names}", role)
    if item.get("weight") == 0:
        raise ValueError(f"{where}: a weight of 0 is not supported; end the conversation before this message")
    field = "value" if "value" in item and "content" not in item else "content"
    calls = item.get("tool_calls")
    content = item.get(field)
    if content is None and calls:
        content = ""
    message = {"role": role, "content": text(content, f"{where}, field {field!r}")}
    if calls:
        message["tool_calls"] = [_call(call, f"{where}, field 'tool_calls'") for call in calls]
    return message | {key: item[key] for key in ("name", "tool_call_id") if item.get(key) is not None}


def _call(call: Any, where: str) -> dict[str, Any]:
    """Check a tool call, whose arguments may be JSON as in OpenAI's API; templates expect an object."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _wrong(where, "objects with a function's name and arguments", call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}, arguments of {function['name']!r}: not JSON: {error}") from error
    outer = call if "function" in call else {"type": "function"}
    return {**outer, "function": {"name": function["name"], "arguments": arguments}}


def _wrong(where: str, wanted: str, value: Any) -> ValueError:
    shown = json.dumps(value, ensure_ascii=False, default=str)[:60]
    return ValueError(f"{where}: must be {wanted}, not {shown}")
