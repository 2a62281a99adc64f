"""Say what is wrong with the text of a page, one line each: ``file:line: problem; did you mean ...``.

Examples::

    python -m tools.lint docs/learn/attention.md      one page
    python -m tools.lint                              every page
"""

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import yaml

from llmguide.exercises import exercise
from tools import DOCS, GENERATED, ROOT, near, page_paths, prose
from tools.bibliography import CITATION, SOURCES, all_works, split_citation, work
from tools.claims import LINE as CLAIMS
from tools.claims import claim
from tools.facts import REFERENCE, all_facts, fact
from tools.fences import Fence, fences, outside_code, prose_lines
from tools.links import ids, relative
from tools.markdown.computed import RUNS_ON
from tools.markdown.exercises import LINE as EXERCISE
from tools.markdown.math import FORMULA, tex_of
from tools.markdown.math import render as render_formula
from tools.markdown.source import LINE as SOURCE
from tools.markdown.source import find

Problem = tuple[int, str]  # line and what is wrong there
_RUNS = {"run", "table", "figure"}
_HOSTS = r"unpkg\.com|jsdelivr\.net|cdnjs|fonts\.(googleapis|gstatic)\.com|polyfill|esm\.sh|skypack"
_DIRECTIVES = {"source": SOURCE, "sources": SOURCES, "exercise": EXERCISE, "claims": CLAIMS}
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)(?: \"[^\"\n]*\")?\)")
_PLACEHOLDERS = ("Title of the page", "FOLDER/PAGE", "One sentence for search engines")


def problems(text: str, page: Path, *, tex: bool = False) -> list[Problem]:
    """Everything that is wrong with a page, in the order of its lines.

    Args:
        text: The page.
        page: Where it is, below docs/; links are looked up from there.
        tex: Render the formulas too, which needs KaTeX.
    """
    try:
        cells = fences(text)
    except ValueError as error:
        return [_with_line(str(error))]
    shown = "\n".join(prose_lines(text))
    found = [
        *_front_matter(text),
        *_structure(shown),
        *_lines(shown),
        *_code(text, cells),
        *_names(shown),
        *_near_misses(shown),
        *_links(shown, page),
        *map(_with_line, prose.terms(text, prose.WRONG)),
        *(_formulas(shown) if tex else ()),
    ]
    return sorted(set(found))


def _formulas(shown: str) -> Iterator[Problem]:
    """The formulas that KaTeX cannot read."""
    for line, match in _matches(FORMULA, shown):
        if not match["skip"]:
            try:
                render_formula(tex_of(match), display=match["display"] is not None)
            except ValueError as error:
                yield line, str(error)


def _with_line(message: str) -> Problem:
    line, _, rest = message.removeprefix("line ").partition(": ")
    return int(line), rest


def _matches(pattern: re.Pattern[str], shown: str) -> list[tuple[int, re.Match[str]]]:
    """Each match outside of code, with its line."""
    found = []

    def note(match: re.Match[str]) -> str:
        found.append((shown.count("\n", 0, match.start()) + 1, match))
        return match[0]

    outside_code(pattern, note)(shown)
    return found


def _front_matter(text: str) -> Iterator[Problem]:
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    description = (yaml.safe_load(match[1]) or {}).get("description", "") if match else ""
    if not 30 <= len(description) <= 200:
        yield (
            1,
            f"the front matter needs a description of 30 to 200 characters; this one has {len(description)}",
        )


def _structure(shown: str) -> Iterator[Problem]:
    marks = re.compile(r"^(?P<marks>#{1,6}) ", re.MULTILINE)
    headings = [(line, len(match["marks"])) for line, match in _matches(marks, shown)]
    levels = [level for _, level in headings]
    if levels.count(1) != 1 or levels[0] != 1:
        yield 1, f"a page opens with its one H1; the levels here are {levels}"
    for (_, before), (line, after) in pairwise(headings):
        if after > before + 1:
            yield line, f"a heading jumps from level {before} to {after}"


def _lines(shown: str) -> Iterator[Problem]:
    for number, line in enumerate(shown.split("\n"), start=1):
        if re.search(r"!\[\s*\]", line) or re.search(r"<img(?![^>]*\balt=\"[^\"]+\")", line):
            yield number, "an image without alt text"
        if re.search(_HOSTS, line) or re.search(
            r"<(script|link|iframe)\b|!\[[^\]]*\]\(https?:|src=\"https?:", line
        ):
            yield number, "something from another host, or a script of its own"
        if 'class="widget"' in line and "data-label=" not in line:
            yield number, 'a widget without data-label="...", the words on its button'
        for placeholder in _PLACEHOLDERS:
            if placeholder in line:
                yield number, f"{placeholder!r} is the template's; write your own"


