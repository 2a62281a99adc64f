r"""Compressed files and archives, read with a bound on how far they expand: one budget per file.

A file of $n$ bytes may expand to `FLOOR` + `EXPANSION` $\cdot\, n$ bytes, whatever it holds: its decompressed
streams, those inside them, and the texts of a Parquet file count together. The budget grows as the file is
read, so a bomb is given up after a few megabytes rather than at its end. Prose compresses 3 to 10 times. To
read a file of your own that compresses better, raise ``llmguide.data.archives.EXPANSION``.

Python's `zipfile` and `tarfile` trust more than they should, so this module checks first:

- zip: members that share bytes; methods other than deflate, which `zipfile` decompresses without a limit.
- tar: a damaged header or the end of the file, which `tarfile` takes for the end of the archive, where an end
  marker should be; a size beyond the end of the file, to which it would seek for years; headers that are too
  long to be names.
"""

import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

FLOOR = 8 * 2**20
EXPANSION = 200
_HEADER = 2**14  # bytes; a path takes 4,096, and the rest is for extended attributes
_EXTENDED = (  # read whole into memory
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LOCAL_HEADER = 30  # bytes before the name of a member of a zip


class UnreadableError(Exception):
    """Something that is refused: its reason, one of few, and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class BudgetError(Exception):
    """A file has expanded beyond its budget; nothing more is read of it."""


class Source(io.FileIO):
    """A file and its budget."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.size = os.fstat(self.fileno()).st_size
        self.n_read = 0
        self.n_expanded = 0

    def readinto(self, buffer: Any, /) -> int | None:
        """Count what is read."""
        n = super().readinto(buffer)
        self.n_read += n or 0
        return n

    def spend(self, n_bytes: int) -> None:
        """Count bytes that came out of a decompressor.

        Raises:
            BudgetError: They are too many for what was read.
        """
        self.n_expanded += n_bytes
        n_read = min(self.n_read, self.size)  # reading the same bytes twice earns nothing
        if self.n_expanded > FLOOR + EXPANSION * n_read:
            raise BudgetError(
                f"{n_read:,} bytes became {self.n_expanded:,}; allowed are {FLOOR:,} and {EXPANSION} times "
                "as many. The rest is not read. If you trust the file, raise llmguide.data.archives.EXPANSION"
            )


class Expanding(io.BufferedIOBase):
    """A decompressed stream that spends the budget of its file."""

    def __init__(self, stream: io.BufferedIOBase | IO[bytes], budget: Source) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, size: int | None = -1, /) -> bytes:
        """Read and count."""
        return self._counted(self._stream.read(-1 if size is None else size))

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line and count it."""
        return self._counted(self._stream.readline(-1 if size is None else size))

    def _counted(self, data: bytes) -> bytes:
        self._budget.spend(len(data))
        return data


def zip_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """List the members of a zip.

    Raises:
        UnreadableError: Two of them overlap, as no program writes them.
    """
    infos = archive.infolist()
    for info, following in pairwise(sorted(infos, key=lambda info: info.header_offset)):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > following.header_offset:
            raise UnreadableError(
                "members overlap",
                f"{info.filename!r} and {following.filename!r} share bytes of the archive; pack it again",
            )
    return infos


def open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Source) -> Expanding:
    """Open a member of a zip.

    Raises:
        UnreadableError: It is compressed by a method of which `zipfile` decompresses any amount at once.
        zipfile.BadZipFile, RuntimeError: It is damaged or encrypted.
    """
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableError(
            "compression that is not read", f"method {info.compress_type} of zip; pack it with deflate"
        )
    return Expanding(archive.open(info), budget)


def tar_members(stream: io.BufferedIOBase) -> Iterator[tuple[str, io.BufferedIOBase]]:
    """Stream the regular files of a tar, each to be read before the next is asked for.

    Args:
        stream: Stream of the tar, which is read forwards only.

    Yields:
        Name and content.

    Raises:
        tarfile.TarError: The archive is damaged or cut off.
    """
    with tarfile.open(fileobj=_UntilMarker(stream), mode="r|", tarinfo=_Header) as archive:  # type: ignore[call-overload]
        while (info := archive.next()) is not None:
            member = archive.extractfile(info) if info.isfile() else None
            if member is not None:
                yield info.name, member
            archive.members.clear()  # tarfile keeps them all, in a stream as well
            if len(archive.pax_headers) > _HEADER:
                raise tarfile.ReadError("more global headers than any archive needs")


class _UntilMarker:
    """A tar as `tarfile` reads it: a read at the end of the file finds no end marker, which comes before."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if not data:
            raise tarfile.ReadError("the tar ends before its end marker; members may be lost. Fetch it again")
        return data


class _Header(tarfile.TarInfo):
    """A header that is whole, short, and of a member without holes."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end marker
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a header is damaged ({error}); members after it are lost") from error
        if header.size < 0 or (header.type in _EXTENDED and header.size > _HEADER):
            raise tarfile.ReadError(f"a header of {header.size:,} bytes; at most {_HEADER:,} are read")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{header.name!r} is a sparse file; pack the tar without them")
        return header

    def _proc_gnusparse_10(self, *_: object) -> None:  # its map can be as long as the file
        raise tarfile.ReadError(f"{self.name!r} is a sparse file; pack the tar without them")
