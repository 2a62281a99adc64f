"""What MkDocs calls when it builds or serves the site; it calls programs of this folder.

``mkdocs build`` first generates pages and assets, and ends with steps on the built site. ``mkdocs serve``
leaves these steps out, and after a change builds only the pages that show it (site_tools/live.py). A mistake
ends the build, but not the server, which shows it.
"""
# ruff: noqa: PLC0415  # a module is imported where it is used, because the server forgets what it has imported

import logging
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort
from mkdocs.livereload import LiveReloadServer
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from site_tools.live import PACKAGE, Built, newest

_built = Built()
_log = logging.getLogger("mkdocs.hooks")


def on_startup(*, command: str, dirty: bool) -> None:
    """Remember whether the site is served."""
    _built.is_served = command == "serve"
    sys.dont_write_bytecode = _built.is_served  # into folders that the server watches


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Generate what the site is built from."""
    from site_tools import generate
    from site_tools.built import plain_markdown

    _attempt(generate.main)
    config.nav = plain_markdown.config()["nav"]  # has a new module by now
    return config


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Remember what the server goes on from, before any page is read."""
    from site_tools import live

    _built.config, _built.nav, _built.files = config, nav, files
    if _built.is_served:
        live.remember(_built)


@event_priority(-100)  # after mkdocs-jupyter, which would render a notebook by itself
def on_pre_page(page: Page, *, config: MkDocsConfig, files: Files) -> Page:
    """Have MkDocs render a notebook as it renders the other pages, and the server show a mistake in it."""
    vars(page).pop("render", None)
    if _built.is_served:
        vars(page)["render"] = partial(_render, page)
    return page


def on_page_read_source(*, page: Page, config: MkDocsConfig) -> str | None:
    """Give a notebook as Markdown."""
    from site_tools.cells import labs

    return labs.source(page.file.src_uri) if labs.is_lab(page.file.src_uri) else None


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> None:
    """Remember what renders pages."""
    _built.env = env


@event_priority(-200)  # after the plugin that makes a copy to be read offline
def on_post_build(config: MkDocsConfig) -> None:
    """Finish the built site."""
    from site_tools.built import minify, plain_markdown, policy, search
    from site_tools.cells import notebooks

    if _built.is_served:
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
    """Have the server build less than everything."""
    if _built.is_served:
        server.builder = partial(_rebuild, builder)
    return server


def _attempt(program: Callable[[], None]) -> None:
    """Run a program, whose error does not end the server."""
    try:
        program()
    except Exception as error:
        if not _built.is_served:
            raise
        _log.error(error)


def _render(page: Page, config: MkDocsConfig, files: Files) -> None:
    """Render a page, or what is wrong with it."""
    from site_tools import live

    try:
        Page.render(page, config, files)
    except Exception as error:
        message = f"docs/{page.file.src_uri}: {error}"
        _log.error(message)
        live.show_error(page, message)


def _rebuild(build_all: Callable[[], None]) -> None:
    # Modules hold what they read, such as facts, so those of site_tools are forgotten, but for one that has a
    # Node process. Those of the package are forgotten when it changed.
    package = newest(PACKAGE)
    stale = {"site_tools"} if package == _built.package else {"site_tools", "llmguide"}
    _built.package = package
    for name in list(sys.modules):
        if name.partition(".")[0] in stale and name != "site_tools.markdown.math":
            del sys.modules[name]
    from site_tools import generate, live
    from site_tools.tab import scripts

    # What was edited is shown before what is generated from it.
    _attempt(scripts.main)
    is_refreshed = live.refresh(_built)
    _attempt(generate.main)
    if not (is_refreshed and live.refresh(_built)):
        build_all()
