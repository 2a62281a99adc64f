"""Documents out of files: text, JSON lines and Parquet, plain, gzipped or in an archive, one at a time.

What cannot be read is never silent and never fatal: it comes out as an `Unread` with a reason that can be
counted and the place, down to the line. Only a path that does not exist raises.

| name ends with | becomes |
| --- | --- |
| ``.jsonl``, ``.ndjson``, ``.json`` | a document for each line, the string under `text_field` |
| ``.parquet`` | a document for each row, the column `text_field` |
| ``.zip``, ``.tar``, ``.tar.gz``, ``.tgz`` | the documents of its members; archives inside are not opened |
| another, ``.gz`` aside | one document, UTF-8; over `LIMIT` it is split at a blank line, else at a newline |

Memory is bounded whatever the files hold: a text or a JSON line takes no more than `LIMIT` bytes at a time, a
Parquet file its largest page and 64 rows. A compressed stream that grows beyond `LIMIT` and to more than
`EXPANSION` times its size is given up as a bomb; prose compresses 3 to 10 times.

Leaves out: HTML (extract its text first), encodings other than UTF-8, Zstandard, files that grow while they
are read.
"""

import codecs
import gzip
import json
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import IO

LIMIT = 16 * 2**20
EXPANSION = 200
_BLOCK = 2**20
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it comes from."""

    text: str
    id: str
    """Unique among the files read: the source and, where it holds several, the line, row or part."""
    source: str
    """The file, or ``archive/member``."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that should have been a document."""

    reason: str
    """One of few, to be counted."""
    where: str
    """The file, and the line or row."""
    detail: str = ""


