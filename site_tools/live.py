"""Build again only what shows a change, while the site is served."""

import html
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment
from mkdocs.commands.build import _build_page, _populate_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, get_files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import TableOfContents

from site_tools import DATA, ROOT
from site_tools.built.plain_markdown import twin
from site_tools.cells import labs
from site_tools.content.glossary import all_terms

SETTINGS = (ROOT / "mkdocs.yml", ROOT / "overrides", ROOT / "site_tools")  # on which every page depends
PACKAGE = (ROOT / "src",)
SOURCES = (DATA, *PACKAGE)  # of which pages name parts
State = tuple[int, int]  # of a page: when its file changed, and a hash of what it shows


@dataclass
class Built:
    """What the last whole build made, and from what."""

    is_served: bool = False
    config: MkDocsConfig = field(init=False)
    nav: Navigation = field(init=False)
    files: Files = field(init=False)
    env: Environment = field(init=False)
    settings: int = 0
    sources: int = 0
    package: int = 0
    pages: dict[str, State] = field(default_factory=dict)


def remember(built: Built) -> None:
    """Note what the site was built from."""
    built.settings, built.sources, built.package = newest(SETTINGS), newest(SOURCES), newest(PACKAGE)
    built.pages = {file.src_uri: _state(file) for file in built.files.documentation_pages()}


def refresh(built: Built) -> bool:
    """Build the pages that show a change, and copy what else changed; False if every page has to be built."""
    found = get_files(built.config)
    pages = {file.src_uri for file in found if file.is_documentation_page() or labs.is_lab(file.src_uri)}
    if newest(SETTINGS) != built.settings or pages != built.pages.keys():
        return False
    for file in list(built.files):
        if not Path(str(file.abs_src_path)).is_file():
            built.files.remove(file)
    for file in found:
        if file.src_uri not in built.files.src_uris:
            built.files.append(file)
    built.files.copy_static_files(dirty=True)

    sources = newest(SOURCES)
    states = {
        file: _state(file)
        for file in built.files.documentation_pages()
        if sources != built.sources or _changed(file) != built.pages[file.src_uri][0]
    }
    if sources != built.sources:  # what mkdocstrings has read
        handlers: Any = built.config.plugins["mkdocstrings"]
        handlers.get_handler("python")._modules_collection.members.clear()
    _build([file for file, state in states.items() if state[1] != built.pages[file.src_uri][1]], built)
    built.sources = sources
    built.pages |= {file.src_uri: state for file, state in states.items()}
    return True


def _build(files: list[File], built: Built) -> None:
    """What MkDocs does for every page of a site, for some pages."""
    pages = [file.page for file in files if file.page]
    for page in pages:
        _populate_page(page, built.config, built.files)
    built.config.plugins.on_env(built.env, config=built.config, files=Files(files))
    for page in pages:
        _build_page(page, built.config, built.files.documentation_pages(), built.nav, built.env)


def show_error(page: Page, message: str) -> None:
    """Put what is wrong with a page in its place."""
    page.content = f'<h1>This page has a mistake</h1><pre role="alert">{html.escape(message)}</pre>'
    page.toc = TableOfContents([])
    page.present_anchor_ids = set()


def newest(places: Iterable[Path]) -> int:
    """When the last of some files changed, or of the files in some folders."""
    paths = [path for place in places for path in (place, *place.rglob("*"))]
    return max(path.stat().st_mtime_ns for path in paths if path.is_file() and path.suffix != ".pyc")


def _changed(file: File) -> int:
    return Path(str(file.abs_src_path)).stat().st_mtime_ns


def _state(file: File) -> State:
    """Of a page, whose text names facts, works, code and exercises, and terms that show their definition."""
    source = labs.source(file.src_uri) if labs.is_lab(file.src_uri) else file.content_string
    try:
        text = twin(source, file.src_uri)
        folded = "" if "::: llmguide" in source or "no-terms" in source else text.lower()
        terms = [term for term in all_terms().values() if any(name.lower() in folded for name in term.names)]
    except Exception as error:  # of which the page shows the message
        return _changed(file), hash((source, str(error)))
    return _changed(file), hash((text, *terms))
