"""Note which files of the repository a process reads, lists, asks for and writes, and what it starts.

A Python that a kept test starts imports this file first, because its folder is in PYTHONPATH
(`tests/kept/watch.py` puts it there). It appends its notes to the file KEPT_LOG. `node.cjs` is the same
for Node.
"""
# ruff: noqa: PTH100, PTH113, PTH118, PTH119, PTH120, PTH208  # pathlib would make every Python start later

import functools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LOG, REPOSITORY = "KEPT_LOG", "KEPT_REPOSITORY"
HERE = os.path.dirname(os.path.abspath(__file__))
# Browsers read what their page asks a server for, Postgres and git folders of their own.
_HARMLESS = re.compile(r"chrom|firefox|^(git|initdb|pg_ctl|true|sleep|ps|uname|gcc|ld|ldconfig)$")

Note = Callable[[str, str], None]  # what happened, and to which path


def handlers(repository: str, note: Note) -> dict[str, Callable[..., None]]:
    """What to do at which audit event (https://docs.python.org/3/library/audit_events.html)."""

    compiled = f"{sys.pycache_prefix}{os.sep}" if sys.pycache_prefix else None

    def inside(path: Any) -> str | None:
        if path is None or isinstance(path, int):  # an open file
            return None
        full = os.path.abspath(os.fsdecode(path))
        if compiled and full.startswith(compiled):  # as if it were beside its source
            folder, name = os.path.split(full[len(compiled) - 1 :])
            full = os.path.join(folder, "__pycache__", name)
        is_inside = full.startswith(repository + os.sep) and "site-packages" not in full
        return full if is_inside else None

    def opened(path: Any, _mode: Any, flags: int) -> None:
        full = inside(path)
        if full and flags & (os.O_TRUNC | os.O_EXCL):
            note("write", full)
        elif full and not flags & os.O_WRONLY:  # it does not only append
            note("read", full)

    def listed(path: Any = None) -> None:
        # An import lists the folders in which it searches; tests/kept/inputs.py follows imports more finely.
        is_import = sys._getframe(2).f_code.co_filename.startswith("<frozen importlib")
        if not is_import and (full := inside("." if path is None else path)):
            note("list", full)

    def asked(path: Any) -> None:
        if full := inside(path):
            note("ask", full)

    def started(program: Any, argv: Sequence[Any], *others: Any) -> None:
        words = [] if isinstance(argv, str | bytes) else [os.fsdecode(word) for word in argv]
        for word in words:
            if (full := inside(word)) and os.path.isfile(full):
                note("read", full)  # by a program that may go on for other files of tests, too
        if "mypy" in words:  # goes by its cache, and opens no file that is as it was
            note("code", repository)
        name = os.fsdecode(program or argv[0])
        if os.path.basename(name) == "git" and {"ls-files", "status"} & {*words}:
            note("names", repository)
        elif _is_bare(words, others[0] if len(others) > 1 else None):
            _bare_started(words)
        elif not _is_watched(name, argv, others[-1]):
            note("start", name)

    def _is_bare(words: Sequence[str], cwd: Any) -> bool:
        """Whether a Python finds only the standard library, and what its arguments name."""
        is_inside = f"{os.path.abspath(cwd or '.')}{os.sep}".startswith(repository + os.sep)
        return {"-I", "-S"} <= {*words} and not is_inside

    def _bare_started(words: Sequence[str]) -> None:
        for found in re.findall(rf"{re.escape(repository + os.sep)}[^\"':,\]\n]*", "\n".join(words)):
            if found == os.path.join(repository, "src"):
                note("package", found)
            elif os.path.isfile(found):  # a script, which may import what is beside it
                folder = os.path.dirname(found)
                for name in os.listdir(folder):
                    note("read", os.path.join(folder, name))
            elif "site-packages" not in found:
                note("start", found)

    return {
        "open": opened,
        "stat": asked,
        "os.listdir": listed,
        "os.scandir": listed,
        "subprocess.Popen": started,
        "os.exec": started,
        "os.posix_spawn": started,
        "os.system": lambda _command: note("start", "sh"),
    }


def _is_watched(program: str, argv: Sequence[Any], given: Mapping[Any, Any] | None) -> bool:
    """Whether a program notes its own reads, or reads nothing of the repository."""
    name = os.path.basename(program)
    environment = os.environ if given is None else given
    if _HARMLESS.search(name) or "playwright" in program:
        return True
    if os.environ.get(LOG, "") != environment.get(LOG):
        return False
    if name == "node":
        return HERE in environment.get("NODE_OPTIONS", "")
    if not name.startswith("python") or HERE not in environment.get("PYTHONPATH", ""):
        return False
    for word in map(os.fsdecode, [] if isinstance(argv, str | bytes) else argv[1:]):
        if not word.startswith("-"):
            break
        if re.match("-[a-zA-Z]*[IES]", word):  # does not import this file
            return False
        if re.match("-[a-zA-Z]*[cm]", word):
            break
    return True


def watch(found: dict[str, Callable[..., None]]) -> None:
    """Call the handlers from now on, until the process ends."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in found:
            found[event](*args)

    sys.addaudithook(hook)
    for name in ("stat", "lstat", "access"):  # tell whether there is a file, and raise no event
        _replace(name, found["stat"])


def _replace(name: str, note: Callable[[Any], None]) -> None:
    """Call a function before a function of os."""
    real = getattr(os, name)

    @functools.wraps(real)
    def ask(path: Any, *args: Any, **options: Any) -> Any:
        note(path)
        return real(path, *args, **options)

    setattr(os, name, ask)
    for able in (os.supports_dir_fd, os.supports_effective_ids, os.supports_fd, os.supports_follow_symlinks):
        if real in able:
            able.add(ask)


def append(kind: str, path: str) -> None:
    """Add a note to the log."""
    log = os.environ.get(LOG)
    if not log or path == log:
        return
    try:
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except FileNotFoundError:  # its folder is gone, as the tests have ended
        return
    os.write(file, f"{kind}\t{path}\n".encode(errors="surrogateescape"))
    os.close(file)


if __name__ == "sitecustomize" and LOG in os.environ:
    _noted: set[tuple[str, str]] = set()

    def _once(kind: str, path: str) -> None:
        if (kind, path) not in _noted:
            _noted.add((kind, path))
            append(kind, path)

    watch(handlers(os.environ[REPOSITORY], _once))
