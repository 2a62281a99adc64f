"""Write the search index, from the pages as they were built.

A section is a heading with what follows it. Results show its prose. Code, tables and citations are searched,
but not shown. ``docs/_data/search.toml`` adds words that learners use and a section does not. The engine,
which is MiniSearch, and the worker that answers the theme's search box are in ``docs/js/search/``.
"""

import hashlib
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from lxml import html
from lxml.html import HtmlElement

from site_tools import CACHE, DATA, DOCS, ROOT, write
from site_tools.built.minify import MINIFY
from site_tools.built.plain_markdown import config, html_path
from site_tools.built.plain_markdown import sections as navigation
from site_tools.npm import npm

SCRIPTS = DOCS / "js" / "search"
WORDS = DATA / "search.toml"
LICENSES = ("minisearch/LICENSE.txt", "stemmer/license")
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
INLINE = {"a", "b", "code", "data", "em", "i", "small", "span", "strong", "sub", "sup", "wbr"}
SILENT = {"button", "nav", "script", "style", "svg"}
LEFT_OUT = {
    "answer", "claims", "doc-labels", "headerlink", "how", "in-place", "katex-html", "math-display",
    "mkdocstrings-source", "more", "notebook-links", "output", "runs-on", "success", "tip", "verified",
}  # fmt: skip
UNSHOWN = {
    "abstract", "citation", "doc-section-title", "field-body", "highlight", "source-link", "table-scroll",
}  # fmt: skip
# Pages that explain come before pages that list.
WEIGHTS = {
    "bibliography": 0.15, "claims": 0.15, "exercises": 0.15, "glossary": 0.15, "parity": 0.15, "play": 0.7,
    "projects": 0.7, "quiz": 0.15, "reference": 0.15, "resources": 0.4,
}  # fmt: skip
ENDINGS = {"Exercises", "Going further", "Quick quiz", "Sources", "Summary"}  # of chapters
JOINTS = {"mfrac": "/", "msub": "_", "msubsup": "_^", "msup": "^", "munder": "_", "munderover": "_^"}
dump = partial(json.dumps, separators=(",", ":"), ensure_ascii=False)
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_GAP = re.compile(r" (?=[,.;:)](?: |$))")  # of a citation that is left out
_WORKER = re.compile(r'("search": "[^"]*?)(?:assets/javascripts/workers|search)/[\w.-]+\.js"')


@dataclass
class Section:
    """One search result. The fields that are searched are those of the engine.

    Attributes:
        page: Title of the page.
        title: Heading.
        text: Prose.
        more: Each word of the code, tables and citations.
        words: Other words for what the section is about.
        place: The page's path below docs/, and the section's anchor.
        weight: Factor on the score.
    """

    page: str
    title: str
    text: str
    more: str
    words: str
    place: tuple[str, str]
    weight: float


def plain(formula: HtmlElement) -> str:
    r"""A formula on one line of text.

    >>> formula = "<math><msup><mi>n</mi><mn>2</mn></msup><mo>+</mo><msqrt><mi>d</mi></msqrt></math>"
    >>> plain(html.fragment_fromstring(formula))
    'n²+√d'
    """
    parts = [plain(child) for child in formula if child.tag != "annotation"]
    if formula.tag == "msup" and parts[1].isdecimal():
        return parts[0] + parts[1].translate(SUPERSCRIPTS)
    for number, joint in enumerate(JOINTS.get(str(formula.tag), ""), 1):
        parts[number] = joint + parts[number]
    text = (formula.text or "").strip("\u2061")
    root = "√" if formula.tag == "msqrt" else ""
    return root + (f" {text} " if formula.tag == "mi" and len(text) > 1 else text) + "".join(parts)


def pieces(element: HtmlElement, kind: str = "text") -> Iterator[tuple[str, str]]:
    """The text of an element in order, each piece with its kind; a heading begins with its level and id."""
    classes = {*element.classes} if isinstance(element, HtmlElement) else LEFT_OUT  # a comment has none
    if element.tag in SILENT or classes & LEFT_OUT:
        return
    if element.tag == "math":
        yield kind, plain(element)
        return
    if element.tag in HEADINGS and element.get("id"):
        yield "id", f"{element.tag} {element.get('id')}"
        kind = "title"
    elif classes & UNSHOWN:
        kind = "more"
    gap = "" if element.tag in INLINE else " "
    yield kind, gap + (element.text or "")
    for child in element:
        yield from pieces(child, kind)
        yield kind, child.tail or ""
    yield kind, gap


def called(page: str, anchor: str) -> str:
    """What code or a terminal calls the subject of a section of the reference.

    >>> called("reference/cli/sft.md", "")
    'llmguide sft'
    >>> called("reference/nn/masks.md", "llmguide.nn.masks.causal_mask")
    'llmguide.nn.masks.causal_mask'
    """
    command = re.fullmatch(r"reference/cli/(\w+)\.md", page)
    return f"llmguide {command[1]}" if command and not anchor else anchor * page.startswith("reference/")


def weight(page: str, anchor: str, title: str) -> float:
    """Factor on the score of a section.

    >>> weight("learn/scale.md", "costs", "Costs"), weight("glossary.md", "", "Glossary")
    (1.0, 0.7)
    """
    if title in ENDINGS and anchor:
        return 0.3
    listed = WEIGHTS.get(re.split(r"[/.]", page)[0], 1.0)
    return listed if anchor or page.startswith("reference/") else max(listed, 0.7)


