"""Say what is wrong with the text of a page, one line each: ``file:line: problem; did you mean ...``.

Examples::

    python -m site_tools.checks.lint docs/learn/attention.md      one page
    python -m site_tools.checks.lint                              every page
"""

import re
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import yaml

from llmguide.exercises import exercise
from llmguide.pages.entries import near
from llmguide.pages.facts import NAME as FACTS
from llmguide.pages.facts import REFERENCE, all_facts, fact
from site_tools import DOCS, ROOT, RUNTIME, page_paths
from site_tools.built.plain_markdown import sections
from site_tools.checks import prose
from site_tools.checks.page_links import links
from site_tools.command_line import page_parser
from site_tools.content import glossary
from site_tools.content.bibliography import CITATION, SOURCES, all_works, split_citation, work
from site_tools.content.claims import LINE as CLAIMS
from site_tools.content.claims import all_claims, claim
from site_tools.content.quiz import all_addresses, item
from site_tools.fences import (
    COMPUTED,
    PARAGRAPH,
    Fence,
    blanked,
    fences,
    matches,
    prose_lines,
    split_computed,
)
from site_tools.markdown.computed import RUNS_ON, measured
from site_tools.markdown.exercises import LINE as EXERCISE
from site_tools.markdown.math import FORMULA, tex_of
from site_tools.markdown.math import render as render_formula
from site_tools.markdown.quiz import LINE as QUIZ
from site_tools.markdown.source import LINE as SOURCE
from site_tools.markdown.source import find

Problem = tuple[int, str]  # line and what is wrong there
_RUNS = {"run", "table", "figure"}
_CLASSES = _RUNS | {"local", "output", "raises", "shell", "static"}
_BOXES = ("note", "abstract", "info", "tip", "success", "question", "warning", "example", "verified")
_BOX = re.compile(rf'(?P<indent> *)(?:!!!|\?\?\?\+?) (?:{"|".join(_BOXES)})(?: "[^"]*")?$')
_WIDGETS = {path.stem for path in (RUNTIME / "widgets").glob("*.js")}
_HOSTS = r"unpkg\.com|jsdelivr\.net|cdnjs|fonts\.(googleapis|gstatic)\.com|polyfill|esm\.sh|skypack"
_DIRECTIVES = {
    "source": (SOURCE, "@source llmguide.nn.attention.attention"),
    "sources": (SOURCES, "@sources vaswani2017 brown2020"),
    "exercise": (EXERCISE, "@exercise causal-mask"),
    "quiz": (QUIZ, "@quiz attention-cat"),
    "claims": (CLAIMS, "@claims weight-tying gpt2-117m"),
}
_BOLD = re.compile(rf"\*\*(?=\S){PARAGRAPH}\*\*")
_SLIPS = {  # in prose without formulas, computed values and bold words
    r"\$\$|(?<![\\$\w])\$(?=[A-Za-z\\({])": "belongs to no formula; close it, or write \\$ for a dollar sign",
    r"\{\{|\}\}": "belongs to no computed value; write {{ 4 = 2 + 2 }}, with both spaces",
    r"\] \([^)\s]+\.\w+\)": "is no link; take away the space after ]",
    r"\[\^[^\]\n]+\]": "is a footnote, and pages have none; write it into the text",
    r"`+": "closes no code; write it before and after the code, in one paragraph",
    r"\*\*": "makes nothing bold; write it before and after the words, in one paragraph",
}
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
    rest = blanked(FORMULA, shown)
    found = [
        *_front_matter(text),
        *_structure(shown),
        *_lines(shown),
        *_blocks(shown),
        *_code(text, cells),
        *_names(shown),
        *_directives(shown),
        *_near_misses(rest),
        *links(shown, page),
        *map(_with_line, prose.terms(text, prose.WRONG)),
        *(_formulas(shown) if tex else ()),
    ]
    return sorted(set(found))


def _formulas(shown: str) -> Iterator[Problem]:
    """The formulas that KaTeX cannot read."""
    for line, match in matches(FORMULA, shown):
        if not match["skip"]:
            try:
                render_formula(tex_of(match), display=match["display"] is not None)
            except ValueError as error:
                yield line, str(error)


def _with_line(message: str) -> Problem:
    line, _, rest = message.removeprefix("line ").partition(": ")
    return int(line), rest


def _matches(pattern: str, shown: str) -> list[tuple[int, re.Match[str]]]:
    """Each match outside of code, with its line; ^ and $ match at lines."""
    return matches(re.compile(pattern, re.MULTILINE), shown)


