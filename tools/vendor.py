"""Copy what the site serves from npm: `python -m tools.vendor`.

KaTeX draws formulas at build time, so the pages need its stylesheet and fonts and none of its script. The
version stands in the folder's name, so that the files may be cached for ever. Fonts are kept as WOFF2, which
every browser reads that can read the rest of the site.
"""

import json
import re
import shutil

from tools import DOCS, ROOT

VENDOR = DOCS / "assets" / "vendor"


def vendor_katex() -> None:
    """Write ``docs/assets/vendor/katex-<version>``, and remove the folder of any other version."""
    package = ROOT / "node_modules" / "katex"
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    target = VENDOR / f"katex-{version}"
    for old in VENDOR.glob("katex-*"):
        shutil.rmtree(old)
    shutil.copytree(
        package / "dist" / "fonts", target / "fonts", ignore=shutil.ignore_patterns("*.woff", "*.ttf")
    )
    css = (package / "dist" / "katex.min.css").read_text(encoding="utf-8")
    (target / "katex.min.css").write_text(_only_woff2(css), encoding="utf-8")
    shutil.copy(package / "LICENSE", target)


def _only_woff2(css: str) -> str:
    return re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)', "", css)


if __name__ == "__main__":
    vendor_katex()
