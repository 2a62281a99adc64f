"""Every page as plain Markdown beside its HTML, and llms.txt, for readers that are programs.

The twin of ``learn/attention/`` is ``learn/attention.md``: the page's source with computed values, facts,
citations and included code written out, so that it reads well in any editor and any model's context. Links
between pages lead from twin to twin. Each HTML page names its twin in a ``<link rel="alternate">``.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from llmguide.exercises import exercise
from llmguide.pages.facts import REFERENCE, fact
from site_tools import DOCS, ROOT, write
from site_tools.cells import labs
from site_tools.content.bibliography import CITATION, SOURCES, source_list, split_citation, work
from site_tools.content.claims import LINE as CLAIMS
from site_tools.content.claims import list_of_links
from site_tools.fences import COMPUTED, dump, fences, map_prose, outside_code, split_computed
from site_tools.links import relative
from site_tools.markdown.computed import RUNS_ON, measured
from site_tools.markdown.exercises import LINE as EXERCISE
from site_tools.markdown.exercises import rendered
from site_tools.markdown.quiz import LINE as QUIZ
from site_tools.markdown.quiz import in_place
from site_tools.markdown.source import LINE as SOURCE
from site_tools.markdown.source import extract, find

OPTIONAL = "Reference"  # the section of the navigation that a reader short of room may leave out
_BLOCK = re.compile(r'^(?P<indent> *)(?:!!!|\?\?\?\+?) [\w ]+?(?: "(?P<title>.*)")?$')
_MODULE = re.compile(r"^::: (?P<module>[\w.]+)$", re.MULTILINE)
_AUTOREF = re.compile(r"\[(?P<label>[^\[\]]+)\]\[(?P<target>llmguide[\w.]*)\]")
_LEFTOVERS = re.compile(
    r"^ *(?:<!--.*?-->|</?div\b[^>]*>|\{:.*\}) *\n?|(?<=\S) *\{ [#.:][^}\n]*\}$", re.MULTILINE
)


# ---- one page --------------------------------------------------------------------------------------


def twin(source: str, page: str) -> str:
    """A page as plain Markdown, given its source and its path below docs/."""
    head, body = front_matter(source)
    # In this order: once a block is a quotation, its fences no longer look like fences.
    text = map_prose(map_prose(body, lambda prose: _resolve(prose, page, body)), _close_gaps)
    text = _unfold(_plain_fences(text))
    about = f"> {head['description']}\n>\n> Page: {address(page)}"
    text = re.sub(r"^(# .+)$", lambda title: f"{title[1]}\n\n{about}", text, count=1, flags=re.MULTILINE)
    return text.strip() + "\n"


def front_matter(source: str) -> tuple[dict[str, Any], str]:
    """What stands between the two rules at the start of a page, and the page itself."""
    match = re.match(r"---\n(.*?)\n---\n", source, re.DOTALL)
    if match is None:
        raise ValueError("a page needs front matter with a description")
    return yaml.safe_load(match[1]), source[match.end() :]


def _unfold(text: str) -> str:
    """Admonitions and folded blocks as quotations that open with their title in bold."""
    lines = text.split("\n")
    code = {number for fence in fences(text) for number in range(fence.start, fence.end)}
    result: list[str] = []
    number = 0
    while number < len(lines):
        opening = _BLOCK.match(lines[number])
        if number in code or opening is None:
            result.append(lines[number])
            number += 1
            continue
        width = len(opening["indent"]) + 4
        end = number + 1
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" " * width)):
            end += 1
        inner = "\n".join(line[width:] for line in lines[number + 1 : end]).strip("\n")
        title = [f"**{opening['title']}**", ""] if opening["title"] else []
        quoted = [*title, *_unfold(inner).split("\n")]
        result += [f"{opening['indent']}> {line}".rstrip() for line in quoted] + [""]
        number = end
    return "\n".join(result)


def _resolve(prose: str, page: str, body: str) -> str:
    """Prose with everything that the build would fill in."""
    prose = SOURCES.sub(lambda match: source_list(body, match["keys"]), prose)
    prose = CLAIMS.sub(
        lambda match: list_of_links(
            match["keys"],
            lambda entry: f"[“{entry.claim}”]({relative('claims.md', page)}#{entry.anchor})",
        ),
        prose,
    )
    prose = SOURCE.sub(_included, prose)
    prose = EXERCISE.sub(lambda match: rendered(exercise(match["name"])), prose)
    prose = QUIZ.sub(lambda match: in_place(match["name"]), prose)
    prose = _MODULE.sub(_module, prose)
    for pattern, replace in (
        (COMPUTED, lambda match: split_computed(match["value"])[0]),
        (re.compile(RUNS_ON), lambda match: measured(match["page"])),
        (REFERENCE, lambda match: _stated(match["fact"])),
        (CITATION, lambda match: f"({'; '.join(_cited(*pair) for pair in split_citation(match['works']))})"),
        (_AUTOREF, lambda match: f"[{match['label']}]({relative(reference(match['target']), page)})"),
    ):  # fmt: skip
        prose = map_prose(prose, outside_code(pattern, replace))
    return _LEFTOVERS.sub("", prose)


def _close_gaps(prose: str) -> str:
    """Prose with no two blank lines in a row, also where it meets code."""
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"\A\n+|\n+\Z", "\n", prose)) if prose.strip() else ""


def _included(match: re.Match[str]) -> str:
    path, node, lines = find(match["name"])
    code = extract(node, lines, docstrings=bool(match["full"]))
    place = f"From {path.relative_to(ROOT).as_posix()}:"
    return "\n".join([f"{match['indent']}{place}", "", *dump("python", code.split("\n"), match["indent"])])


def _module(match: re.Match[str]) -> str:
    path = ROOT / "src" / Path(*match["module"].split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return "\n".join(dump("python", path.read_text(encoding="utf-8").rstrip().split("\n"), ""))


def _stated(key: str) -> str:
    return f"[{fact(key).text}]({work(fact(key).source).address})"


def _cited(key: str, where: str) -> str:
    link = f"[{work(key).label}]({work(key).address})"
    return f"{link}, {where}" if where else link


def _plain_fences(text: str) -> str:
    """Fences whose header any reader understands; what code printed is marked as output."""
    lines = text.split("\n")
    for fence in reversed(fences(text)):
        header = "output" if "output" in fence.classes else fence.language
        lines[fence.start] = re.sub(r"[^`~]*$", header, lines[fence.start], count=1)
    return "\n".join(lines)


# ---- addresses -------------------------------------------------------------------------------------


@cache
def config() -> dict[str, Any]:
    """The settings of the site."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!ENV", lambda loader, node: loader.construct_sequence(node)[-1])
    settings: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    return settings