def read(
    paths: str | Path | Iterable[str | Path],
    *,
    text_field: str = "text",
    on_unread: Callable[[Unread], object] | None = None,
) -> Iterator[Document]:
    r"""Stream the documents of files and folders, in an order that depends on their names alone.

    Args:
        paths: Files, and folders that are searched for files at any depth. Hidden ones are passed over.
        text_field: Key or column that holds the text in JSON lines and Parquet.
        on_unread: Called with everything that is passed over. Without it that goes uncounted.

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
    """List the files that `read` opens, each folder's in the order of their names.

    Args:
        paths: Files and folders.

    Returns:
        The files, each once.

    Raises:
        FileNotFoundError: A path does not exist.
    """
    found: dict[Path, None] = {}
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; give files or folders of text")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found |= {
            file: None
            for file in inside
            if file.is_file() and (file == path or not _hidden(file.relative_to(path)))
        }
    return list(found)


def read_file(path: Path, *, text_field: str = "text") -> Iterator[Document | Unread]:
    """Stream what one file holds, and what of it cannot be read.

    Args:
        path: The file.
        text_field: Key or column that holds the text in JSON lines and Parquet.

    Yields:
        Documents and `Unread`, the same at every call for the same file.
    """
    source = _printable(path)
    try:
        with path.open("rb") as file:
            yield from _read(file, path.name.lower(), source, text_field, path.stat().st_size)
    except OSError as error:
        yield Unread("cannot be opened", source, str(error))


class _UnreadableError(Exception):
    """The reason, as its one argument."""


class _Expanding(BufferedIOBase):
    """A decompressed stream that refuses to grow out of proportion."""

    def __init__(self, stream: BufferedIOBase | IO[bytes], compressed: int) -> None:
        self._stream = stream
        self._allowed = max(LIMIT, EXPANSION * compressed)

    def read(self, size: int | None = -1, /) -> bytes:
        return self._counted(self._stream.read(-1 if size is None else size))

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._counted(self._stream.readline(-1 if size is None else size))

    def _counted(self, data: bytes) -> bytes:
        self._allowed -= len(data)
        if self._allowed < 0:
            raise _UnreadableError(f"expands more than {EXPANSION} times")
        return data


def _read(
    stream: BufferedIOBase, name: str, source: str, text_field: str, size: int, *, inside: bool = False
) -> Iterator[Document | Unread]:
    try:
        if inside and name.endswith(_ARCHIVES):
            yield Unread("archive inside an archive", source)
        elif name.endswith((".gz", ".tgz")):
            expanding = _Expanding(gzip.GzipFile(fileobj=stream), size)
            inner = name.removesuffix(".gz") if name.endswith(".gz") else ".tar"
            yield from _read(expanding, inner, source, text_field, size, inside=inside)
        elif name.endswith(".zip"):
            yield from _zip(stream, source, text_field)
        elif name.endswith(".tar"):
            yield from _tar(stream, source, text_field)
        elif name.endswith(".parquet"):
            yield from _parquet(stream, source, text_field)
        elif name.endswith(_JSON_LINES):
            yield from _json_lines(stream, source, text_field)
        else:
            yield from _text(stream, source)
    except _UnreadableError as refused:
        yield Unread(refused.args[0], source)
    # RuntimeError: an encrypted zip; NotImplementedError, which is one: its compression is unknown
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, RuntimeError) as error:
        yield Unread("damaged or cut off", source, str(error))


def _text(stream: BufferedIOBase, source: str) -> Iterator[Document | Unread]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pieces: list[str] = []
    held = part = 0
    while True:
        block = stream.read(_BLOCK)
        if b"\0" in block:
            raise _UnreadableError("binary: a NUL byte")
        try:
            pieces.append(decoder.decode(block, final=not block))
        except UnicodeDecodeError:
            raise _UnreadableError("not UTF-8") from None
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
    """Where to split: after the last blank line or newline of the second half, or at the end."""
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
    if escaped and not _encodable(text):
        return Unread("lone surrogate", where)
    return Document(text, where, source)


def _parquet(stream: BufferedIOBase, source: str, text_field: str) -> Iterator[Document | Unread]:
    try:
        import pyarrow as pa  # noqa: PLC0415  # an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise ImportError('Parquet needs pyarrow: pip install "llmguide[data]"') from error
    with tempfile.TemporaryFile() as copy:
        if not isinstance(stream, _Expanding):
            file = stream
        else:  # its index is at the end, and a compressed stream only runs forwards
            shutil.copyfileobj(stream, copy, _BLOCK)
            file = copy
        row = 0
        try:
            parquet = pq.ParquetFile(file)
            if text_field not in parquet.schema_arrow.names:
                yield Unread("no text", source, f"columns: {', '.join(parquet.schema_arrow.names)}")
                return
            for batch in parquet.iter_batches(64, columns=[text_field], use_threads=False):
                for text in batch.column(0).to_pylist():
                    row += 1
                    too_long = isinstance(text, str) and len(text) > LIMIT
                    where = f"{source}:{row}"
                    reason = f"longer than {LIMIT >> 20} MiB"
                    yield Unread(reason, where) if too_long else _value(text, where, source)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            yield Unread("damaged or cut off", f"{source}:{row + 1}" if row else source, str(error))
            return
        if not row:
            yield Unread("empty", source)


def _zip(stream: BufferedIOBase, source: str, text_field: str) -> Iterator[Document | Unread]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if info.is_dir() or _hidden(Path(info.filename)):
                continue
            where = f"{source}/{_printable(info.filename)}"
            try:
                with archive.open(info) as member:
                    yield from _member(member, info.filename, where, text_field, info.compress_size)
            except (zipfile.BadZipFile, RuntimeError) as error:
                yield Unread("damaged or cut off", where, str(error))


def _tar(stream: BufferedIOBase, source: str, text_field: str) -> Iterator[Document | Unread]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in archive:
            member = archive.extractfile(info) if info.isfile() and not _hidden(Path(info.name)) else None
            if member is not None:
                where = f"{source}/{_printable(info.name)}"
                yield from _member(member, info.name, where, text_field, info.size)


def _member(
    member: BufferedIOBase | IO[bytes], name: str, where: str, text_field: str, size: int
) -> Iterator[Document | Unread]:
    yield from _read(_Expanding(member, size), name.lower(), where, text_field, size, inside=True)


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str | Path) -> str:
    """Names on a disk may hold bytes that are no characters; ids must not."""
    return str(path).encode("utf-8", "backslashreplace").decode()
