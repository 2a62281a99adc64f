"""Write what the site is built from, and programs make: `python -m site_tools.generate`.

MkDocs runs this before each build (site_tools/hooks.py). A file is written only if its content changes.
"""

import json
import os
import sys
from pathlib import Path

from site_tools import DOCS, ROOT, page_paths, write
from site_tools.cells import parity
from site_tools.content import (
    anki,
    bibliography,
    claims_page,
    course,
    exercises,
    glossary,
    placement,
    quiz_pages,
    reference,
)
from site_tools.markdown.cells import WITH_CELLS, cells_of
from site_tools.tab import scripts, tab_assets, vendor, widgets


def check_packages(root: Path = ROOT) -> None:
    """Raise a ValueError unless node_modules holds the versions that package.json names."""
    package = json.loads((root / "package.json").read_text(encoding="utf-8"))
    for name, version in {**package["dependencies"], **package["devDependencies"]}.items():
        installed = root / "node_modules" / name / "package.json"
        found = (
            json.loads(installed.read_text(encoding="utf-8"))["version"] if installed.is_file() else "none"
        )
        if found != version:
            raise ValueError(f"node_modules: {name} {version} is needed, {found} is installed; run npm ci")


def main() -> None:
    """Write everything."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # has node
    check_packages()
    vendor.main()
    scripts.main()
    tab_assets.main()
    widgets.main()
    reference.main()
    pages = {module.PAGE: module.render() for module in (bibliography, glossary, claims_page, exercises)}
    pages[parity.PAGE] = parity.render(parity.newest())
    for path, text in {**pages, **quiz_pages.pages()}.items():
        write(path, text)
    with_cells = (path for path in page_paths() if cells_of(path.read_text(encoding="utf-8")))
    names = [path.relative_to(DOCS).with_suffix("").as_posix() for path in with_cells]
    write(WITH_CELLS, json.dumps(names))
    course.main()
    placement.main()
    anki.main()


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(str(error))