def _front_matter(text: str) -> Iterator[Problem]:
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    try:
        description = str((yaml.safe_load(match[1]) or {}).get("description", "")) if match else ""
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        yield line, f"the front matter is no YAML: {error.problem}; put the description in quotation marks"
        return
    if not 30 <= len(description) <= 200:
        yield (
            1,
            f"the front matter needs a description of 30 to 200 characters; this one has {len(description)}",
        )


def _structure(shown: str) -> Iterator[Problem]:
    headings = [(line, len(match["marks"])) for line, match in _matches(r"^(?P<marks>#{1,6}) ", shown)]
    levels = [level for _, level in headings]
    if levels[:1] != [1]:
        yield 1, "a page opens with its title, a line that begins with '# '"
    for line, _ in [heading for heading in headings if heading[1] == 1][1:]:
        yield line, "a second title; begin this heading with ##"
    for (_, before), (line, after) in pairwise(headings):
        if after > before + 1:
            yield line, f"a heading jumps from level {before} to {after}; begin it with {'#' * (before + 1)}"
    for line, match in _matches(r"^#{1,6}(?=[^#\s])", shown):
        yield line, f"no space after {match[0]}"
    boxes = [(line, match[0]) for line, match in _matches(r"<div\b|</div>", shown)]
    if (n_open := sum(box == "<div" for _, box in boxes)) != len(boxes) - n_open:
        yield boxes[-1][0], f"the page has {n_open} <div> and {len(boxes) - n_open} </div>; close each"


def _lines(shown: str) -> Iterator[Problem]:
    for number, line in enumerate(shown.split("\n"), start=1):
        if re.search(r"!\[\s*\]", line) or re.search(r"<img(?![^>]*\balt=\"[^\"]+\")", line):
            yield number, "an image without alt text; say what it shows: ![...](...)"
        if re.search(_HOSTS, line) or re.search(
            r"<(script|link|iframe)\b|!\[[^\]]*\]\(https?:|src=\"https?:", line
        ):
            yield number, "something from another host, or a script of its own; put the file into docs/assets"
        if 'class="widget"' in line and "data-label=" not in line:
            yield number, 'a widget without data-label="...", the words on its button'
        for match in re.finditer(r'data-widget="(?P<name>[^"]*)"', line):
            if match["name"] not in _WIDGETS:
                yield number, f"no widget {match['name']}{near(match['name'], _WIDGETS)}"
        for placeholder in _PLACEHOLDERS:
            if placeholder in line:
                yield number, f"{placeholder!r} is the template's; write your own"


def _blocks(shown: str) -> Iterator[Problem]:
    """Boxes and tables whose first two lines are not those of one."""
    lines = ["", *shown.split("\n"), ""]
    for number, (before, line, after) in enumerate(zip(lines, lines[1:], lines[2:], strict=False), start=1):
        if box := _BOX.match(line):
            if after.strip() and not after.startswith(f"{box['indent']}    "):
                yield number + 1, "what is in a box is indented by four spaces"
        elif re.match(r" *(?:!!!|\?\?\?)", line):
            kinds = ", ".join(_BOXES)
            yield number, f'{line.strip()} opens no box; write !!! or ???, one of {kinds}, and "Title"'
        is_first = line.lstrip().startswith("|") and not before.lstrip().startswith("|")
        if is_first and not re.match(r" *\|[ :|-]+$", after):
            yield number, "a table needs a line such as | :-- | --: | below its first"


def _code(text: str, cells: list[Fence]) -> Iterator[Problem]:
    lines = text.split("\n")
    for before, fence in zip([None, *cells], cells, strict=False):
        start = fence.start + 1
        for offset, line in enumerate(fence.code.split("\n")):
            if re.match(rf"{fence.marker[0]}{{{len(fence.marker)}}}[{{a-z]", line):
                yield start, f"the fence is not closed before the one on line {start + 1 + offset}"
        for name in [name for name in fence.classes if name not in _CLASSES]:
            yield start, f"no class .{name}{near(f'.{name}', [f'.{known}' for known in _CLASSES])}"
        if re.search(r"[`~] *\{ *[^.\s}]", lines[fence.start]):
            yield start, "the language needs a dot, as in {.python .run}"
        if fence.language in {"py", "python3", "pycon"}:
            yield (
                start,
                f"write {{.python .run}}, or {{.python .static reason=...}}, not {fence.language}",
            )
        if fence.language == "python" and not _RUNS & set(fence.classes):
            if "static" not in fence.classes:
                yield start, "Python that nothing runs; mark it .run, or .static with a reason"
            elif not fence.attributes.get("reason"):
                yield start, '.static without a reason; write reason="needs ..."'
        if "output" in fence.classes:
            is_below = before and not any(line.strip() for line in lines[before.end : fence.start])
            if not (before and is_below and "run" in before.classes):
                yield start, "an output that follows no .run fence; put it right below its cell"


