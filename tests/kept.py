"""With ``--keep DIR``, skip a test that has passed until something that it depends on changes.

DIR holds a record for each file of tests: the tests that passed, with the hash of what they depend on:

- the files that they import, and those that these import in turn (site_tools/cells/imports.py);
- the package and all tests, if one of these files starts programs;
- every file of the repository, if one reads them: tests of the site, the documentation, the packaging.

A test of one page in the browser does not depend on the Markdown of the other pages. Without ``--keep``,
as in a new clone, every test runs.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
from collections import defaultdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from site_tools import DOCS, ROOT, page_paths, write
from site_tools.cells.imports import closure, data

_LEDGER = ROOT / "tests" / "parity.py"  # writes to the repository, and reads nothing of it
_READS = re.compile(r"\b(site_tools|playwright|__file__|ROOT|getsource|getfile)\b")
_STARTS = re.compile(r"\b(subprocess|multiprocessing|executable|popen|spawn|pty)\b")


def key(test: Path, page: Path | None = None) -> str:
    """The hash of all that the tests of a file depend on; a page, if given, is the only one among them."""
    digest = hashlib.sha256(_surroundings().encode())
    for path in sorted(_depends_on(test)):
        if page is None or path == page or path not in _pages():
            digest.update(f"{path.relative_to(ROOT)} {_hash(path)}\n".encode())
    return digest.hexdigest()


@cache
def _surroundings() -> str:
    """What a test depends on besides the repository."""
    local = os.environ.get("LLMGUIDE_DATA", "")
    manifest = Path(local) / "MANIFEST.tsv"
    settings = {name: value for name, value in os.environ.items() if name.startswith("LLMGUIDE_")}
    parts = [version("torch"), version("pytest"), platform.python_version(), platform.machine(), settings]
    return json.dumps([*parts, _hash(manifest) if local and manifest.is_file() else ""], sort_keys=True)


@cache
def _depends_on(test: Path) -> frozenset[Path]:
    conftests = [folder / "conftest.py" for folder in test.parents if folder.is_relative_to(ROOT)]
    found = closure({test, *(path for path in conftests if path.is_file())} - {ROOT / "conftest.py"})
    of_tests = [path for path in found or {test} if "src" not in path.parts and path != _LEDGER]
    texts = [path.read_text(encoding="utf-8") for path in of_tests]
    if any(_READS.search(text) for text in texts):
        return frozenset(_repository())
    if found is None or any(_STARTS.search(text) for text in texts):
        found = {path for path in _repository() if path.relative_to(ROOT).parts[0] in {"src", "tests"}}
    return frozenset({*found, *data(), ROOT / "conftest.py", ROOT / "pyproject.toml", Path(__file__)})


@cache
def _repository() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


@cache
def _pages() -> set[Path]:
    return set(page_paths())


@cache
def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _page_of(item: pytest.Item) -> Path | None:
    """The page that a test opens in the browser, if it opens one and its name is the test's parameter."""
    name = getattr(item, "callspec", None) and item.callspec.params.get("name")
    page = DOCS / f"{name}.md"
    return page if item.path.is_relative_to(ROOT / "tests" / "browser") and page in _pages() else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--keep", type=Path, metavar="DIR", help="run what has not passed as it is now (tests/kept.py)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--keep"):
        config.pluginmanager.register(_Keeper(config), "keeper")


class _Keeper:
    """Deselects the tests that are kept, and keeps those that pass."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.folder: Path = config.getoption("--keep")
        self.is_worker = hasattr(config, "workerinput")
        self.keys: dict[str, str] = {}
        self.left_out = 0
        self.outcomes: dict[str, set[str]] = defaultdict(set)

    def _record(self, file: str) -> Path:
        return self.folder / f"{file}.json"

    def _passed(self, file: str) -> dict[str, str]:
        path = self._record(file)
        return json.loads(path.read_text()) if path.is_file() else {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept, wanted = [], []
        key_of, passed = cache(key), cache(self._passed)
        for item in items:
            self.keys[item.nodeid] = key_of(item.path, _page_of(item))
            is_kept = passed(item.nodeid.partition("::")[0]).get(item.nodeid) == self.keys[item.nodeid]
            (kept if is_kept else wanted).append(item)
        if kept:
            self.left_out = len(kept)
            self.config.hook.pytest_deselected(items=kept)
            items[:] = wanted

    def pytest_sessionfinish(self, session: Any) -> None:
        if self.is_worker:
            self.config.workeroutput["keys"] = self.keys  # type: ignore[attr-defined]
            self.config.workeroutput["left_out"] = self.left_out  # type: ignore[attr-defined]
            return
        by_file: dict[str, dict[str, str]] = defaultdict(dict)
        for name, outcomes in self.outcomes.items():
            if outcomes == {"passed"} and name in self.keys:
                by_file[name.partition("::")[0]][name] = self.keys[name]
        for file, passed in by_file.items():
            write(self._record(file), json.dumps(self._passed(file) | passed, indent=0))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", {})
        self.keys |= output.get("keys", {})
        self.left_out = output.get("left_out", self.left_out)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.outcomes[report.nodeid].add(report.outcome)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(
            f"{self.left_out} tests were not repeated: they passed, and their inputs have not changed since"
        )
