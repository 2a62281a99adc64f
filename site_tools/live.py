"""Build each page when it is asked for, while the site is served, and again after a change."""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from jinja2 import Environment
from mkdocs.commands.build import _build_page, _populate_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel, get_files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import TableOfContents

from site_tools import DATA, GENERATED, ROOT, RUNTIME, page_paths
from site_tools.built.plain_markdown import reference
from site_tools.cells import labs

SETTINGS = (ROOT / "mkdocs.yml", ROOT / "overrides", ROOT / "site_tools")  # on which every page depends
PACKAGE = (ROOT / "src",)
SOURCES = (DATA, *PACKAGE)  # of which pages name parts


@dataclass
class Built:
    """What pages are built from, when that last changed, and which pages are built."""

    is_served: bool = False
    config: MkDocsConfig = field(init=False)
    nav: Navigation = field(init=False)
    files: Files = field(init=False)
    env: Environment = field(init=False)
    settings: int = 0
    sources: int = 0
    package: int = 0
    inputs: int = 0  # of what generates pages
    search: str | None = None  # name of the worker that searches
    waiting: list[File] = field(default_factory=list)  # pages that MkDocs is not to build
    pages: set[str] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)  # requests come in threads


def postpone(built: Built) -> None:
    """Note what the site is built from, and keep MkDocs from building its pages."""
    note_sources(built)
    built.settings, built.inputs = newest(SETTINGS), newest_input()
    built.pages.clear()
    built.waiting = list(built.files.documentation_pages())
    for file in built.waiting:
        file.inclusion = InclusionLevel.EXCLUDED
        page = file.page or Page(None, file, built.config)
        page.read_source(built.config)  # for its title


def admit(built: Built) -> None:
    """Let pages be built from now on."""
    for file in built.waiting:
        file.inclusion = InclusionLevel.INCLUDED


def refresh(built: Built) -> bool:
    """Copy what changed, and have each page built again; False if the whole site has to be."""
    found = get_files(built.config)
    pages = {file.src_uri for file in found if file.is_documentation_page() or labs.is_lab(file.src_uri)}
    if newest(SETTINGS) != built.settings or pages != {file.src_uri for file in built.waiting}:
        return False
    for file in list(built.files):
        if not Path(str(file.abs_src_path)).is_file():
            built.files.remove(file)
    for file in found:
        if file.src_uri not in built.files.src_uris:
            built.files.append(file)
    built.files.copy_static_files(dirty=True)
    built.pages.clear()
    return True


def note_sources(built: Built) -> None:
    """Note when what pages name parts of last changed."""
    built.sources, built.package = newest(SOURCES), newest(PACKAGE)


def asked(built: Built, path: str) -> File | None:
    """The page at a path of the server that has to be built first, if it is one."""
    url = path.removesuffix("index.html").removesuffix("/").lstrip("/")
    return next(
        (
            file
            for file in built.waiting
            if file.src_uri not in built.pages and file.url.removesuffix("/").removesuffix(".") == url
        ),
        None,
    )


def is_generated(file: File) -> bool:
    """Whether a program writes a page."""
    return file.src_uri.startswith((*GENERATED, "reference/"))


def build(file: File, built: Built) -> None:
    """What MkDocs does for every page of a site, for one."""
    page = file.page
    assert page is not None
    _populate_page(page, built.config, built.files)
    built.config.plugins.on_env(built.env, config=built.config, files=Files([file]))
    _build_page(page, built.config, built.files.documentation_pages(), built.nav, built.env)
    built.pages.add(file.src_uri)


def register_targets(content: str, built: Built) -> None:
    """Tell autorefs where the names lead that a page mentions, as their pages may not be built yet."""
    autorefs: Any = built.config.plugins["autorefs"]
    for name in set(re.findall(r'identifier="([^"]+)"', content)):
        if target := built.files.get_file_from_path(_page_of(name)):
            autorefs.register_url(name, f"{target.url}#{name}")


def _page_of(name: str) -> str:
    """The page on which a term, a name of the package or a work is."""
    if name.startswith("term-"):
        return "glossary.md"
    return reference(name) if name.startswith("llmguide.") else "bibliography.md"


def show_error(page: Page, message: str) -> None:
    """Put what is wrong with a page in its place."""
    page.content = f'<h1>This page has a mistake</h1><pre role="alert">{html.escape(message)}</pre>'
    page.toc = TableOfContents([])
    page.present_anchor_ids = set()


def newest(places: Iterable[Path]) -> int:
    """When the last of some files changed, or of the files in some folders."""
    paths = [path for place in places for path in (place, *place.rglob("*"))]
    return max(path.stat().st_mtime_ns for path in paths if path.is_file() and path.suffix != ".pyc")


def newest_input() -> int:
    """When the last of the files changed that pages are generated from."""
    return newest((*page_paths(), *SOURCES, RUNTIME))
