"""The part of the judge inside the sandbox: runs the jobs it receives, and answers in plain data.

It never sees an expected value of a function or program test. The channel carries lines of JSON with values
of exactly the types below, so an object of a class of the solution that equals everything cannot leave it.

| value | on the wire |
| --- | --- |
| None, bool, str, small int, finite float, list | itself |
| other int, other float | ``{"int": "ff"}``, ``{"float": "nan"}`` |
| complex, bytes | ``{"complex": [0.0, 1.0]}``, ``{"bytes": "00"}`` |
| tuple, set, frozenset | ``{"tuple": [...]}`` and so on |
| dict | ``{"dict": [[key, value], ...]}`` |

It is run by path in a bare interpreter, and imports only the standard library and, by path, the module
`isolation`.
"""

import builtins
import contextlib
import importlib
import json
import math
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

MAX_DEPTH = 100
MAX_MESSAGE = 1 << 20  # bytes
BUILD_S = 0.5  # processor time for decoding sets and dicts: colliding keys take quadratic time
MAX_HEX = 3500  # digits of a decoded integer: Python refuses to print more than 4,300 decimal ones
SOURCES = ("solution.py", "preamble.py", "check.py")  # file names of compiled code
_clock = getattr(time, "thread_time", time.monotonic)  # Python in the browser does not measure processor time
_EXACT = 1 << 53  # largest integer that JSON readers of other languages keep exactly


class UnexpectedError(Exception):
    """An exception of the solution that the check does not name."""


class NotPlainError(ValueError):
    """A value is not plain data, is nested too deeply, or is too large."""


def encode(value: Any, depth: int = 0) -> object:
    """Encode plain data as JSON values.

    >>> encode({1: (True, 2**70)})
    {'dict': [[1, {'tuple': [True, {'int': '400000000000000000'}]}]]}
    >>> class Liar(int): pass
    >>> encode(Liar(3))
    Traceback (most recent call last):
    llmguide.coding.sandbox.worker.NotPlainError: a value of type Liar cannot be compared; ...
    """
    if depth > MAX_DEPTH:
        raise NotPlainError(f"a value is nested more than {MAX_DEPTH} deep")
    kind = type(value)  # not isinstance: a subclass could override methods
    if kind in _WRITERS:
        return _WRITERS[kind](value)
    if kind in (list, tuple, set, frozenset):
        items: list[object] = [encode(item, depth + 1) for item in value]
    elif kind is dict:
        items = [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in value.items()]
    else:
        raise NotPlainError(
            f"a value of type {kind.__name__} cannot be compared; return plain data such as numbers, "
            "strings, lists, tuples, sets and dicts"
        )
    return items if kind is list else {kind.__name__: items}


_WRITERS: dict[type, Callable[[Any], object]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    str: lambda value: value,
    int: lambda value: value if -_EXACT < value < _EXACT else {"int": format(value, "x")},
    float: lambda value: value if math.isfinite(value) else {"float": repr(value)},
    complex: lambda value: {"complex": [encode(value.real), encode(value.imag)]},
    bytes: lambda value: {"bytes": value.hex()},
}


