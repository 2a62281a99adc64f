"""What is laid out for the tab: the wheels that the lock names, and archives that content alone decides."""

import hashlib

from tools import wheels
from tools.runtime import MANIFEST, archive, guide_files
from tools.wheels import STEPS, Wheel


def test_a_wheel_with_another_checksum_is_left_out(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(wheels, "WHEELS", tmp_path)
    good = Wheel("good", "good.whl", hashlib.sha256(b"content").hexdigest())
    monkeypatch.setattr(
        wheels, "_unpack_carrier", lambda missing: wheels._keep(missing[0], b"damaged", "a carrier")
    )
    monkeypatch.setattr(wheels, "_download", lambda missing: wheels._keep(missing[0], b"content", "the CDN"))
    assert wheels.fetch([good]) == {"good": tmp_path / "good.whl"}
    assert "a carrier: good.whl is not the file that Pyodide's lock names" in capsys.readouterr().err
    monkeypatch.setattr(wheels, "_download", lambda _: None)
    (tmp_path / "good.whl").write_bytes(b"damaged since")
    assert wheels.fetch([good]) == {}


def test_the_lock_names_every_wheel() -> None:
    for step in STEPS:
        for wheel in wheels.wheels(step):
            assert len(wheel.sha256) == 64
            assert wheel.url.endswith(f"/v{wheels.version()}/full/{wheel.file}")


def test_the_archive_depends_on_content_alone(tmp_path) -> None:
    file = tmp_path / "file.py"
    file.write_text("x = 1\n")
    first = archive(iter([("file.py", file)]))
    file.touch()
    assert archive(iter([("file.py", file)])) == first
    file.write_text("x = 2\n")
    assert archive(iter([("file.py", file)])) != first


def test_the_archive_holds_what_pages_import() -> None:
    names = {name for name, _ in guide_files()}
    assert {"session.py", "torch/__init__.py", "llmguide/nn/attention.py", "tools/runs.py"} <= names
    assert not any("__pycache__" in name for name in names)
    assert MANIFEST.name == "runtime.json"
