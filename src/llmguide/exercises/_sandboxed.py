"""The sandboxed side of `llmguide.exercises.sandbox`: a process that forks for each answer and runs it."""

import ast
import gc
import importlib
import os
import platform
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from llmguide.coding.sandbox import isolation, seccomp
from llmguide.coding.sandbox.worker import Channel, NotPlainError, describe, encode
from llmguide.exercises._plain_data import pack
from llmguide.exercises.checking import observe_source
from llmguide.exercises.definition import Exercise
from llmguide.exercises.grading import Grade, exercise, exercises
from llmguide.exercises.hidden_tests import with_hidden_tests

MEMORY_MB = 1024  # beyond what torch itself takes


def serve(descriptor: int) -> None:
    """Fork for each channel that the judge sends, until it closes the connection.

    Args:
        descriptor: File descriptor of the connection.
    """
    importlib.import_module("torch._dynamo")  # optimizers import it when they are first used
    exercises()
    gc.freeze()
    program, memory_mb = seccomp.program(platform.machine()), MEMORY_MB + _address_space_mb()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that end leave no zombies
    control = socket.socket(fileno=descriptor)
    control.send(b"ready")
    while True:
        message, channels, *_ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        limit_s, clock_s, folder = message.decode().split(" ", 2)
        if os.fork() == 0:
            try:
                control.close()
                signal.alarm(int(clock_s))  # ends this process, which waits outside, and with it those inside
                _enter(folder, channels[0], program, memory_mb, int(limit_s))
            finally:
                os._exit(1)
        os.close(channels[0])


def _enter(folder: str, descriptor: int, program: bytes, memory_mb: int, limit_s: int) -> None:
    """Enter the sandbox, and send the results of one answer in the tests that the judge asks for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    layers = isolation.enter(
        folder,
        memory_mb=memory_mb,
        cpu_s=limit_s,
        layers=isolation.LAYERS,
        system_calls=program,
        close=(0, 1, 2, descriptor),
        readable=tuple(import_paths()),
    )
    channel = Channel(descriptor)
    channel.send({"layers": layers})
    while True:
        _reply(channel, channel.receive())


def _reply(channel: Channel, job: dict[str, Any]) -> None:
    try:
        asked = exercise(job["name"])
        if job["seed"] is not None:
            asked = with_hidden_tests(asked, job["seed"])
        channel.send(_answer(asked, job["source"], job["own"]))
    except NotPlainError as error:
        channel.send({"failure": [f"{job['name']}: {error}.", "not plain data"]})
    except BaseException as error:
        channel.send({"error": describe(error, "")})


def _answer(asked: Exercise, source: str, own: dict[str, str]) -> dict[str, object]:
    if _imports_package(source):
        message = "the file imports llmguide, which contains the solutions. Write the function yourself."
        return {"failure": [f"{asked.name}: {message}", "imports llmguide"]}
    results = observe_source(asked, source, own)
    if isinstance(results, Grade):
        return {"failure": [results.message, results.mistake]}
    return {"results": encode(pack(results))}


def _imports_package(source: str) -> bool:
    try:
        nodes = [*ast.walk(ast.parse(source))]
    except (SyntaxError, ValueError):
        return False
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return any(module.partition(".")[0] == "llmguide" for module in modules)


def _address_space_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def import_paths() -> list[str]:
    """Return the folders of this package and of installed packages, from which the bare Python imports."""
    installed = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    return list(dict.fromkeys([str(Path(__file__).parents[2]), *installed]))
