"""Copy what the site serves from npm.

KaTeX draws formulas at build time, so the pages need its stylesheet and fonts and none of its script. The
version stands in the folder's name, so that the files may be cached for ever. Fonts are kept as WOFF2, which
every browser reads that can read the rest of the site.
"""

import json
import re
import shutil

from site_tools import DOCS, ROOT, write

VENDOR = DOCS / "assets" / "vendor"


def _place(name: str, files: dict[str, bytes]) -> None:
    """Write files of a package into the folder of its version, and remove the folders of other versions."""
    package = ROOT / "node_modules" / name
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    target = VENDOR / f"{name}-{version}"
    for old in VENDOR.glob(f"{name}-*"):
        if old != target:
            shutil.rmtree(old)
    for file, content in {**files, "LICENSE": (package / "LICENSE").read_bytes()}.items():
        write(target / file, content)


def main() -> None:
    """Write ``katex-<version>``, and ``iframe-worker-<version>``, with which the offline copy can search."""
    katex = ROOT / "node_modules" / "katex" / "dist"
    fonts = {f"fonts/{path.name}": path.read_bytes() for path in (katex / "fonts").glob("*.woff2")}
    css = _only_woff2((katex / "katex.min.css").read_text(encoding="utf-8"))
    _place("katex", {**fonts, "katex.min.css": css.encode()})
    shim = ROOT / "node_modules" / "iframe-worker" / "shim" / "index.js"
    _place("iframe-worker", {"shim.js": shim.read_bytes()})


def _only_woff2(css: str) -> str:
    return re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)', "", css)
