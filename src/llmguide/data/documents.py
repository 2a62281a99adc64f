r"""Stream documents from files: text, JSON lines and Parquet.

Unreadable input is yielded as an `Unread` and does not end the stream. A missing path raises an error, and so
does a Parquet file without ``llmguide[data]``.

| name ends with | documents |
| --- | --- |
| ``.parquet`` | one per row, the column `text_field` |
| ``.jsonl``, ``.ndjson``, ``.json``, before ``.gz`` | one per line, the string under `text_field` |
| ``.zip``, ``.tar``, ``.tar.gz``, ``.tgz`` | none: unpack the archive first |
| anything else, before ``.gz`` | one, in UTF-8; above `LIMIT`, split at a blank line, else at a newline |

Memory does not grow with the file, except for what pyarrow takes to decode pages of Parquet. A text takes at
most about 5 times `LIMIT`; a JSON line 30 times, if it consists of empty lists.

Leaves out: HTML (extract its text first), encodings other than UTF-8, Zstandard, a limit on what a gzipped
file may expand to, files that grow while they are read.
"""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from llmguide.extras import import_extra

LIMIT, _BLOCK = 2**24, 2**20  # bytes
_ROWS = 64  # of Parquet, decoded at a time
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its id and source."""

    text: str
    id: str
    """Unique among the files read: the source and, where it holds several, the line, row or part."""
    source: str
    """The file."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file, line or row that could not be read, with the reason."""

    reason: str
    """Reason, one of few, so that reasons can be counted."""
    where: str
    """The file, and the line or row."""
    detail: str = ""


def read(
    paths: str | Path | Iterable[str | Path],
    *,
    text_field: str = "text",
    on_unread: Callable[[Unread], object] | None = None,
) -> Iterator[Document]:
    r"""Stream the documents of files and folders, in an order that depends on the file names only.

    Args:
        paths: Files, and folders that are searched at any depth, without hidden ones and ``__pycache__``.
        text_field: Key or column that holds the text in JSON lines and Parquet.
        on_unread: Function that is called with each `Unread`; None: they are ignored.

    Yields:
        The documents.

    Raises:
        FileNotFoundError: A path does not exist.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> (folder / "a.txt").write_text("All of it."), (folder / "b.bin").write_bytes(b"P\0")
    (10, 2)
    >>> (folder / "c.jsonl").write_text('{"text": "One line."}\n{"text": 1}\n')
    34
    >>> unread = []
    >>> [document.text for document in read(folder, on_unread=unread.append)]
    ['All of it.', 'One line.']
    >>> [(u.reason, u.where.removeprefix(str(folder))) for u in unread]
    [('binary: a NUL byte', '/b.bin'), ('no text', '/c.jsonl:2')]
    """
    for path in find_files(paths):
        for item in read_file(path, text_field=text_field):
            if isinstance(item, Document):
                yield item
            elif on_unread is not None:
                on_unread(item)


def find_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """List the files that `read` opens, those of a folder in order of their names.

    Args:
        paths: Files, and folders that are searched at any depth.

    Returns:
        The paths of the files, each once.

    Raises:
        FileNotFoundError: A path does not exist.
    """
    files: dict[Path, None] = {}
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; give files or folders of text")
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and (file == path or not _hidden(file.relative_to(path))):
                files[file] = None
    return list(files)


def read_file(path: Path, *, text_field: str = "text") -> Iterator[Document | Unread]:
    """Stream the documents of one file, and its unreadable parts.

    Args:
        path: File to read.
        text_field: Key or column that holds the text in JSON lines and Parquet.

    Yields:
        Documents and `Unread`, the same at every call for the same file.
    """
    source, name = _printable(path), path.name.lower()
    try:
        if name.endswith((".zip", ".tar", ".tar.gz", ".tgz")):
            yield Unread("archive: unpack it first", source)
        elif name.endswith(".parquet"):
            yield from _parquet(path, source, text_field)
        else:
            with gzip.open(path) if name.endswith(".gz") else path.open("rb") as stream:
                if name.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")):
                    yield from _json_lines(stream, source, text_field)
                else:
                    yield from _text(stream, source)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        yield Unread("damaged or cut off", source, str(error))
    except OSError as error:
        yield Unread("cannot be opened", source, str(error))


def _text(stream: BufferedIOBase, source: str) -> Iterator[Document | Unread]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pieces: list[str] = []
    held = part = 0
    while True:
        block = stream.read(_BLOCK)
        if b"\0" in block:
            yield Unread("binary: a NUL byte", source)
            return
        try:
            pieces.append(decoder.decode(block, final=not block))
        except UnicodeDecodeError:
            yield Unread("not UTF-8", source)
            return
        held += len(block)
        if block and held < LIMIT:
            continue
        text = "".join(pieces)
        end = _border(text) if block else len(text)
        if text[:end].strip():
            yield Document(text[:end], f"{source}#{part}" if part else source, source)
            part += 1
        elif not block and not part:
            yield Unread("empty", source)
        if not block:
            return
        pieces = [text[end:]]
        held = len(text[end:].encode())


def _border(text: str) -> int:
    """Find the split point: after the last blank line or newline of the second half, else the end."""
    for mark in "\n\n", "\n":
        at = text.rfind(mark, len(text) // 2)
        if at >= 0:
            return at + len(mark)
    return len(text)


def _json_lines(stream: BufferedIOBase, source: str, text_field: str) -> Iterator[Document | Unread]:
    number = 0
    while line := stream.readline(LIMIT + 1):
        number += 1
        where = f"{source}:{number}"
        if len(line) > LIMIT:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_BLOCK)
            yield Unread(f"longer than {LIMIT >> 20} MiB", where)
        elif line.strip():
            yield _json_line(line, where, source, text_field)
    if not number:
        yield Unread("empty", source)


def _json_line(line: bytes, where: str, source: str, text_field: str) -> Document | Unread:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Unread("not UTF-8", where)
    except (ValueError, RecursionError) as error:
        return Unread("broken JSON", where, str(error))
    text = record.get(text_field) if isinstance(record, dict) else None
    return _value(text, where, source, escaped=b"\\u" in line)


def _value(text: object, where: str, source: str, *, escaped: bool = False) -> Document | Unread:
    if not isinstance(text, str):
        return Unread("no text", where)
    if not text.strip():
        return Unread("empty", where)
    if "\0" in text:
        return Unread("binary: a NUL byte", where)
    if escaped and _SURROGATE.search(text):
        return Unread("lone surrogate", where)
    return Document(text, where, source)


def _parquet(path: Path, source: str, text_field: str) -> Iterator[Document | Unread]:
    arrow, parquet = (import_extra(name, "data", path) for name in ("pyarrow", "pyarrow.parquet"))
    row = 0
    try:
        with parquet.ParquetFile(path) as file:
            if text_field not in file.schema_arrow.names:
                columns = ", ".join(file.schema_arrow.names)
                yield Unread("no text", source, f"columns: {columns[:1000]}")
                return
            for batch in file.iter_batches(_ROWS, columns=[text_field]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    yield _value(text, f"{source}:{row}", source)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Unread("damaged or cut off", source, f"after {row} rows: {error}")
    else:
        if not row:
            yield Unread("empty", source)


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX", "__pycache__")) for part in path.parts)


def _printable(path: str | Path) -> str:
    """Replace bytes of a file name that are not characters, which ids must not contain."""
    return str(path).encode("utf-8", "backslashreplace").decode()