def _names(shown: str) -> Iterator[Problem]:
    """Names of code, exercises, claims, facts, works and pages that do not exist."""
    looked_up: list[tuple[int, Callable[[str], object], str]] = [
        *((line, split_computed, match["value"]) for line, match in matches(COMPUTED, shown)),
        *((line, measured, match["page"]) for line, match in _matches(RUNS_ON, shown)),
        *((line, find, match["name"]) for line, match in matches(SOURCE, shown)),
        *((line, exercise, match["name"]) for line, match in matches(EXERCISE, shown)),
        *((line, item, match["name"]) for line, match in matches(QUIZ, shown)),
        *((line, fact, match["fact"]) for line, match in matches(REFERENCE, shown)),
        *((line, claim, key) for line, match in matches(CLAIMS, shown) for key in match["keys"].split()),
        *((line, work, key) for line, match in matches(SOURCES, shown) for key in match["keys"].split()),
        *(
            (line, work, key)
            for line, match in matches(CITATION, shown)
            for key, _ in split_citation(match["works"])
        ),
    ]
    for line, look_up, name in looked_up:
        try:
            look_up(name)
        except ValueError as error:
            yield line, str(error)
    for line, match in matches(SOURCES, shown):
        if not (match["keys"] or matches(CITATION, shown) or matches(REFERENCE, shown)):
            yield line, "the page cites nothing that @sources could list; cite a work, or take the line away"


def _directives(shown: str) -> Iterator[Problem]:
    """Lines that begin like @source, or hold it further on, and would be published as they are typed."""
    for line, match in _matches(r"^ *@(?P<word>[A-Za-z]\w*)[^\n]*$", shown):
        pattern, example = _DIRECTIVES.get(match["word"], (None, ""))
        if pattern is None:
            meant = near(match["word"], _DIRECTIVES).replace("mean ", "mean @")
            yield line, f"no directive @{match['word']}{meant}"
        elif not pattern.match(match[0]):
            yield line, f"{match[0].strip()!r} is not as @{match['word']} is written; an example is {example}"
    for line, match in _matches(r"\S[^\n@]* (?P<word>@(?:sources?|exercise|quiz|claims)) \w", shown):
        yield line, f"{match['word']} has to begin its line"


def _near_misses(rest: str) -> Iterator[Problem]:
    """What looks like the guide's markup, and would be published as it is typed."""
    for pattern, problem in _SLIPS.items():
        for line, match in _matches(pattern, blanked(_BOLD, rest)):
            yield line, f"{match[0]} {problem}"
    for line, match in _matches(r"\[\[ *(?P<key>[A-Za-z][^\[\]\n]*)\]\]", rest):
        if not REFERENCE.fullmatch(match[0]) and not re.fullmatch(RUNS_ON, match[0]):
            meant = near(match["key"].strip().lower(), all_facts())
            yield line, f"{match[0]} is no fact of {FACTS}{meant}"
    for line, match in _matches(r"\[@(?P<key>[\w-]*)[^\]\n]*\]", rest):
        if not CITATION.fullmatch(match[0]):
            meant = near(match["key"].lower(), all_works())
            yield line, f"{match[0]} is no citation, such as [@vaswani2017, section 3; @brown2020]{meant}"
    unmarked = blanked(REFERENCE, blanked(re.compile(r"\[@[^\]\n]*\]"), rest))
    for line, match in _matches(r"(?<![\w/\[])(?:@|\[\[?)(?P<key>[a-z][\w.-]*\w)\]?(?![\[(:])", unmarked):
        if match["key"] in all_works():
            yield line, f"{match[0]} is no citation; write [@{match['key']}]"
        elif match["key"] in all_facts():
            yield line, f"{match[0]} is no fact; write [[{match['key']}]]"


def main() -> int:
    """Print the problems of the pages named on the command line, and of the data they name; 1 if any."""
    arguments = page_parser("site_tools.checks.lint", __doc__).parse_args()
    try:
        for read in (all_facts, all_works, all_claims, glossary.render, all_addresses):
            read()
    except ValueError as error:
        print(error)
        return 1
    in_nav = {page for group in sections().values() for page in group}
    failed = False
    for path in map(Path.resolve, arguments.pages or page_paths()):
        found = problems(path.read_text(encoding="utf-8"), path, tex=True)
        if path.is_relative_to(DOCS) and path.relative_to(DOCS).as_posix() not in in_nav:
            found.append((1, "no reader finds this page; add it to nav in mkdocs.yml"))
        for line, problem in found:
            print(f"{path.relative_to(ROOT)}:{line}: {problem}")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
