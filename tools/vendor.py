"""Copy what the site serves from npm: `python -m tools.vendor`.

KaTeX draws formulas at build time, so the pages need its stylesheet and fonts and none of its script. The
version stands in the folder's name, so that the files may be cached for ever. Fonts are kept as WOFF2, which
every browser reads that can read the rest of the site.
"""

import json
import re
import shutil
from pathlib import Path

from tools import DOCS, ROOT

VENDOR = DOCS / "assets" / "vendor"


def _fresh(name: str) -> tuple[Path, Path]:
    """A package of npm, and the folder that its version gets; folders of any other version are removed."""
    package = ROOT / "node_modules" / name
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    for old in VENDOR.glob(f"{name}-*"):
        shutil.rmtree(old)
    target = VENDOR / f"{name}-{version}"
    target.mkdir(parents=True)
    shutil.copy(package / "LICENSE", target)
    return package, target


def vendor_katex() -> None:
    """Write ``docs/assets/vendor/katex-<version>``."""
    package, target = _fresh("katex")
    ignore = shutil.ignore_patterns("*.woff", "*.ttf")
    shutil.copytree(package / "dist" / "fonts", target / "fonts", ignore=ignore)
    css = (package / "dist" / "katex.min.css").read_text(encoding="utf-8")
    (target / "katex.min.css").write_text(_only_woff2(css), encoding="utf-8")


def vendor_iframe_worker() -> None:
    """Write ``docs/assets/vendor/iframe-worker-<version>``, with which the offline copy can search."""
    package, target = _fresh("iframe-worker")
    shutil.copy(package / "shim" / "index.js", target / "shim.js")


def _only_woff2(css: str) -> str:
    return re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)', "", css)


if __name__ == "__main__":
    vendor_katex()
    vendor_iframe_worker()