def address(page: str) -> str:
    """Where a page is published."""
    folder = re.sub(r"(?:^|(?<=/))index\.md$", "", page)
    return f"{config()['site_url']}{re.sub(r'[.](?:md|ipynb)$', '/', folder)}"


def file_name(page: str) -> str:
    """Where the twin of a page is, from the site's root.

    >>> file_name("learn/attention.md"), file_name("projects/labs/character-model.ipynb")
    ('learn/attention.md', 'projects/labs/character-model.md')
    """
    return PurePosixPath(page).with_suffix(".md").as_posix()


@cache
def _documented() -> dict[str, str]:
    """For each module, the page that documents it."""
    return {
        match["module"]: path.relative_to(DOCS).as_posix()
        for path in sorted((DOCS / "reference").rglob("*.md"))
        for match in _MODULE.finditer(path.read_text(encoding="utf-8"))
    }


def reference(name: str) -> str:
    """The page that documents a dotted name of the package."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(
        (_documented()[prefix] for prefix in prefixes if prefix in _documented()), "reference/index.md"
    )


# ---- the whole site --------------------------------------------------------------------------------


def sections() -> dict[str, list[str]]:
    """Pages of each section of the navigation, in order; pages on their own go under the site's name."""
    found: dict[str, list[str]] = {}
    for entry in config()["nav"]:
        ((title, content),) = entry.items()
        name = title if isinstance(content, list) else config()["site_name"]
        found.setdefault(name, []).extend(pages_of(content))
    return found


def pages_of(entry: Any) -> Iterator[str]:
    """Pages below an entry of the navigation, in order."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from pages_of(part)


def llms_txt(twins: dict[str, str]) -> str:
    """The list of pages that https://llmstxt.org proposes."""
    site = config()["site_url"]
    parts = [
        f"# {config()['site_name']}",
        f"> {config()['site_description']}",
        f"All pages but the optional ones in one file: {site}llms-full.txt",
    ]
    for name, pages in sections().items():
        items = [
            f"- [{_title(twins[page])}]({site}{file_name(page)}): {_about(twins[page])}" for page in pages
        ]
        parts.append("\n".join([f"## {'Optional' if name == OPTIONAL else name}\n", *items]))
    return "\n\n".join(parts) + "\n"


def _title(text: str) -> str:
    return re.findall(r"^# (.+)$", text, re.MULTILINE)[0]


def _about(text: str) -> str:
    return re.findall(r"^> (.+)$", text, re.MULTILINE)[0]


def llms_full(twins: dict[str, str]) -> str:
    """All pages but the optional ones, one after the other."""
    pages = [page for name, group in sections().items() if name != OPTIONAL for page in group]
    return "\n---\n\n".join(twins[page] for page in pages)


def html_path(page: str) -> str:
    """The file that the build makes of a page.

    >>> html_path("learn/attention.md"), html_path("reference/index.md")
    ('learn/attention/index.html', 'reference/index.html')
    """
    path = PurePosixPath(page)
    return str(path.with_suffix(".html") if path.stem == "index" else path.with_suffix("") / "index.html")


def name_twin(html: str, page: str) -> str:
    """An HTML page with a link to its twin."""
    path = PurePosixPath(file_name(page))
    href = path.name if path.stem == "index" else f"../{path.name}"
    # with a space, which HTML allows: the theme takes each [rel=alternate] for a translation of the site, and
    # asks for its sitemap
    link = f'<link rel="alternate " type="text/markdown" href="{href}" title="This page as Markdown">'
    return html.replace("</head>", f"{link}</head>", 1) if link not in html else html


def main(site: Path) -> None:
    """Write the twins and both lists into a built site, and name each twin in its page."""
    twins = {page: twin(labs.source(page), page) for group in sections().values() for page in group}
    for page, text in twins.items():
        write(site / file_name(page), text)
        html = site / html_path(page)
        write(html, name_twin(html.read_text(encoding="utf-8"), page))
    write(site / "llms.txt", llms_txt(twins))
    write(site / "llms-full.txt", llms_full(twins))
