"""With ``--keep DIR``, leave out the tests that have passed and whose inputs have not changed since.

DIR has a record for each file of tests: its inputs with their hashes, and the tests that passed. The
inputs are

- the surroundings: versions of all packages, the machine, variables (`inputs.py`);
- the Python files that the tests import, and those that these import in turn; a new file only if it is among
  these;
- what the tests, and the Python and Node programs that they start, open while they run, the names in the
  folders that they list, and whether there is what they ask for (`watch.py`);
- every file of the repository, if they start a program that cannot be watched.

What the body of a test reads of the site and of the pages counts for this test alone, so a change of a page
repeats only the tests that open it. In a file with fixtures for several tests, it counts for all of them.
A file in which a test fails has no record, and neither has one whose inputs change while it runs.
Without ``--keep``, as in a new clone, every test runs.
"""

import ast
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from site_tools import ROOT, write

from tests.kept.inputs import NAMES, SITE, closure, has_changed, hash_of, named, repository, surroundings
from tests.kept.watch import Watch

Record = dict[str, Any]
PHASES = {"setup", "call", "teardown"}
# A browser keeps nothing for the next test: each opens a window of its own.
_APART = {"browser", "site_url", "returning"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--keep", type=Path, metavar="DIR", help="leave out what has passed as it is now (tests/kept)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if folder := config.getoption("--keep"):
        config.pluginmanager.register(Keeper(config, folder), "keeper")


class Keeper:
    """Leaves out the tests that are kept, and keeps those that pass."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        given = getattr(config, "workerinput", None)
        if given is None and config.getoption("dist", "no") not in {"no", "loadfile"}:
            raise pytest.UsageError("--keep needs --dist loadfile: a file of tests runs in one process")
        self.start = given["kept_start"] if given else time.time_ns()
        repository()  # the names at the start
        self.around = given["kept_around"] if given else surroundings()
        # The tests to leave out, by file; and the files that need not even be collected.
        self.kept, self.complete = (given["kept"], given["kept_complete"]) if given else self._plan()
        self.left_out = 0
        self.outcomes: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.never: set[str] = set()
        self.collected: dict[str, set[str]] = defaultdict(set)
        runs_tests = given is not None or config.getoption("dist", "no") == "no"
        self.watch = Watch() if runs_tests else None

    # ---- what to leave out ---------------------------------------------------------------------------

    def _plan(self) -> tuple[dict[str, list[str]], list[str]]:
        kept, complete = {}, []
        for path in self.folder.rglob("*.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            if names := still_pass(record, self.around):
                kept[record["file"]] = names
                if record["complete"] == self._selection() and len(names) == len(record["tests"]):
                    complete.append(record["file"])
        return kept, complete

    def _selection(self) -> str | None:
        """The marks that are asked for; None if names are, too."""
        option = self.config.option
        is_partial = option.keyword or option.deselect or any("::" in arg for arg in self.config.args)
        return None if is_partial else option.markexpr

    def _path(self, file: str) -> Path:
        return self.folder / f"{file}.json"

    def _record(self, file: str) -> Record:
        record: Record = json.loads(self._path(file).read_text(encoding="utf-8"))
        return record

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput |= {
            "kept_start": self.start,
            "kept_around": self.around,
            "kept": self.kept,
            "kept_complete": self.complete,
        }

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        if (file := _name(collection_path)) not in self.complete:
            return None
        self.left_out += len(self.kept[file])
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if item.nodeid in self.kept.get(_name(item.path), ())]
        for item in items:
            self.collected[_name(item.path)].add(item.nodeid)
            if item.get_closest_marker("network"):  # what another host answers is no input
                self.never.add(item.nodeid)
        if left_out:
            self.left_out += len(left_out)
            self.config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in set(left_out)]

    # ---- what happens --------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        if self.watch:
            self.watch.begin(_name(collector.path) if collector.path.is_file() else "")
        try:
            return (yield)
        finally:
            if self.watch:
                self.watch.end()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        assert self.watch
        file = _name(item.path)
        self.watch.begin(file)
        result = yield
        if nextitem is None or _name(nextitem.path) != file:
            self.watch.end()
            with self.watch.pause():
                self._keep(file)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        assert self.watch
        self.watch.test = item.nodeid
        try:
            return (yield)
        finally:
            self.watch.test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.outcomes[report.nodeid].add((report.when or "", report.outcome))

    # ---- what to keep --------------------------------------------------------------------------------

    def _keep(self, file: str) -> None:
        """Write the record of a file whose tests have run."""
        ran = {name: self.outcomes[name] for name in self.collected[file] & {*self.outcomes}}
        if any(outcome == "failed" for outcomes in ran.values() for _, outcome in outcomes):
            self._path(file).unlink(missing_ok=True)
            return
        old = self._record(file) if file in self.kept else {"shared": [], "tests": {}, "imports": []}
        tests = {name: set(old["tests"][name]) for name in self.kept.get(file, ())}
        own, shared, imports = self._inputs(file)
        shared |= set(old["shared"])
        imports |= set(old["imports"])
        for name, outcomes in ran.items():
            if outcomes == {(phase, "passed") for phase in PHASES} and name not in self.never:
                tests[name] = own[name] - shared
        used = shared.union(*tests.values())
        if any(has_changed(name, self.start) for name in used):
            self._path(file).unlink(missing_ok=True)
            return
        record = {
            "file": file,
            "surroundings": self.around,
            "names": hash_of(NAMES),
            "imports": sorted(imports),
            "complete": self._selection() if self.collected[file] <= {*tests} else None,
            "shared": sorted(shared),
            "tests": {name: sorted(paths) for name, paths in sorted(tests.items())},
            "hashes": {name: hash_of(name) for name in sorted(used)},
        }
        write(self._path(file), json.dumps(record, indent=0))

    def _inputs(self, file: str) -> tuple[dict[str, set[str]], set[str], set[str]]:
        """The inputs of each test of a file alone, those of all of them, and what they import by name."""
        assert self.watch
        notes, own = set(self.watch.of_file[file]), {}
        shared = {file, *_conftests(file)}
        is_apart = not any(shares(ROOT / name) for name in shared)
        for name in self.collected[file]:
            of_test = self.watch.of_test[name]
            alone = {
                note for note in of_test if is_apart and note[0] in {"read", "list"} and _is_of_pages(note[1])
            }
            own[name] = named(alone)
            notes |= of_test - alone
        groups = set[str]()
        while True:
            names = {what for kind, what in notes if kind == "import"}
            more, found = closure({*shared, *named(notes)}, names)
            groups |= found
            known = len(notes)
            notes |= {note for path in more for note in self.watch.of_module.get(str(ROOT / path), ())}
            shared |= more
            if len(notes) == known:
                return own, {*shared, *named(notes), *groups}, names

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["left_out"] = self.left_out
        elif session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.left_out:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.left_out = max(self.left_out, getattr(node, "workeroutput", {}).get("left_out", 0))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(
            f"{self.left_out} tests were not repeated: they passed, and their inputs have not changed since "
            "(make test ALL=1 repeats them)"
        )


def still_pass(record: Record, around: str) -> list[str]:
    """The tests of a record whose inputs are as they were."""
    hashes, shared = record["hashes"], set(record["shared"])
    if record["surroundings"] != around or any(hash_of(name) != hashes[name] for name in shared):
        return []
    if record["names"] != hash_of(NAMES):  # a new file may be imported in place of another
        found, groups = closure({*shared, *_conftests(record["file"])}, record["imports"])
        if not found | groups <= shared:
            return []
    return [
        name
        for name, inputs in record["tests"].items()
        if all(hash_of(path) == hashes[path] for path in inputs)
    ]


def _conftests(file: str) -> set[str]:
    """The conftest.py that pytest imports for a file; that of tests/ types the package for doctests, too."""
    folders = {folder for folder in (ROOT / file).parents if folder.is_relative_to(ROOT)} | {ROOT / "tests"}
    return {_name(path) for folder in folders if (path := folder / "conftest.py").is_file()}


@cache
def shares(path: Path) -> bool:
    """Whether a file has a fixture that several tests use, and with it what one of them has opened."""
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return any(
        "scope=" in ast.unparse(decorator) and "fixture" in ast.unparse(decorator)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name not in _APART
        for decorator in node.decorator_list
    )


def _is_of_pages(path: str) -> bool:
    """Whether a file is of the built site, or the Markdown of a page."""
    return Path(path).is_relative_to(SITE) or path.endswith(".md")


@cache
def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