def _code(text: str, cells: list[Fence]) -> Iterator[Problem]:
    lines = text.split("\n")
    for before, fence in zip([None, *cells], cells, strict=False):
        start = fence.start + 1
        for offset, line in enumerate(fence.code.split("\n")):
            if re.match(rf"{fence.marker[0]}{{{len(fence.marker)}}}[{{a-z]", line):
                yield start, f"the fence is not closed before the one on line {start + 1 + offset}"
        if fence.language in {"py", "python3", "pycon"}:
            yield (
                start,
                f"write {{.python .run}}, or {{.python .static reason=...}}, not {fence.language}",
            )
        if fence.language == "python" and not _RUNS & set(fence.classes):
            if "static" not in fence.classes:
                yield start, "Python that nothing runs; mark it .run, or .static with a reason"
            elif not fence.attributes.get("reason"):
                yield start, ".static without a reason"
        if "output" in fence.classes:
            gap = lines[before.end : fence.start] if before else ["x"]
            if any(line.strip() for line in gap) or "run" not in before.classes:
                yield start, "an output that follows no .run fence"


def _names(shown: str) -> Iterator[Problem]:
    """Names of sources, exercises, claims, facts and works that do not exist."""
    looked_up = [
        *((line, find, match["name"]) for line, match in _matches(SOURCE, shown)),
        *((line, exercise, match["name"]) for line, match in _matches(EXERCISE, shown)),
        *((line, fact, match["fact"]) for line, match in _matches(REFERENCE, shown)),
        *((line, claim, key) for line, match in _matches(CLAIMS, shown) for key in match["keys"].split()),
        *((line, work, key) for line, match in _matches(SOURCES, shown) for key in match["keys"].split()),
        *(
            (line, work, key)
            for line, match in _matches(CITATION, shown)
            for key, _ in split_citation(match["works"])
        ),
    ]
    for line, look_up, name in looked_up:
        try:
            look_up(name)
        except ValueError as error:
            yield line, str(error)


def _near_misses(shown: str) -> Iterator[Problem]:
    """What looks like the guide's markup, and would be published as it is typed."""
    for line, match in _matches(re.compile(r"^ *@(?P<word>[A-Za-z]\w*)[^\n]*$", re.M), shown):
        known = _DIRECTIVES.get(match["word"])
        if known is None:
            meant = near(match["word"], _DIRECTIVES).replace("mean ", "mean @")
            yield line, f"no directive @{match['word']}{meant}"
        elif not known.match(match[0]):
            yield line, f"{match[0].strip()!r} is not as @{match['word']} is written; see CONTRIBUTING.md"
    for line, match in _matches(re.compile(r"\S[^\n@]* (?P<word>@(?:sources?|exercise|claims)) \w"), shown):
        yield line, f"{match['word']} has to begin its line"
    rest = outside_code(FORMULA, _blank)(shown)
    for line, match in _matches(re.compile(r"\{\{|\}\}"), rest):
        yield line, f"{match[0]} belongs to no computed value; write {{{{ 4 = 2 + 2 }}}}, with both spaces"
    for line, match in _matches(re.compile(r"\[\[(?P<key>[A-Za-z][\w .-]*)\]\]"), rest):
        if not REFERENCE.fullmatch(match[0]) and not re.fullmatch(RUNS_ON, match[0]):
            key = match["key"]
            yield line, f"{match[0]} is no fact of docs/_data/facts.toml{near(key.lower(), all_facts())}"
    for line, match in _matches(re.compile(r"\[@(?P<key>[\w-]*)[^\]\n]*\]"), rest):
        if not CITATION.fullmatch(match[0]):
            yield line, f"{match[0]} is no citation{near(match['key'].lower(), all_works())}"


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _links(shown: str, page: Path) -> Iterator[Problem]:
    """Links to pages, files and headings that do not exist."""
    for line, match in _matches(_LINK, shown):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", match["target"]):
            continue
        if not target:
            if anchor not in ids(shown):
                yield line, f"this page has no heading #{anchor}{near(anchor, ids(shown))}"
            continue
        path = (page.parent / target).resolve()
        inside = path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else ""
        if inside in GENERATED or inside.startswith("reference/"):
            continue  # a fresh checkout has none of them
        if not path.exists():
            known = [relative(other, page) for other in page_paths()]
            yield line, f"no file {target}{near(target, known)}"
        elif anchor and path.suffix == ".md":
            known = ids(path.read_text(encoding="utf-8"))
            if anchor not in known:
                yield line, f"{path.name} has no heading #{anchor}{near(anchor, known)}"


def main() -> int:
    """Print the problems of the pages named on the command line; 1 if there are any."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.lint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="pages; all of them by default")
    failed = False
    for path in map(Path.resolve, parser.parse_args().pages or page_paths()):
        text = path.read_text(encoding="utf-8")
        for line, problem in problems(text, path, tex=True):
            print(f"{path.relative_to(ROOT)}:{line}: {problem}")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
