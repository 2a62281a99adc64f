"""Lay out what runs in the reader's tab.

Writes to docs/assets/vendor, each under a name that changes with its content, so that it may be cached for
ever: Pyodide's core with the wheels that can be had, one archive of the Python that pages use, one of each
extra that few cells need, the language models, the editor, and the scheduler of review cards. What a first
run downloads is measured here and stands in runtime.json, which pages and worker read.
"""

import bz2
import gzip
import hashlib
import importlib.util
import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from site_tools import CACHE, ROOT, RUNTIME, write
from site_tools.npm import npm
from site_tools.tab.extra_archives import APART, EXTRAS, SQLITE, Extra, tree
from site_tools.tab.models import MODELS
from site_tools.tab.models import place as place_model
from site_tools.tab.pyodide_wheels import PYODIDE, STEPS, Wheel, fetch, version, wheels
from site_tools.tab.scripts import BUNDLED
from site_tools.tab.unannotated import unannotated
from site_tools.tab.vendor import VENDOR

MANIFEST = VENDOR / "runtime.json"
KERNELS = CACHE / "kernels.wasm"
CORE = ("pyodide.mjs", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
COUNTED = ("pyodide.asm.wasm", "python_stdlib.zip")  # of these, the ones that a page counts while they come
# of site_tools, what cells use
HELPERS = ("__init__", "execution", "fences", "figure_stubs", "page_figures")


def guide_files() -> Iterator[tuple[str, Path]]:
    """What the archive holds: name in it, and file."""
    for name in ("bytecode.py", "missing_modules.py", "session.py"):
        yield name, RUNTIME / name
    yield "pipeline.py", RUNTIME / "widgets" / "pipeline.py"
    yield from torch_files()
    yield "torch/kernels.wasm", KERNELS
    for name, path in tree("llmguide", ROOT / "src" / "llmguide"):
        if not name.startswith(APART):
            yield name, path
    for name in ("jaxtyping", "wadler_lindig", "jinja2", "markupsafe"):
        yield from tree(name, installed(name))
    # jaxtyping asks for its own version when it is imported
    (metadata,) = installed("jaxtyping").parent.glob("jaxtyping-*.dist-info/METADATA")
    yield f"{metadata.parent.name}/{metadata.name}", metadata
    for name in HELPERS:
        yield f"site_tools/{name}.py", ROOT / "site_tools" / f"{name}.py"


def torch_files() -> Iterator[tuple[str, Path]]:
    """The modules of the tab's torch, as copies without what only mypy reads."""
    for name, path in tree("torch", RUNTIME / "torch"):
        if path.suffix == ".py":
            copy = CACHE / "unannotated" / name
            write(copy, unannotated(path.read_text(encoding="utf-8")))
            yield name, copy


def installed(name: str) -> Path:
    """Return the folder of an installed package."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed; make sets up the environment that has it")
    return Path(spec.origin).parent


def archive(files: Iterable[tuple[str, Path]]) -> bytes:
    """A tar whose bytes depend on the content alone; compressed as one, it is a third smaller than a zip."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as target:
        for name, path in files:
            member = tarfile.TarInfo(name)
            content = path.read_bytes()
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def compressed(content: bytes) -> tuple[bytes, str]:
    """Compress a tar, and name the suffix: .tgz, which browsers unpack fast, unless a .tbz is 30% smaller."""
    fast, small = gzip.compress(content, mtime=0), bz2.compress(content)
    return (small, ".tbz") if len(small) < 0.7 * len(fast) else (fast, ".tgz")


def _place_core(found: dict[str, Path]) -> str:
    """Copy Pyodide and the wheels; return the folder's name."""
    name = f"pyodide-{version()}"
    target = VENDOR / name
    _remove_others("pyodide-*", name)
    for path in [*(PYODIDE / file for file in CORE), *found.values()]:
        write(target / path.name, path.read_bytes())
    return name


def compile_kernels() -> None:
    """Compile the kernels, if the compiler or a source is newer than the result."""
    sources = sorted((RUNTIME / "torch").glob("*.ts"))
    inputs = [*(RUNTIME / "torch").rglob("*.ts"), ROOT / "package-lock.json", Path(__file__)]
    if KERNELS.is_file() and KERNELS.stat().st_mtime > max(path.stat().st_mtime for path in inputs):
        return
    KERNELS.parent.mkdir(exist_ok=True)
    options = ["--importMemory", "--runtime", "stub", "--enable", "simd", "-O3", "--noAssert"]
    npm("asc", *(str(source.relative_to(ROOT)) for source in sources), "--outFile", str(KERNELS), *options)


def _place(name: str, files: Iterable[tuple[str, Path]]) -> Path:
    """Write the archive of some files, unless that with this content is there; return its path."""
    files = list(files)
    digest = hashlib.sha256()
    for member, path in files:
        digest.update(member.encode() + path.read_bytes())
    stem = f"{name}-{digest.hexdigest()[:12]}"
    target = next(VENDOR.glob(f"{stem}.t?z"), None)
    if target is None:
        content, suffix = compressed(archive(files))
        target = VENDOR / f"{stem}{suffix}"
        write(target, content)
    _remove_others(f"{name}-*.t?z", target.name)
    return target


def bundle(part: str) -> str:
    """Bundle a script with the packages that it imports; return the name of the bundle."""
    options = ["--bundle", "--minify", "--format=esm", "--legal-comments=none"]
    code = npm("esbuild", BUNDLED[part], *options)
    name = f"{part}-{hashlib.sha256(code).hexdigest()[:12]}.js"
    write(VENDOR / name, code)
    _remove_others(f"{part}-*.js", name)
    return name


def _remove_others(pattern: str, name: str) -> None:
    for old in VENDOR.glob(pattern):
        if old.name != name:
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def _sent(path: Path) -> int:
    """Bytes that a host sends: archives as they are, all else compressed, which takes seconds for Pyodide."""
    content = path.read_bytes()
    if path.suffix in {".whl", ".zip", ".tbz", ".tgz"}:
        return len(content)
    size = CACHE / "sent" / hashlib.sha256(content).hexdigest()
    if not size.is_file():
        write(size, str(len(gzip.compress(content, mtime=0))))
    return int(size.read_text())


def _megabytes(paths: Iterable[Path]) -> float:
    return round(sum(map(_sent, paths)) / 1e6, 1)


def manifest(
    core: str, guide: str, bundles: dict[str, str], extras: dict[Extra, Path], found: dict[str, Path]
) -> dict[str, Any]:
    """What runtime.json says besides models; addresses are relative to it."""

    def entry(wheel: Wheel) -> dict[str, str]:
        return {"name": wheel.name, "url": f"{core}/{wheel.file}", "sha256": wheel.sha256}

    counted = [*(VENDOR / core / file for file in COUNTED), VENDOR / guide]
    files = [
        *(VENDOR / core / file for file in CORE if file not in COUNTED),
        *counted,
        *sorted(RUNTIME.glob("*.mjs")),
        RUNTIME / "backend.js",
    ]
    packed = {path.name: round(_sent(path) / path.stat().st_size, 3) for path in counted}
    steps: dict[str, Any] = {"core": {"megabytes": _megabytes(files), "packed": packed}}
    for step in STEPS:
        size = _megabytes(found[wheel.name] for wheel in wheels(step))
        steps[step] = {"megabytes": size, "wheels": [entry(wheel) for wheel in wheels(step)]}
    asked = [{"pattern": SQLITE, **steps.pop("sqlite3")}]
    for extra, path in extras.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        wheel = {"name": extra.name, "url": path.name, "sha256": digest}
        asked.append({"pattern": extra.pattern, "megabytes": _megabytes([path]), "wheels": [wheel]})
    return {"pyodide": f"{core}/", "guide": guide, **bundles, "steps": steps, "extras": asked}


def main() -> None:
    """Lay out everything, and say what cannot be served from here."""
    found = fetch([wheel for step in STEPS for wheel in wheels(step)])
    extras = {extra: _place(extra.name, extra.files()) for extra in EXTRAS}
    placed = {model.title: place_model(model) for model in MODELS}
    compile_kernels()
    bundles = {part: bundle(part) for part in BUNDLED}
    parts = _place_core(found), _place("guide", guide_files()).name, bundles, extras
    models = [entry for entry in placed.values() if entry]
    write(MANIFEST, json.dumps({**manifest(*parts, found), "models": models}, indent=1) + "\n")
    if lacking := [title for title, entry in placed.items() if not entry]:
        print(f"the site is built without {', '.join(lacking)}")
