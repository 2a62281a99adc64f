"""Parse the messages of a sandboxed process, all of them untrusted."""

import json
from typing import Any

from llmguide.coding.sandbox.verdicts import Status
from llmguide.coding.sandbox.worker import NotPlainError, decode

FORGED = "the solution wrote into the judge's channel"


class StoppedError(Exception):
    """Raised to stop a run; carries the status and message of the verdict."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_message(line: bytes | bytearray) -> dict[str, Any]:
    """Parse a message, keeping only the known fields of an error.

    Raises:
        StoppedError: The line is not a message.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise StoppedError("error", FORGED)
    return {"error": _plain_error(message["error"])} if "error" in message else message


def read_value(reply: dict[str, Any]) -> object:
    """Decode a value that the solution sent, or raise `StoppedError`."""
    try:
        return decode(reply["value"])
    except NotPlainError as error:
        raise StoppedError("output_limit", str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise StoppedError("error", FORGED) from error


def _plain_error(error: Any) -> dict[str, Any]:
    """Keep the three fields that the worker sends, truncated and without terminal control characters."""
    match error:
        case {"type": str(name), "text": str(text), "line": int() | None as line}:
            return {"type": printable(name[:100]), "text": printable(text[:500]), "line": line}
    raise StoppedError("error", FORGED)


def printable(text: str) -> str:
    """Escape the characters of a text that could control a terminal, line ends among them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_error(error: dict[str, Any]) -> StoppedError:
    """Turn an error that a sandbox reported, or a solution forged, into a status and a sentence."""
    name, text, line = error["type"], error["text"], error["line"]
    where = f"line {line}: " if line is not None else ""
    status: Status = "memory_limit" if name == "MemoryError" else "error"
    return StoppedError(status, f"{where}{name}: {text}" if text else f"{where}{name}")
