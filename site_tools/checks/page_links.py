"""Links of a page to what does not exist, and ids that a page has twice."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from llmguide.exercises import exercises
from llmguide.pages.entries import near
from site_tools import DOCS, GENERATED, ROOT, page_paths
from site_tools.built.plain_markdown import sections
from site_tools.content.claims import all_claims
from site_tools.content.glossary import all_terms
from site_tools.fences import blanked, matches
from site_tools.links import ids, relative
from site_tools.markdown.math import FORMULA
from site_tools.markdown.source import find

_LINK = re.compile(r"(?:\]\( *|^ *\[[^\]^\n]+\]: +)<?(?P<target>[^)>\s]+)", re.MULTILINE)
_ENTRIES = {"glossary.md": "term-", "claims.md": "claim-", "exercises.md": "exercise-"}
_ID = re.compile(r"(?:\{[^}\n]*#|\bid=\")(?P<id>[\w-]+)|^ *(?P<item>@(?:exercise|quiz) [\w-]+)", re.MULTILINE)
_NAMED_LINK = re.compile(r"\]\[(?P<name>[^\]\[\n]+)\]")


def links(shown: str, page: Path) -> Iterator[tuple[int, str]]:
    """The links that lead nowhere, or to one of two places, each with its line."""
    yield from _named(shown)
    yield from _targets(shown, page)
    yield from _repeated(shown)


def _named(shown: str) -> Iterator[tuple[int, str]]:
    """Links such as [text][name] whose name is neither defined on the page nor in the package."""
    defined = {match["name"] for match in re.finditer(r"^ *\[(?P<name>[^\]\n]+)\]: ", shown, re.MULTILINE)}
    for line, match in matches(_NAMED_LINK, blanked(FORMULA, shown)):
        name = match["name"]
        if not name.startswith("llmguide"):
            if name not in defined:
                yield line, f"no line [{name}]: says where this link leads{near(name, defined)}"
        elif not _is_module(name):
            try:
                find(name)
            except ValueError as error:
                yield line, str(error)


def _targets(shown: str, page: Path) -> Iterator[tuple[int, str]]:
    """Links such as [text](other.md#heading) to a page, file or heading that does not exist."""
    for line, match in matches(_LINK, shown):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", match["target"]):
            continue
        if not target:
            if anchor not in ids(shown):
                yield line, f"this page has no heading #{anchor}{near(anchor, ids(shown))}"
            continue
        path = (page.parent / target).resolve()
        inside = path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else ""
        if inside.startswith((*GENERATED, "reference/")):  # a fresh checkout has none of them
            is_entry = inside in _ENTRIES and anchor.startswith(_ENTRIES[inside])
            if inside not in _in_nav():
                known = [relative(DOCS / name, page) for name in _in_nav()]
                yield line, f"no page {target}{near(target, known)}"
            elif is_entry and anchor not in _entries():
                yield line, f"{inside} has no entry #{anchor}{near(anchor, _entries())}"
            continue
        if not path.exists():
            known = [relative(other, page) for other in (*page_paths(), *path.parent.glob("*"))]
            yield line, f"no file {target}{near(target, known)}"
        elif path.is_dir():
            yield line, f"{target} is a folder; link to a page, such as {target.rstrip('/')}.md"
        elif anchor and path.suffix == ".md":
            headings = ids(path.read_text(encoding="utf-8"))
            if anchor not in headings:
                yield line, f"{path.name} has no heading #{anchor}{near(anchor, headings)}"


def _repeated(shown: str) -> Iterator[tuple[int, str]]:
    """Ids, exercises and quiz items that the page has twice, so that a link finds only the first."""
    first: dict[str, int] = {}
    for line, match in matches(_ID, shown):
        name = match["item"] or f"#{match['id']}"
        if name in first:
            yield line, f"{name} is on line {first[name]} already; take one away"
        first.setdefault(name, line)


@cache
def _entries() -> set[str]:
    """The ids of the entries of generated pages: terms, claims and exercises."""
    terms = {term.anchor for term in all_terms().values()}
    claims = {claim.anchor for claim in all_claims().values()}
    return terms | claims | {f"exercise-{name}" for name in exercises()}


@cache
def _in_nav() -> set[str]:
    """Every page of the navigation, those that are generated included."""
    return {name for group in sections().values() for name in group}


def _is_module(name: str) -> bool:
    path = (ROOT / "src").joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()
