"""What MkDocs calls when it builds or serves the site; it calls programs of this folder.

``mkdocs build`` first generates pages and assets, and ends with steps on the built site. ``mkdocs serve``
leaves these steps out, and builds a page only when it is asked for (site_tools/live.py). A mistake ends the
build, but not the server, which shows it.
"""
# ruff: noqa: PLC0415  # a module is imported where it is used, because the server forgets what it has imported

import gc
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort
from mkdocs.livereload import LiveReloadServer
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from site_tools.live import PACKAGE, SETTINGS, SOURCES, Built, newest

_built = Built()
_log = logging.getLogger("mkdocs.hooks")


def on_startup(*, command: str, dirty: bool) -> None:
    """Remember whether the site is served."""
    _built.is_served = command == "serve"
    sys.dont_write_bytecode = _built.is_served  # into folders that the server watches
    gc.set_threshold(50_000, 20, 50)  # because what is built stays to the end
    os.environ["JUPYTER_PATH"] = str(Path(__file__).with_name("templates"))  # where mkdocs-jupyter looks


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Generate what the site is built from."""
    from site_tools import generate
    from site_tools.built import plain_markdown

    _attempt(generate.main)
    config.nav = plain_markdown.config()["nav"]  # has a new module by now
    return config


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Remember what the server builds pages from."""
    from site_tools import live

    _built.config, _built.nav, _built.files = config, nav, files
    if _built.is_served:
        live.postpone(_built)


@event_priority(-100)  # after mkdocs-jupyter, which sets what renders a notebook
def on_pre_page(page: Page, *, config: MkDocsConfig, files: Files) -> Page:
    """Say what renders a page, of which the server shows a mistake."""
    from site_tools.cells import labs

    is_lab = labs.is_lab(page.file.src_uri)
    render = partial(_render_lab, page, page.render) if is_lab else partial(Page.render, page)
    vars(page)["render"] = partial(_show_mistake, page, render) if _built.is_served else render
    return page


def on_page_read_source(*, page: Page, config: MkDocsConfig) -> str | None:
    """Give the front matter of a notebook; its template gives the rest."""
    from site_tools.cells import labs

    name = page.file.src_uri
    return labs.head(json.loads(page.file.content_string), name) if labs.is_lab(name) else None


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Find the places on other pages that a page links to."""
    from site_tools import live

    if _built.is_served:
        live.register_targets(html, _built)
    else:  # built/search.py writes the index; the theme's would take a sixth of the time
        page.meta["search"] = {"exclude": True}


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> None:
    """Remember what renders pages."""
    _built.env = env


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Have a page that is served search the site that was built last."""
    from site_tools.built import search

    return search.searched_by(_built.search, output) if _built.search else output


@event_priority(-200)  # after the plugin that makes a copy to be read offline
def on_post_build(config: MkDocsConfig) -> None:
    """Finish the built site."""
    from site_tools import live
    from site_tools.built import minify, plain_markdown, policy, search
    from site_tools.cells import notebooks

    if _built.is_served:
        live.admit(_built)
        _built.search = search.borrow(Path(config.site_dir))
        return
    site = Path(config.site_dir)
    for path in site.rglob("*.map"):
        path.unlink()
    shutil.rmtree(site / "assets" / "javascripts" / "lunr")
    is_offline = config.plugins["material/offline"].config.enabled
    if not is_offline:
        minify.main(site)
        plain_markdown.main(site)
        notebooks.main(site)
    search.main(site)
    policy.main(site, offline=is_offline)


def on_build_error(error: Exception) -> None:
    """End with the message alone where it says what is wrong."""
    if isinstance(error, ValueError):
        raise Abort(str(error)) from error


def on_serve(server: LiveReloadServer, config: MkDocsConfig, builder: Callable[[], None]) -> LiveReloadServer:
    """Have the server build what is asked for."""
    if not _built.is_served:
        return server

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with _built.lock:
            build_asked(environ["PATH_INFO"].removeprefix(server.mount_path))
        return server.serve_request(environ, start_response)

    server.builder = partial(_rebuild, builder)
    server.set_app(application)
    return server


def _attempt(program: Callable[[], None]) -> None:
    """Run a program, whose error does not end the server."""
    try:
        program()
    except Exception as error:
        if not _built.is_served:
            raise
        _log.error(error)


def _render_lab(page: Page, by_plugin: Callable[..., None], config: MkDocsConfig, files: Files) -> None:
    """Have mkdocs-jupyter render a lab by our template, which leaves the Markdown to MkDocs."""
    from nbconvert.exporters.templateexporter import default_filters

    from site_tools.cells import labs

    tables_of_contents = []

    def as_page(text: str) -> str | None:
        page.markdown = text
        Page.render(page, config, files)
        tables_of_contents.append(page.toc)
        return page.content

    default_filters.update(as_markdown=labs.as_markdown, as_page=as_page)
    by_plugin(config, files)
    assert page.content is not None
    page.content = page.content.rpartition("<style>")[0]  # mkdocs-jupyter adds JupyterLab's at the end
    (page.toc,) = tables_of_contents  # that of mkdocs-jupyter lacks the code in headings


def _show_mistake(
    page: Page, render: Callable[[MkDocsConfig, Files], None], config: MkDocsConfig, files: Files
) -> None:
    """Render a page, or what is wrong with it."""
    from site_tools import live

    try:
        render(config, files)
    except Exception as error:
        message = f"docs/{page.file.src_uri}: {error}"
        _log.error(message)
        live.show_error(page, message)


def _rebuild(build_all: Callable[[], None]) -> None:
    with _built.lock:
        if newest(SOURCES) != _built.sources or newest(SETTINGS) != _built.settings:
            _forget()
        from site_tools import live
        from site_tools.tab import scripts

        _attempt(scripts.main)
        if not live.refresh(_built):
            build_all()


def _forget() -> None:
    """Forget the modules of site_tools, which hold what they read, and those of the package if it changed."""
    stale = {"site_tools"} if newest(PACKAGE) == _built.package else {"site_tools", "llmguide"}
    for name in list(sys.modules):
        if name.partition(".")[0] in stale and name != "site_tools.markdown.math":  # has a Node process
            del sys.modules[name]
    from site_tools import live

    live.note_sources(_built)
    handlers: Any = _built.config.plugins["mkdocstrings"]
    handlers.get_handler("python")._modules_collection.members.clear()


def build_asked(path: str) -> None:
    """Build the page at a path, if it is one and has changed; generate it first if it is generated."""
    from site_tools import live

    file = live.asked(_built, path)
    if file is None:
        return
    if live.is_generated(file) and (inputs := live.newest_input()) != _built.inputs:
        _forget()
        from site_tools import generate, live

        _attempt(generate.main)
        _built.inputs = inputs
    live.build(file, _built)
