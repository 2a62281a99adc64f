"""Copy the scripts of runtime/ to docs/runtime, because MkDocs and Zensical take files from docs/ only."""

from site_tools import DOCS, ROOT, RUNTIME, write

# import packages of npm; tab_assets.py bundles them
BUNDLED = {"editor": "runtime/editor.js", "scheduler": "runtime/review/scheduler.js"}
TARGET = DOCS / "runtime"


def main() -> None:
    """Copy what has changed, and remove what is gone."""
    scripts = [*RUNTIME.rglob("*.js"), *RUNTIME.rglob("*.mjs")]
    bundled = [ROOT / path for path in BUNDLED.values()]
    copies = {TARGET / path.relative_to(RUNTIME): path for path in scripts if path not in bundled}
    for copy, path in copies.items():
        write(copy, path.read_bytes())
    for old in {*TARGET.rglob("*.js"), *TARGET.rglob("*.mjs")} - copies.keys():
        old.unlink()
