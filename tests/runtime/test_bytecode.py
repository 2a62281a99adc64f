"""Bytecode that one start of Python packs and the next one imports, as the tab does it."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from site_tools import RUNTIME

START = """
import sys
sys.path[:0] = [{runtime!r}, {modules!r}]
import bytecode
bytecode.keep_apart({folder!r})
import pair.one, pair.two
print(pair.one.value, pair.two.value)
packed = bytecode.pack({modules!r}, more_than={more_than})
if packed:
    open({archive!r}, "wb").write(packed[1])
print(packed and packed[0])
"""


class Starts:
    """Starts of Python that share modules, and the archive of their bytecode."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.archive = folder, folder / "archive"
        self.count = 0
        for name, value in (("__init__", 0), ("one", 1), ("two", 2)):
            self.write(name, value)

    def write(self, name: str, value: int) -> None:
        path = self.folder / "modules" / "pair" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"value = {value}\n", encoding="utf-8")

    def start(self, more_than: int = 0) -> tuple[str, str, str]:
        """What a start prints, and what it says about its imports."""
        self.count += 1
        place = self.folder / f"bytecode {self.count}"
        if self.archive.exists():
            with zipfile.ZipFile(io.BytesIO(self.archive.read_bytes())) as source:
                source.extractall(place)
        code = START.format(
            runtime=str(RUNTIME),
            modules=str(self.folder / "modules"),
            folder=str(place),
            archive=str(self.archive),
            more_than=more_than,
        )
        done = subprocess.run(
            [sys.executable, "-v", "-c", code], capture_output=True, text=True, check=True, cwd=self.folder
        )
        printed, packed = done.stdout.splitlines()
        return printed, packed, done.stderr


def matched(said: str) -> list[str]:
    """The modules of the pair whose bytecode was taken."""
    lines = (line for line in said.splitlines() if " matches " in line and "/modules/pair/" in line)
    return sorted(line.rpartition("/")[2].removesuffix(".py") for line in lines)


def test_a_later_start_compiles_only_what_has_changed(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    printed, packed, said = starts.start()
    assert (printed, packed, matched(said)) == ("1 2", "3", [])
    printed, packed, said = starts.start(more_than=3)
    assert (printed, packed, matched(said)) == ("1 2", "None", ["__init__", "one", "two"])
    starts.write("two", 7)  # of the same size, within the same second
    printed, packed, said = starts.start(more_than=2)
    assert (printed, packed, matched(said)) == ("1 7", "3", ["__init__", "one"])
    printed, _, said = starts.start()
    assert (printed, matched(said)) == ("1 7", ["__init__", "one", "two"])


def test_bytecode_of_another_python_is_not_used(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    starts.start()
    with zipfile.ZipFile(io.BytesIO(starts.archive.read_bytes())) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(starts.archive, "w") as target:
        for name, content in contents.items():
            target.writestr(name, b"\0\0\r\n" + content[4:])
    printed, _, said = starts.start()
    assert (printed, matched(said)) == ("1 2", [])