def decode(value: Any, depth: int = 0, left: list[float] | None = None) -> Any:
    """Decode JSON values of `encode`, without trusting them.

    >>> decode(encode([(1, 2.5), {"a": {3}}, float("inf"), b"x"]))
    [(1, 2.5), {'a': {3}}, inf, b'x']
    """
    left = [BUILD_S] if left is None else left
    if depth > MAX_DEPTH + 1:
        raise NotPlainError(f"a value is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [decode(item, depth + 1, left) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, content), *rest = value.items()
    if rest or kind not in _READERS:
        raise NotPlainError(f"a message has the fields {str(sorted(value))[:100]}, which encode no value")
    if kind in ("complex", "dict", "tuple", "set", "frozenset"):
        content = [decode(item, depth + 1, left) for item in content]
    if kind in ("dict", "set", "frozenset"):
        content = _timed(content, left)
    return _READERS[kind](content)


def _timed(items: list[Any], left: list[float]) -> Iterator[Any]:
    """Yield items one at a time, so that other threads can run and the time limit applies."""
    end = _clock() + left[0]
    for item in items:
        yield item
        if _clock() > end:
            raise NotPlainError("a set or dict takes too long to build, because its keys have equal hashes")
    left[0] = end - _clock()


def _integer(content: str) -> int:
    if len(content) > MAX_HEX:
        raise NotPlainError(f"an integer has {len(content):,} hexadecimal digits; the limit is {MAX_HEX:,}")
    return int(content, 16)


_READERS: dict[str, Callable[[Any], object]] = {
    "int": _integer,
    "float": float,
    "complex": lambda content: complex(*content),
    "bytes": bytes.fromhex,
    "dict": dict,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}


def to_line(message: dict[str, object]) -> bytes:
    """Serialize a message for the channel; raises `NotPlainError` if it is too long."""
    line = json.dumps(message).encode() + b"\n"
    if len(line) > MAX_MESSAGE:
        raise NotPlainError(f"a value takes {len(line):,} bytes; the limit is {MAX_MESSAGE:,}")
    return line


class Channel:
    """A channel of JSON lines over an open socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._buffer = b""

    def send(self, message: dict[str, object]) -> None:
        """Send a message; raises `NotPlainError` if it is too long."""
        self._socket.sendall(to_line(message))

    def receive(self) -> dict[str, Any]:
        """Wait for the next message; ends the process when the channel is closed."""
        while b"\n" not in self._buffer:
            if not (chunk := self._socket.recv(1 << 16)):
                os._exit(0)
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


def describe(error: BaseException, file: str) -> dict[str, object]:
    """Name an exception, its text and the line of `file` where it left."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    if line is None and isinstance(error, SyntaxError):
        line = error.lineno
    try:
        text = str(error)[:500]
    except BaseException:
        text = "(its text cannot be read)"
    return {"type": type(error).__name__, "text": text, "line": line}


def run_program(channel: Channel, job: dict[str, Any]) -> None:
    """Run a whole program, which reads standard input and writes standard output."""
    try:
        exec(compile(job["source"], "solution.py", "exec"), {"__name__": "__main__"})
    except BaseException as error:
        if not (isinstance(error, SystemExit) and error.code in (None, 0)):
            channel.send({"error": describe(error, "solution.py")})
            return
    sys.stdout.flush()
    channel.send({"done": True})


def run_function(channel: Channel, job: dict[str, Any]) -> None:
    """Load a solution, then answer each call with the result of its function."""
    function = load_function(channel, job)
    while function:
        answer(channel, function, channel.receive())


def load_function(channel: Channel, job: dict[str, Any]) -> Callable[..., object] | None:
    """Load a solution, and report whether it defines the function."""
    namespace: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(compile(job["source"], "solution.py", "exec"), namespace)
        function = _find(namespace, job["entry_point"])
    except BaseException as error:
        channel.send({"error": describe(error, "solution.py")})
        return None
    channel.send({"loaded": True})
    return function


def answer(channel: Channel, function: Callable[..., object], call: dict[str, Any]) -> None:
    """Call the function, and send its value or exception."""
    try:
        value = encode(function(*decode(call["args"]), **decode(call["kwargs"])))
        sys.stdout.flush()
        channel.send({"value": value})
    except BaseException as error:
        channel.send({"error": describe(error, "solution.py")})


def _find(namespace: dict[str, Any], name: str) -> Callable[..., object]:
    function: Callable[..., object] | None = namespace.get(name)
    if function is None and hasattr(namespace.get("Solution"), name):  # LeetCode's format
        function = getattr(namespace["Solution"](), name)
    if function is None:
        raise NameError(f"the solution defines no {name}")
    return function


def run_check(channel: Channel, job: dict[str, Any]) -> None:
    """Run ``check(candidate)``, where calls of the candidate are answered by another sandbox."""

    def candidate(*args: object, **kwargs: object) -> object:
        channel.send({"args": encode(args), "kwargs": encode(kwargs)})
        reply = channel.receive()
        if "error" in reply:
            raise _exception(reply["error"], f"{job['preamble']}\n{job['source']}")
        return decode(reply["value"])

    namespace: dict[str, Any] = {"__name__": "check"}
    try:
        exec(compile(job["preamble"], "preamble.py", "exec"), namespace)
        namespace[job["entry_point"]] = candidate
        exec(compile(job["source"], "check.py", "exec"), namespace)
        namespace["check"](candidate)
    except BaseException as error:
        channel.send({"error": describe(error, "check.py")})
        return
    channel.send({"done": True})


def _exception(error: dict[str, Any], source: str) -> Exception:
    """Rebuild the solution's exception as the first of its classes that the check names.

    So a check can expect an exception, but none silently ends its loop; StopIteration is never passed on (PEP
    479).
    """
    for kind in getattr(getattr(builtins, error["type"], None), "__mro__", ()):
        crosses = issubclass(kind, Exception) and not issubclass(kind, (StopIteration, StopAsyncIteration))
        if crosses and re.search(rf"\b{kind.__name__}\b", source):
            with contextlib.suppress(TypeError):  # some, such as UnicodeDecodeError, need more arguments
                crossing: Exception = kind(error["text"])
                return crossing
    return UnexpectedError(f"{error['type']}: {error['text']}")


RUNNERS: dict[str, Callable[[Channel, dict[str, Any]], None]] = {
    "program": run_program,
    "function": run_function,
    "check": run_check,
}


def main(descriptor: int, settings: dict[str, Any]) -> None:
    """Enter the sandbox, report the layers, and run the one job that is sent."""
    sys.path.insert(0, __file__.rpartition(os.sep)[0])
    isolation = importlib.import_module("isolation")
    del sys.path[0]
    layers = isolation.enter(
        settings["folder"],
        memory_mb=settings["memory_mb"],
        cpu_s=settings["cpu_s"],
        layers=tuple(settings["layers"]),
        system_calls=bytes.fromhex(settings["system_calls"]),
        close=(0, 1, 2, descriptor),
    )
    channel = Channel(descriptor)
    channel.send({"layers": layers})
    job = channel.receive()
    RUNNERS[job["kind"]](channel, job)
    os._exit(0)  # skips exit handlers that the solution registered


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
