"""Stream documents from files: text, JSON lines and Parquet, plain, gzipped or in an archive.

Unreadable input is yielded as an `Unread` and does not end the stream. Only a missing path raises an error.

| name ends with | documents |
| --- | --- |
| ``.jsonl``, ``.ndjson``, ``.json`` | one per line, the string under `text_field` |
| ``.parquet`` | one per row, the column `text_field` |
| ``.zip``, ``.tar``, ``.tar.gz``, ``.tgz`` | those of its members; nested archives are not opened |
| anything else, before ``.gz`` | one, in UTF-8; above `LIMIT`, split at a blank line, else at a newline |

A file of $n$ bytes gives at most about 8 MiB + 200 $n$ bytes of text, in proportional time, by the budget of
`llmguide.data.archives`. Memory does not grow with the file, except for the list of a zip's members, 1 kB
each. A text takes at most about 5 times `LIMIT`; a JSON line 30 times, if it consists of empty lists; a
Parquet file 7 times `llmguide.data.parquet.PAGE`.

Leaves out: HTML (extract its text first), encodings other than UTF-8, Zstandard, members of a zip that are
not compressed with deflate, sparse members of a tar, files that grow while they are read.
"""

import codecs
import gzip
import json
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import IO

from llmguide.data import archives, parquet
from llmguide.data.archives import BudgetError, Expanding, InChunks, Source, UnreadableError

LIMIT, _BLOCK = 2**24, 2**20  # bytes
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its id and source."""

    text: str
    id: str
    """Unique among the files read: the source and, where it holds several, the line, row or part."""
    source: str
    """The file, or ``archive/member``."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file, line or row that could not be read, with the reason."""

    reason: str
    """Reason, one of few, so that reasons can be counted."""
    where: str
    """The file, and the member, line or row."""
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

    >>> folder = Path(tempfile.mkdtemp())
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
    source = _printable(path)
    try:
        with Source(path) as budget:
            try:
                yield from _read(BufferedReader(budget), path.name.lower(), source, text_field, budget)
            except BudgetError as error:
                yield Unread(f"expands more than {archives.EXPANSION} times", source, str(error))
    except OSError as error:
        yield Unread("cannot be opened", source, str(error))


def _read(
    stream: BufferedIOBase, name: str, source: str, text_field: str, budget: Source, *, inside: bool = False
) -> Iterator[Document | Unread]:
    try:
        if inside and name.endswith((".zip", ".tar", ".tgz", ".tar.gz")):
            yield Unread("archive inside an archive", source)
        elif name.endswith((".gz", ".tgz")):
            expanding = Expanding(gzip.GzipFile(fileobj=InChunks(stream)), budget)
            inner = name.removesuffix(".gz") if name.endswith(".gz") else ".tar"
            yield from _read(expanding, inner, source, text_field, budget, inside=inside)
        elif name.endswith(".zip"):
            yield from _zip(stream, source, text_field, budget)
        elif name.endswith(".tar"):
            yield from _tar(stream, source, text_field, budget)
        elif name.endswith(".parquet"):
            yield from _parquet(stream, source, text_field, budget)
        elif name.endswith((".jsonl", ".ndjson", ".json")):
            yield from _json_lines(stream, source, text_field, budget)
        else:
            yield from _text(stream, source)
    except UnreadableError as refused:
        yield Unread(refused.reason, source, refused.detail)
    # RuntimeError: an encrypted zip; its subclass NotImplementedError: unknown compression
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, RuntimeError) as error:
        yield Unread("damaged or cut off", source, str(error))


def _text(stream: BufferedIOBase, source: str) -> Iterator[Document | Unread]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pieces: list[str] = []
    held = part = 0
    while True:
        block = stream.read(_BLOCK)
        if b"\0" in block:
            raise UnreadableError("binary: a NUL byte")
        try:
            pieces.append(decoder.decode(block, final=not block))
        except UnicodeDecodeError:
            raise UnreadableError("not UTF-8") from None
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


def _json_lines(
    stream: BufferedIOBase, source: str, text_field: str, budget: Source
) -> Iterator[Document | Unread]:
    number = 0
    while line := stream.readline(LIMIT + 1):
        budget.spend(archives.ROW)
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


def _parquet(
    stream: BufferedIOBase, source: str, text_field: str, budget: Source
) -> Iterator[Document | Unread]:
    with tempfile.TemporaryFile() as copy:
        file: IO[bytes] | BufferedIOBase = stream
        if getattr(stream, "raw", None) is not budget:  # a zip has its index at the end
            shutil.copyfileobj(stream, copy, _BLOCK)
            file = copy
        budget.n_read = budget.size
        row = 1
        for text in parquet.rows(file, text_field, LIMIT, budget):
            if isinstance(text, parquet.TooLong):
                yield Unread(text.reason, f"{source}:{row}", text.detail)
                row += text.n_rows
            else:
                yield _value(text, f"{source}:{row}", source)
                row += 1
        if row == 1:
            yield Unread("empty", source)


def _zip(stream: BufferedIOBase, source: str, text_field: str, budget: Source) -> Iterator[Document | Unread]:
    with zipfile.ZipFile(stream) as archive:
        for info in archives.zip_members(archive):
            if info.is_dir() or _hidden(Path(info.filename)):
                continue
            where = f"{source}/{_printable(info.filename)}"
            try:
                with archives.open_zipped(archive, info, budget) as member:
                    yield from _read(member, info.filename.lower(), where, text_field, budget, inside=True)
            except UnreadableError as refused:
                yield Unread(refused.reason, where, refused.detail)
            except (zipfile.BadZipFile, RuntimeError) as error:
                yield Unread("damaged or cut off", where, str(error))


def _tar(stream: BufferedIOBase, source: str, text_field: str, budget: Source) -> Iterator[Document | Unread]:
    for name, member in archives.tar_members(stream):
        if not _hidden(Path(name)):
            where = f"{source}/{_printable(name)}"
            yield from _read(member, name.lower(), where, text_field, budget, inside=True)


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX", "__pycache__")) for part in path.parts)


def _printable(path: str | Path) -> str:
    """Replace bytes of a file name that are not characters, which ids must not contain."""
    return str(path).encode("utf-8", "backslashreplace").decode()
