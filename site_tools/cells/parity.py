"""The parity ledger: how far each function of the package is from an independent library.

Tests marked ``parity`` record their comparisons in .cache/parity (see tests/parity.py), which become
docs/parity.md. Before any test has run, the page shows the comparisons that docs/_data/parity.jsonl stores.

Examples::

    python -m site_tools.cells.parity           run these tests whose inputs have changed since they passed
    python -m site_tools.cells.parity --store   and store their comparisons
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from site_tools import CACHE, DATA, DOCS, REPOSITORY, ROOT, generated_head, write
from site_tools.command_line import argument_parser

LEDGER = CACHE / "parity"
JOINED = "joined.jsonl"  # in the ledger, what the last run of the tests recorded
PASSED = CACHE / "parity-tests"  # records of the tests that need not be repeated (tests/kept)
STORED = DATA / "parity.jsonl"
PAGE = DOCS / "parity.md"
MARK = "pytest.mark.parity"


def read() -> list[dict[str, Any]]:
    """Every comparison of the last run of the tests.

    Raises:
        ValueError: They have not run.
    """
    if not (joined := LEDGER / JOINED).is_file():
        raise ValueError(f"no comparison in {LEDGER}; run python -m site_tools.cells.parity")
    return [json.loads(line) for line in joined.read_text().splitlines()]


def stored() -> list[dict[str, Any]]:
    """The comparisons that are kept with the sources, one row per function and peer."""
    return [json.loads(line) for line in STORED.read_text(encoding="utf-8").splitlines()]


def newest() -> list[dict[str, Any]]:
    """The comparisons of the last run of the tests, or else the stored ones."""
    return merge(read()) if (LEDGER / JOINED).is_file() else stored()


def merge(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per function and peer: the comparison with the largest error, in order of function and peer."""
    largest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["function"], row["peer"])
        if key not in largest or row["error"] > largest[key]["error"]:
            largest[key] = row
    return [largest[key] for key in sorted(largest)]


def render(rows: list[dict[str, Any]]) -> str:
    """The ledger page, one table a module."""
    parts = [
        generated_head(
            "Parity ledger",
            "The largest difference between each function of the package and an independent library.",
            "site_tools/cells/parity.py from what the tests recorded",
        ),
        "Each row is the largest difference that the tests found, over whole tensors, between a function of "
        "this package and an independent implementation. An error of 0 means that every element is equal; "
        "each error links to the test that found it.\n",
    ]
    rows = sorted(rows, key=lambda row: _module(row["function"]))
    for module, group in groupby(rows, key=lambda row: _module(row["function"])):
        lines = [
            "| Function | Compared with | Largest error | Tolerance |",
            "| :-- | :-- | --: | --: |",
        ]
        lines += [_row(row) for row in group]
        parts.append(
            "\n".join([f"## {module}\n", *lines, "", f"Table: Functions of {module} against their peers.\n"])
        )
    return "\n".join(parts)


def _module(function: str) -> str:
    """The longest prefix of a dotted name that is a module of the package."""
    parts = function.split(".")
    for length in range(len(parts), 0, -1):
        base = ROOT.joinpath("src", *parts[:length])
        if base.with_suffix(".py").is_file() or (base / "__init__.py").is_file():
            return ".".join(parts[:length])
    raise ValueError(f"a test compares {function!r}, but src has no such module; name it of='llmguide.x.f'")


def _row(row: dict[str, Any]) -> str:
    file, _, name = row["test"].partition("::")
    short = row["function"].removeprefix(f"{_module(row['function'])}.")
    peer = f"`{row['peer']}` {row['version'].partition('+')[0]}"
    error = f"{row['error']:.1e}" if row["error"] else "0"
    test = f'({REPOSITORY}/{file} "{Path(file).name}, {name.partition("[")[0]}")'
    tolerance = f"{row['tolerance']:.0e}" if row["tolerance"] else "0"
    is_private = "._" in row["function"]  # has no reference page
    shown = f"`{short}`" if is_private else f"[`{short}`][{row['function']}]"
    return f"| {shown} | {peer} | [{error}]{test} | {tolerance} |"


def run_tests() -> None:
    """Repeat the tests whose inputs have changed since they passed, and record their comparisons anew."""
    join()
    if not (LEDGER / JOINED).is_file():  # what they compared is lost
        shutil.rmtree(PASSED, ignore_errors=True)
    options = ("--numprocesses", "auto", "--dist", "loadfile", "--keep", str(PASSED))
    # Named, because each process would import all the others only to find no such test in them.
    files = [
        str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if MARK in path.read_text("utf-8")
    ]
    command = [sys.executable, "-m", "pytest", "-q", *options, "-m", "parity", *files]
    subprocess.run(command, cwd=ROOT, check=True)
    join()


def join() -> None:
    """Move the comparisons of the last run into one file, beside those of tests that it did not repeat."""
    joined = LEDGER / JOINED
    before = joined.read_text().splitlines() if joined.is_file() else []
    paths = [path for path in sorted(LEDGER.glob("*.jsonl")) if path != joined]
    new = [line for path in paths for line in path.read_text().splitlines()]
    records = [json.loads(path.read_text()) for path in PASSED.rglob("*.json")]
    present = [record for record in records if (ROOT / record["file"]).is_file()]
    passed = {name.split(" ")[0] for record in present for name in record["tests"]}
    passed -= {json.loads(line)["test"] for line in new}
    lines = [line for line in before if json.loads(line)["test"] in passed] + new
    if lines:
        write(joined, "".join(f"{line}\n" for line in lines))
    for path in paths:
        path.unlink()


def main() -> None:
    """Run the tests, and store what they recorded if asked to."""
    parser = argument_parser("site_tools.cells.parity", __doc__)
    parser.add_argument("--store", action="store_true", help=f"store the comparisons in {STORED.name}")
    arguments = parser.parse_args()
    run_tests()
    if arguments.store:
        write(STORED, "".join(f"{json.dumps(row)}\n" for row in newest()))


if __name__ == "__main__":
    main()
