r"""Read the rows of a data set from a file, a folder or the Hugging Face hub, as dictionaries.

| source | rows |
| --- | --- |
| ``.parquet`` | the rows; needs ``llmguide[data]`` |
| ``.csv`` | the records, named by the first line; a cell that is a JSON list of objects becomes a list |
| any other file | the objects of a JSON list; one JSON object; or an object per line: JSON lines |
| a folder, or ``OWNER/NAME:CONFIG:SPLIT`` | those of ``datasets.load_dataset``; needs ``llmguide[data]`` |

Text is UTF-8, and may be compressed (``.gz``). Missing fields are left out: empty cells of CSV, null in the
other formats. Parquet and ``datasets`` also fill up the objects in a row, so there they are left out as well.

Leaves out: a limit on memory. `llmguide.data.documents` streams large corpora.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmguide.extras import import_extra

Row = dict[str, Any]
_HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]*){0,2}")
_FILE = re.compile(r"\.(jsonl|ndjson|json|csv|parquet|txt)(\.gz)?$")


def read_rows(source: str | Path, **options: Any) -> Iterator[tuple[str, Row]]:
    r"""Yield the rows of a data set, each with a description of its place.

    Args:
        source: File, folder, or name on the hub.
        options: Options of ``datasets.load_dataset``, for a data set of the hub.

    Raises:
        ValueError: There is no such file, it has no rows, or one is no object or not Unicode; the message
            names the place.
        ModuleNotFoundError: The source needs ``llmguide[data]``.
        ConnectionError: The hub cannot be reached, or has no such data set.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.csv")
    >>> path.write_text('instruction,output\nAdd 2 and 3.,5\n')
    34
    >>> [row for _, row in read_rows(path)]
    [{'instruction': 'Add 2 and 3.', 'output': '5'}]
    """
    path = Path(source)
    if path.exists() and not path.is_dir():  # a pipe, too
        rows = _file_rows(path)
    elif path.is_dir() or (_HUB.fullmatch(str(source)) and not _is_path(path)):
        rows = _library_rows(str(source), options)
    else:
        raise ValueError(f"there is no file {path}; give a file of rows, or OWNER/NAME of the hub")
    n_rows = 0
    for where, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{where}: must be an object with fields, not {json.dumps(row)[:40]}")  # noqa: TRY004  # the file is wrong
        try:
            json.dumps(row, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start].encode("unicode_escape").decode()
            raise ValueError(
                f"{where}: {half} is half of a character; remove it, or write both halves"
            ) from error
        n_rows += 1
        yield where, {name: value for name, value in row.items() if value is not None}
    if not n_rows:
        raise ValueError(f"{path} has no rows")


def _is_path(path: Path) -> bool:
    """Return whether a text that could be a name on the hub has the form or the folder of a file."""
    return _FILE.search(path.name) is not None or path.parent.is_dir()


def _file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        yield from _parquet_rows(path)
        return
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a file of text in UTF-8 ({error})") from error
    if name.endswith(".csv"):
        yield from _csv_rows(path, text)
    else:
        yield from _json_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:  # of JSON lines: there is more after the first
        if text.lstrip().startswith("["):
            raise ValueError(f"{path}: not JSON: {error}") from error
    else:
        rows, unit = (whole, "row") if isinstance(whole, list) else ([whole], "line")
        yield from ((f"{path}, {unit} {number}", row) for number, row in enumerate(rows, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would split inside of JSON texts
        if line.strip():
            where = f"{path}, line {number}"
            try:
                yield where, json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{where}: not JSON: {error}; write one object per line, or a list of objects"
                ) from error


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(2**31 - 1)
    number = 0
    try:
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), 1):
            where = f"{path}, row {number}"
            if None in row or None in row.values():
                raise ValueError(f"{where}: has more or fewer cells than the header; quote cells with commas")
            yield where, {name: _cell(cell) for name, cell in row.items() if cell}
    except csv.Error as error:
        raise ValueError(f"{path}, row {number + 1}: not CSV: {error}") from error


def _cell(cell: str) -> Any:
    if not cell.startswith("["):
        return cell
    try:
        items = json.loads(cell)
    except json.JSONDecodeError:
        return cell
    # other lists are texts that happen to be JSON, such as the response "[1, 2]"
    return items if items and all(isinstance(item, dict) for item in items) else cell


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    arrow, parquet = (import_extra(name, "data", path) for name in ("pyarrow", "pyarrow.parquet"))
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", _without_missing(row)
    except arrow.ArrowException as error:
        raise ValueError(f"{path}: damaged after {number} rows: {error}") from error


def _library_rows(source: str, options: dict[str, Any]) -> Iterator[tuple[str, Row]]:
    library = import_extra("datasets", "data", source)
    name, config, split = [source, "", ""] if Path(source).is_dir() else [*source.split(":"), "", ""][:3]
    try:
        rows = library.load_dataset(name, config or None, split=split or "train", **options)
    except OSError as error:  # the errors of the hub and httpx are OSErrors
        raise ConnectionError(
            f"{source} cannot be read ({type(error).__name__}: {error}); check the name, or give the path of "
            "a file"
        ) from error
    except library.exceptions.DatasetsError as error:
        raise ValueError(f"{source}: {error.__cause__ or error}") from error
    for number, row in enumerate(rows, 1):
        yield f"{source}, row {number}", _without_missing(row)


def _without_missing(value: Any) -> Any:
    """Leave out the fields that are None, of a row and of the objects in it."""
    if isinstance(value, list):
        return [_without_missing(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_missing(item) for key, item in value.items() if item is not None}
    return value