def sections(page: str, built: Path) -> Iterator[Section]:
    """The sections of a page, given its path below docs/ and what was built from it."""
    tree = html.fromstring(built.read_bytes(), parser=html.HTMLParser(encoding="utf-8"))
    (article,) = tree.iter("article")
    (about,) = tree.xpath("/html/head/meta[@name='description']/@content")
    read: list[dict[str, str]] = []
    for kind, text in pieces(article):
        if kind == "id":
            level, anchor = text.split()
            read.append({"level": level, "anchor": anchor, "title": "", "text": "", "more": ""})
        elif read:
            read[-1][kind] += text
    clean = [{kind: _GAP.sub("", " ".join(text.split())) for kind, text in found.items()} for found in read]
    clean[0] |= {"anchor": "", "text": f"{about} {clean[0]['text']}".strip()}
    for number, found in enumerate(clean):
        title = found["title"]
        if len(title) == 1:  # a letter of a long list
            continue
        yield Section(
            page=clean[0]["title"],
            title=title,
            text=found["text"] or " · ".join(_titles_below(clean[number:])),
            more=" ".join(dict.fromkeys(found["more"].split())),
            words=called(page, found["anchor"]),
            place=(page, found["anchor"]),
            weight=weight(page, found["anchor"], title),
        )


def _titles_below(found: Sequence[dict[str, str]]) -> Iterator[str]:
    """Headings of what is in the first of some sections."""
    for other in found[1:]:
        if other["level"] <= found[0]["level"]:
            return
        yield other["title"]


def add_words(found: list[Section], words: dict[str, str]) -> None:
    """Give sections the words of learners.

    Raises:
        ValueError: Words are for a section that does not exist.
    """
    places = {"#".join(filter(None, section.place)): section for section in found}
    if missing := words.keys() - places.keys():
        raise ValueError(f"{WORDS.relative_to(ROOT)} lists unknown sections: {', '.join(sorted(missing))}")
    for place, text in words.items():
        places[place].words += f" {text}"


def index(found: list[Section]) -> object:
    """What the engine makes of sections."""
    given = json.dumps([asdict(section) for section in found])
    command = ["node", "--no-warnings", str(SCRIPTS / "build.mjs")]
    done = subprocess.run(command, input=given, text=True, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def write_worker(folder: Path) -> str:
    """Bundle the worker with what it imports, and return its file name, which changes with its content."""
    options = [*MINIFY, "--bundle", "--format=iife", "--target=es2022"]
    code = npm("esbuild", *options, str(SCRIPTS / "worker.mjs"))
    for old in folder.glob("worker-*.js"):
        old.unlink()
    name = f"worker-{hashlib.sha256(code).hexdigest()[:12]}.js"
    (folder / name).write_bytes(code)
    terms = [(ROOT / "node_modules" / path).read_text(encoding="utf-8") for path in LICENSES]
    write(folder / "LICENSES.txt", "\n\n".join(terms))
    return name


def main(site: Path) -> None:
    """Write the index and the worker, and have the pages use it in place of the theme's."""
    folder = site / "search"
    offline = (folder / "search_index.js").is_file()
    pages: dict[str, list[str]] = {}  # the address of each, its title, and its part of the site
    found: list[Section] = []
    for part, members in navigation().items():
        for page in members:
            url = PurePosixPath(page).with_suffix(".html").as_posix() if offline else html_path(page)
            of_page = [*sections(page, site / url)]
            name = "" if part == config()["site_name"] else part
            pages[page] = [url if offline else url.removesuffix("index.html"), of_page[0].page, name]
            found += of_page
    add_words(found, tomllib.loads(WORDS.read_text(encoding="utf-8")))
    numbers = {page: number for number, page in enumerate(pages)}
    shown = [[numbers[s.place[0]], s.place[1], s.title, s.text, s.weight] for s in found]
    docs = {"pages": [*pages.values()], "sections": shown, "index": index(found)}

    path = folder / "search_index.json"
    theme = json.loads(path.read_text(encoding="utf-8"))["config"]
    # As text, the index passes from the page to the worker unread.
    text = dump({"config": theme, "docs": dump(docs)})
    write(path, text)
    if offline:
        write(path.with_suffix(".js"), f"var __index = {text}")
    worker = write_worker(folder)
    for built in site.rglob("*.html"):
        write(built, searched_by(worker, built.read_text(encoding="utf-8")))
    shutil.rmtree(site / "assets" / "javascripts" / "workers", ignore_errors=True)


def searched_by(worker: str, page: str) -> str:
    """A page whose search box asks a worker, given the name of its file."""
    return _WORKER.sub(rf'\1search/{worker}"', page)


def borrow(site: Path) -> str | None:
    """Copy the search of the site that was built last, and return the name of its worker, if there is one."""
    workers = [*ROOT.glob("site/search/worker-*.js"), *CACHE.glob("served/search/worker-*.js")]
    if not workers:
        return None
    worker = max(workers, key=lambda path: path.stat().st_mtime)
    shutil.copytree(worker.parent, site / "search", dirs_exist_ok=True)
    return worker.name
