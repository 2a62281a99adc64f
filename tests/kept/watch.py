"""Note what the tests of a file read while they are collected and run, they and the programs that they start.

Much is read once and used by many tests: what a module reads when it is imported, what a cached function
reads, what a fixture of the session reads. That is noted for the module, and counts for each file of tests
that imports it.
"""

import ast
import dis
import os
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType

from site_tools import ROOT

from tests.kept.children import sitecustomize

OURS = ("llmguide", "site_tools", "tests", "benchmarks")
_PREFIX = f"{ROOT}{os.sep}"
Note = tuple[str, str]  # "read", "list", "ask", "names", "package", "code", "start" or "import", and what


class Watch:
    """Notes by the file of tests and the single test that is at work; starts at once, and never ends."""

    def __init__(self) -> None:
        self.file = ""  # the file of tests that is collected or run
        self.test = ""  # the test whose body runs
        self.of_file: dict[str, set[Note]] = defaultdict(set)
        self.of_test: dict[str, set[Note]] = defaultdict(set)
        self.of_module: dict[str, set[Note]] = defaultdict(set)
        self._written: set[str] = set()
        self._process = os.getpid()
        self._log = Path(tempfile.mkdtemp(prefix="kept-")) / "notes"
        self._position = 0
        self._resolving: set[int] = set()  # threads
        self._pauses = False
        repository = str(ROOT)
        os.environ |= {sitecustomize.LOG: str(self._log), sitecustomize.REPOSITORY: repository}
        here = sitecustomize.HERE
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        node = f"--require={here}/node.cjs"
        os.environ["NODE_OPTIONS"] = " ".join([*filter(None, [os.environ.get("NODE_OPTIONS")]), node])
        sitecustomize.watch(sitecustomize.handlers(repository, self._note) | {"exec": self._executed})

    def begin(self, file: str) -> None:
        """Note for another file of tests from now on; none if it is empty."""
        self._read_log()
        if file != self.file:
            self._written.clear()
        self.file, self.test = file, ""

    def end(self) -> None:
        """Note what the programs have read that the file of tests started."""
        self.begin("")

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Note nothing."""
        self._pauses = True
        try:
            yield
        finally:
            self._pauses = False

    def _read_log(self) -> None:
        if not self._log.is_file():
            return
        with self._log.open("rb") as file:
            file.seek(self._position)
            lines = file.read().decode(errors="surrogateescape").splitlines()
            self._position = file.tell()
        for line in lines:
            kind, _, path = line.partition("\t")
            self._add(kind, path, self.of_file[self.file])

    def _note(self, kind: str, path: str) -> None:
        if os.getpid() != self._process:  # a fork, whose memory is lost
            sitecustomize.append(kind, path)
            return
        thread = threading.get_ident()
        if self._pauses or thread in self._resolving or path == str(self._log):
            return
        self._resolving.add(thread)
        try:
            owners = _owners()
        finally:
            self._resolving.remove(thread)
        for owner in owners:
            self._add(kind, path, self.of_module[owner])
        is_own = self.test and not owners and kind != "start"
        self._add(kind, path, self.of_test[self.test] if is_own else self.of_file[self.file])

    def _add(self, kind: str, path: str, notes: set[Note]) -> None:
        if kind == "write":
            if not any((other, path) in notes for other in ("read", "list")):
                self._written.add(path)
        elif path not in self._written:
            notes.add((kind, path))

    def _executed(self, code: object) -> None:
        """Note what code imports that is in no file: of a doctest, a page, a quiz item."""
        if isinstance(code, CodeType) and not code.co_filename.endswith(".py"):
            for name in imported(code):
                self._note("import", name)


def imported(code: CodeType) -> set[str]:
    """The dotted names that code imports of this repository; ``from a import b`` gives ``a.b``."""
    inner = [imported(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    found = set().union(*inner)
    if not any(name.partition(".")[0] in OURS for name in code.co_names):
        return found
    constant: object = None
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_CONST":
            constant = step.argval
        elif step.opname == "IMPORT_NAME" and str(step.argval).partition(".")[0] in OURS:
            names = constant if isinstance(constant, tuple) else ()
            found |= {f"{step.argval}.{name}" for name in names} or {str(step.argval)}
    return found


def _owners() -> set[str]:
    """The modules that are being imported, and those of the cached functions that are being called."""
    found, frame = set(), sys._getframe(1)
    while frame:
        code = frame.f_code
        is_ours = code.co_filename.startswith(_PREFIX) and "site-packages" not in code.co_filename
        if is_ours and (code.co_name == "<module>" or code.co_firstlineno in _keepers(code.co_filename)):
            found.add(code.co_filename)
        frame = frame.f_back  # type: ignore[assignment]
    return found


@cache
def _keepers(path: str) -> set[int]:
    """The first lines of the functions of a file that can keep what they read for another file of tests."""
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            is_kept = any("cache" in text or "scope=" in text for text in decorators)
            if is_kept or any(isinstance(inner, ast.Global) for inner in ast.walk(node)):
                found.add(min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]))
    return found
