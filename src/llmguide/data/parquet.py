"""Stream texts from a Parquet file, without decompressing a page before its size is known.

pyarrow allocates as much memory as the header of a page declares, and a page of a few kilobytes can declare 2
GB. So the page headers are read first; a row group with a page over `PAGE` is skipped. The more memory a row
may take, the fewer rows are read at a time.

Reference: [parquet.thrift](https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift)
(`PageHeader`), in the compact protocol of Thrift.
"""

from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any, NamedTuple

from llmguide.data.archives import ROW, Source, UnreadableError
from llmguide.extras import import_extra

PAGE = 128 * 2**20
"""Largest page that is decompressed. Programs write about 1 MiB, but pyarrow at least 1,024 texts."""
_BLOCK = 2**20
_ROWS = 64


class TooLong(NamedTuple):
    """Skipped rows, and the reason."""

    n_rows: int
    reason: str
    detail: str = ""


def rows(file: Any, column: str, limit: int, budget: Source) -> Iterator[str | TooLong | None]:
    """Stream a column of texts.

    Args:
        file: Seekable binary file in Parquet format.
        column: Name of the text column.
        limit: Longest text, in bytes of UTF-8.
        budget: Decompression budget, spent by pages and by texts, which a dictionary can repeat any number of
            times.

    Yields:
        Texts, None for missing ones, and `TooLong` for skipped rows.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        UnreadableError: The file is damaged, or has no such column of strings.
    """
    pa, pq = (import_extra(name, "data", "Parquet") for name in ("pyarrow", "pyarrow.parquet"))
    n_rows = 0
    try:
        parquet = pq.ParquetFile(file, buffer_size=_BLOCK)
        schema = parquet.schema_arrow
        at = schema.get_field_index(column)
        if at < 0 or not _is_text(pa.types, schema.types[at]):
            columns = ", ".join(
                f"{name} ({kind})" for name, kind in zip(schema.names, schema.types, strict=True)
            )
            raise UnreadableError("no text", f"columns: {columns[:1000]}")
        paths = [parquet.schema.column(i).path for i in range(len(parquet.schema))]
        leaves = [i for i, path in enumerate(paths) if f"{path}.".startswith(f"{column}.")]
        for number in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(number)
            if not group.num_rows:
                continue
            pages = [page for i in leaves for page in _pages(file, group.column(i), budget)]
            largest = max((page.memory for page in pages), default=0)
            budget.spend(sum(page.n_bytes for page in pages))
            if largest > PAGE:
                detail = (
                    f"a page of row group {number} takes {largest:,} bytes; write fewer texts a page, or "
                    "raise llmguide.data.parquet.PAGE"
                )
                yield TooLong(group.num_rows, f"page larger than {PAGE >> 20} MiB", detail)
                n_rows += group.num_rows
                continue
            at_a_time = max(1, min(_ROWS, PAGE // max(1, largest)))
            for batch in parquet.iter_batches(
                at_a_time, row_groups=[number], columns=[column], use_threads=False
            ):
                texts = batch.column(0)
                for text in texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts:
                    n_rows += 1
                    n_bytes = text.as_buffer().size if text.is_valid else 0
                    budget.spend(ROW + n_bytes)
                    yield text.as_py() if n_bytes <= limit else TooLong(1, f"longer than {limit >> 20} MiB")
    except (pa.ArrowException, UnicodeDecodeError, IndexError) as error:
        raise UnreadableError("damaged or cut off", f"after {n_rows} rows: {error}") from error


def _is_text(types: Any, kind: Any) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = types.is_string, types.is_large_string, types.is_string_view, types.is_null
    return any(test(kind) for test in tests)


class _Page(NamedTuple):
    n_bytes: int  # decompressed
    memory: int  # memory that decoding takes: the bytes, or the lengths of the values


def _pages(file: BufferedIOBase, chunk: Any, budget: Source) -> Iterator[_Page]:
    """Read the page headers of a column chunk, as pyarrow does."""
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size
    budget.spend(chunk.total_compressed_size)  # row groups may share their pages
    while at < end:
        file.seek(at)
        header = _struct(file)
        counts = [header[kind].get(1) for kind in (5, 7, 8) if isinstance(header.get(kind), dict)]
        sizes: list[Any] = [header.get(2), header.get(3), *counts]
        if not all(isinstance(size, int) and 0 <= size < 2**31 for size in sizes):
            raise IndexError("a page header without sizes")
        n_bytes, n_compressed, *counts = sizes
        budget.spend(file.tell() - at)  # the header, which may reach into the next ones
        yield _Page(n_bytes, max(n_bytes, *(4 * count for count in counts), 0))
        at = file.tell() + n_compressed


def _struct(file: BufferedIOBase) -> dict[int, Any]:
    """Read the integers and structs of a Thrift struct, by the numbers of its fields."""
    fields: dict[int, Any] = {}
    number = 0
    while kind := (head := file.read(1)[0]) & 15:
        number = number + (head >> 4) if head >> 4 else _integer(file)
        fields[number] = _value(file, kind)
    return fields


def _value(file: BufferedIOBase, kind: int) -> Any:
    if kind <= 2:  # the type encodes the value of a boolean
        return None
    if kind in (4, 5, 6):
        return _integer(file)
    if kind == 12:
        return _struct(file)
    if kind in (9, 10):
        head = file.read(1)[0]
        for _ in range(head >> 4 if head >> 4 < 15 else _unsigned(file)):
            _value(file, head & 15) if head & 15 > 2 else file.read(1)[0]
    elif kind in (3, 7, 8):
        n_bytes = {3: 1, 7: 8}.get(kind) or _unsigned(file)
        if n_bytes:
            file.seek(min(n_bytes, 2**31) - 1, 1)
            file.read(1)[0]  # raises IndexError after the end of the file
    else:
        raise IndexError("a page header of unknown format")
    return None


def _integer(file: BufferedIOBase) -> int:
    zigzag = _unsigned(file)
    return zigzag >> 1 ^ -(zigzag & 1)


def _unsigned(file: BufferedIOBase) -> int:
    value = shift = 0
    while shift < 64:
        byte = file.read(1)[0]
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value
    raise IndexError("a number of more than 64 bits")
