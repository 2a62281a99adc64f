r"""Compressed files and archives, read with a limit on decompressed bytes: one budget per file.

A file of $n$ bytes may expand to `FLOOR` + `EXPANSION` $\cdot\, n$ bytes in total, including streams inside
decompressed streams and the texts of a Parquet file. The budget grows as the file is read, so reading a
decompression bomb stops after a few megabytes. Prose compresses 3 to 10 times. To read a file that compresses
better, raise ``llmguide.data.archives.EXPANSION``.

Python's `zipfile` and `tarfile` trust their input too much, so this module first checks for:

- zip: members that share bytes; compression methods other than deflate, which `zipfile` decompresses without
  a limit.
- tar: a damaged or zeroed header or a missing end marker, which `tarfile` treats as the end of the archive; a
  size beyond the end of the file, to which it would seek for years; headers that are too long to be names.
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
ROW = 32  # bytes that a row or line spends of the budget in addition to its text
_HEADER = 2**14  # bytes; a path takes 4,096, and the rest is for extended attributes
_EXTENDED = (  # read whole into memory
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LOCAL_HEADER = 30  # bytes before the name of a member of a zip
_CHUNK = 8192


class UnreadableError(Exception):
    """Raised for input that is refused, with a reason, one of a few, and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class BudgetError(Exception):
    """Raised when a file expands beyond its budget; reading stops."""


class Source(io.FileIO):
    """A file and its decompression budget."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.size = os.fstat(self.fileno()).st_size
        self.n_read = 0
        self.n_expanded = 0

    def readinto(self, buffer: Any, /) -> int | None:
        """Read, and count the bytes."""
        n = super().readinto(buffer)
        self.n_read += n or 0
        return n

    def spend(self, n_bytes: int) -> None:
        """Count decompressed bytes.

        Raises:
            BudgetError: The file has expanded beyond its budget.
        """
        self.n_expanded += n_bytes
        n_read = min(self.n_read, self.size)  # reading the same bytes twice does not add to the budget
        if self.n_expanded > FLOOR + EXPANSION * n_read:
            raise BudgetError(
                f"{n_read:,} bytes became {self.n_expanded:,}; the limit is {FLOOR:,} plus {EXPANSION} times "
                "as many. The rest is not read. If you trust the file, raise llmguide.data.archives.EXPANSION"
            )


class Expanding(io.BufferedIOBase):
    """A decompressed stream that spends the budget of its file."""

    def __init__(self, stream: io.BufferedIOBase | IO[bytes], budget: Source) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, size: int | None = -1, /) -> bytes:
        """Read and count decompressed bytes."""
        return self._counted(self._stream.read(-1 if size is None else size))

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line and count it."""
        return self._counted(self._stream.readline(-1 if size is None else size))

    def _counted(self, data: bytes) -> bytes:
        self._budget.spend(len(data))
        return data


class InChunks(io.BufferedIOBase):
    """A compressed stream that gives a few kilobytes at a time, since gzip of Python 3.12 asks for 128.

    The budget counts what was read, and what gzip has read but not yet expanded would raise it.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most 8 kB."""
        return self._stream.read(_CHUNK if size is None or size < 0 else min(size, _CHUNK))


def zip_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """List the members of a zip.

    Raises:
        UnreadableError: Two members overlap, which no regular program writes.
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
        UnreadableError: The compression method is one that `zipfile` decompresses without a limit.
        zipfile.BadZipFile, RuntimeError: The member is damaged or encrypted.
    """
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableError(
            "compression that is not read", f"method {info.compress_type} of zip; pack it with deflate"
        )
    return Expanding(archive.open(info), budget)


def tar_members(stream: io.BufferedIOBase) -> Iterator[tuple[str, io.BufferedIOBase]]:
    """Stream the regular files of a tar; each must be read before the next one is requested.

    Args:
        stream: Stream of the tar, which is read forward only.

    Yields:
        The name and the content of each file.

    Raises:
        tarfile.TarError: The archive is damaged or cut off.
    """
    tar = _UntilMarker(stream)
    with tarfile.open(fileobj=tar, mode="r|", tarinfo=_Header) as archive:  # type: ignore[call-overload]
        while (info := archive.next()) is not None:
            member = archive.extractfile(info) if info.isfile() else None
            if member is not None:
                yield info.name, member
            archive.members.clear()  # tarfile keeps all of them in memory
            if len(archive.pax_headers) > _HEADER:
                raise tarfile.ReadError("more global headers than any archive needs")
        tar.has_ended = True
        while padding := archive.fileobj.read(_CHUNK):
            if padding.strip(b"\0"):
                raise tarfile.ReadError("data follow the end marker; members may be lost. Pack it again")


class _UntilMarker:
    """The stream of a tar, which raises an error if the file ends before the end marker."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self.has_ended = False

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if not data and not self.has_ended:
            raise tarfile.ReadError("the tar ends before its end marker; members may be lost. Fetch it again")
        return data


class _Header(tarfile.TarInfo):
    """A tar header that is undamaged, short, and not of a sparse file."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end marker
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a header is damaged ({error}); members after it are lost") from error

    # every Python calls it before it uses a header; newer ones no longer call frombuf
    def _proc_member(self, tarfile_: tarfile.TarFile) -> "_Header":
        if self.size < 0 or (self.type in _EXTENDED and self.size > _HEADER):
            raise tarfile.ReadError(f"a header of {self.size:,} bytes; at most {_HEADER:,} are read")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{self.name!r} is a sparse file; pack the tar without them")
        header: _Header = super()._proc_member(tarfile_)  # type: ignore[misc]
        return header

    # a hole, or the map, can be longer than the archive
    def _proc_gnusparse_10(self, member: tarfile.TarInfo, *_: object) -> None:
        raise tarfile.ReadError(f"{member.name!r} is a sparse file; pack the tar without them")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10
