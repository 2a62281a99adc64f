"""Archives that the worker unpacks, in Node, beside what Python's own modules read from them."""

import base64
import hashlib
import io
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from site_tools import RUNTIME
from site_tools.tab.tab_assets import archive, compressed
from site_tools.tab.vendor import VENDOR
from tests.runtime.node import node

MODULE = RUNTIME / "archives.mjs"
# A file system that remembers what is written, and where a folder has to be made first.
UNPACK = """
const { createHash } = await import("node:crypto");
const bytes = Uint8Array.from(Buffer.from(given.archive, "base64"));
const written = {};
const folders = new Set();
const FS = {
  mkdirTree: (path) => folders.add(path),
  writeFile(path, content) {
    if (!folders.has(path.slice(0, path.lastIndexOf("/")))) throw new Error(`no folder for ${path}`);
    written[path] = createHash("sha256").update(content).digest("hex");
  },
};
m.place(FS, await m[given.reader](bytes.buffer), "/guide");
return written;
"""
CONTENTS = {
    "one.py": b"print(1)\n",
    "empty/__init__.py": b"",
    "d\u00e9j\u00e0/vu.txt": "d\u00e9j\u00e0 vu\n".encode() * 1000,
    f"{'long/' * 30}name.bin": random.Random(0).randbytes(70_000),
}


def unpacked(content: bytes, reader: str) -> Any:
    return node(MODULE, UNPACK, archive=base64.b64encode(content).decode(), reader=reader)


def hashes(contents: dict[str, bytes]) -> dict[str, str]:
    return {f"/guide/{name}": hashlib.sha256(content).hexdigest() for name, content in contents.items()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_zip_gives_the_files_that_python_packed(method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        target.mkdir("a folder")
        for name, content in CONTENTS.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            entry.comment = b"of this file"
            with target.open(entry, "w", force_zip64=True) as file:  # with an extra field
                file.write(content)
    assert unpacked(buffer.getvalue(), "readZip") == hashes(CONTENTS)


def test_a_wheel_gives_the_files_that_python_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as source:
        expected = {name: source.read(name) for name in source.namelist()}
    assert len(expected) > 300
    assert unpacked(wheel.read_bytes(), "readZip") == hashes(expected)


@pytest.fixture
def wheel() -> Path:
    """numpy's wheel for the tab."""
    found = next(VENDOR.glob("pyodide-*/numpy-*.whl"), None)
    if found is None:
        pytest.skip("numpy's wheel for the tab is not here")
    return found


@pytest.mark.parametrize("left", [0, 10, 1000])
def test_a_truncated_zip_is_refused(left: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("one.bin", bytes(2000))
    with pytest.raises(AssertionError, match="not a zip, or it is truncated"):
        unpacked(buffer.getvalue()[:left], "readZip")


def test_a_tgz_gives_the_files_that_python_packed(tmp_path: Path) -> None:
    files = []
    for index, (name, content) in enumerate(CONTENTS.items()):
        path = tmp_path / str(index)
        path.write_bytes(content)
        files.append((name, path))
    content, suffix = compressed(archive(files))
    assert suffix == ".tgz"
    assert unpacked(content, "readTar") == hashes(CONTENTS)
