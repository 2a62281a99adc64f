"""Build what the widgets of the play pages load.

The ranks of three encodings, which gpt-tokenizer carries, become one small module each, by esbuild; the
shapes of published models become JSON. Both go to ``docs/assets/vendor``, and a copy of the small model to
``docs/assets/model``.
"""

import gzip
import json
import re
import shutil
from dataclasses import asdict
from functools import cache
from pathlib import Path

from llmguide.config.presets import PRESETS
from llmguide.pages import small_model
from site_tools import DOCS, ROOT, RUNTIME, write
from site_tools.built.minify import minified
from site_tools.npm import npm
from site_tools.tab.tab_assets import MANIFEST
from site_tools.tab.vendor import VENDOR

MODULES = RUNTIME / "widgets"
ENCODINGS = ("r50k_base", "cl100k_base", "o200k_base")
RANKS = {name: VENDOR / "gpt-tokenizer-4.0.0" / f"{name}.js" for name in ENCODINGS}
PRESETS_JSON = VENDOR / "presets.json"
_MODEL = [DOCS / "assets" / "model" / name for name in ("model.json", "weights.bin")]
# What each widget fetches besides its modules.
_DATA: dict[str, list[Path]] = {
    "tokenizer": [RANKS["r50k_base"]],  # the reader asks for the others one by one
    "trainer": [],
    "explorer": _MODEL,
    "sampler": _MODEL,
    "calculators": [PRESETS_JSON],
    "scale": [],
    "pipeline": [],
    "steering": [],
}
_IMPORT = re.compile(r'^(?:import .*|}) from "(\.{1,2}/\w+\.js)";$', re.MULTILINE)


def bundle_ranks() -> None:
    """Write one module an encoding into the folder of the package's version, and remove other versions."""
    folder = RANKS["r50k_base"].parent
    for old in VENDOR.glob("gpt-tokenizer-*"):
        if old != folder:
            shutil.rmtree(old)
    for encoding, path in RANKS.items():
        if path.is_file():
            continue
        code = f'export {{ default }} from "gpt-tokenizer/bpeRanks/{encoding}";'
        options = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--charset=utf8"]
        write(path, npm("esbuild", *options, given=code.encode()))
    license_text = ROOT / "node_modules" / "gpt-tokenizer" / "LICENSE"
    write(folder / "LICENSE", license_text.read_bytes())


def export_presets() -> None:
    """Write ``presets.json``: the fields of each preset."""
    shapes = {name: asdict(config) for name, config in PRESETS.items()}
    write(PRESETS_JSON, json.dumps(shapes, separators=(",", ":")) + "\n")


def download(widget: str) -> int:
    """Bytes that starting a widget downloads, as a web server sends them.

    Raises:
        ValueError: There is no such widget, or a file of it has not been built.
    """
    if widget not in _DATA:
        raise ValueError(f"no widget is called {widget!r}; there are {', '.join(_DATA)}")
    needed = modules(MODULES / f"{widget}.js") - modules(RUNTIME / "cells.js")  # which every page has
    return sum(map(_sent, needed | set(_DATA[widget])))


def sizes(widget: str) -> dict[str, float]:
    """What a reader can load on top: bytes of each encoding, megabytes of Python and of numpy."""
    if widget == "tokenizer":
        return {name: _sent(path) for name, path in RANKS.items()}
    if widget == "pipeline":
        steps = json.loads(MANIFEST.read_text(encoding="utf-8"))["steps"]
        return {step: steps[step]["megabytes"] or 0 for step in ("core", "torch")}
    return {}


def modules(first: Path) -> set[Path]:
    """A module of the site, and all that it imports."""
    found: set[Path] = set()
    waiting = [first]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            imported = _IMPORT.findall(path.read_text(encoding="utf-8"))
            waiting += [(path.parent / name).resolve() for name in imported]
    return found


@cache
def _sent(path: Path) -> int:
    if not path.is_file():
        raise ValueError(f"{path} is not there; build it first: python -m site_tools.generate")
    data = minified(path) if path.is_relative_to(RUNTIME) else path.read_bytes()
    return min(len(data), len(gzip.compress(data, mtime=0)))  # weights.bin is compressed already


def copy_model() -> None:
    """Copy the small model to where widgets fetch it."""
    for path in _MODEL:
        write(path, (small_model.FOLDER / path.name).read_bytes())


def main() -> None:
    """Write all of it."""
    bundle_ranks()
    export_presets()
    copy_model()
