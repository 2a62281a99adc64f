"""Rules that every page keeps, whatever it is about."""

import re
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml
from tools import DOCS, ROOT, page_paths
from tools.fences import fences, prose_lines

PAGES = page_paths()
RUNS = {"run", "table", "figure"}
HOSTS = r"unpkg\.com|jsdelivr\.net|cdnjs|fonts\.(googleapis|gstatic)\.com|polyfill|esm\.sh|skypack"


def headings(text):
    found = [re.match(r"(#{1,6}) ", line) for line in prose_lines(text)]
    return [len(match[1]) for match in found if match]


def lint(text):
    """Everything that is wrong with a page, as sentences."""
    return [*front_matter(text), *structure(text), *images(text), *code(text), *foreign_hosts(text)]


def front_matter(text):
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    description = (yaml.safe_load(match[1]) or {}).get("description", "") if match else ""
    if not 30 <= len(description) <= 200:
        yield f"the front matter needs a description of 30 to 200 characters; this one has {len(description)}"


def structure(text):
    levels = headings(text)
    if levels.count(1) != 1 or levels[0] != 1:
        yield f"a page opens with its one H1; the levels here are {levels}"
    for before, after in pairwise(levels):
        if after > before + 1:
            yield f"a heading jumps from level {before} to {after}"


def images(text):
    for number, line in enumerate(prose_lines(text), start=1):
        if re.search(r"!\[\s*\]", line) or re.search(r"<img(?![^>]*\balt=\"[^\"]+\")", line):
            yield f"line {number}: an image without alt text"


def code(text):
    lines = text.split("\n")
    cells = fences(text)
    for before, fence in zip([None, *cells], cells, strict=False):
        where = f"line {fence.start + 1}:"
        if fence.language in {"py", "python3", "pycon"}:
            yield f"{where} write {{.python .run}}, or {{.python .static reason=...}}, not {fence.language}"
        if fence.language == "python" and not RUNS & set(fence.classes):
            if "static" not in fence.classes:
                yield f"{where} Python that nothing runs; mark it .run, or .static with a reason"
            elif not fence.attributes.get("reason"):
                yield f"{where} .static without a reason"
        if "output" in fence.classes:
            gap = lines[before.end : fence.start] if before else ["x"]
            if any(line.strip() for line in gap) or "run" not in before.classes:
                yield f"{where} an output that follows no .run fence"


def foreign_hosts(text):
    for number, line in enumerate(prose_lines(text), start=1):
        if re.search(HOSTS, line) or re.search(
            r"<(script|link|iframe)\b|!\[[^\]]*\]\(https?:|src=\"https?:", line
        ):
            yield f"line {number}: something from another host, or a script of its own"


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_page_keeps_the_rules(path):
    assert lint(path.read_text(encoding="utf-8")) == []


GOOD = """\
---
description: What this page is about, in one plain sentence.
---

# Title

## Part

```{.python .run}
1
```

```{.text .output}
1
```

```{.python .static reason="needs a GPU"}
```

![Alt](x.png)
"""


def test_good_page_passes():
    assert lint(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("description: What", "title: What", "needs a description"),
        ("# Title", "Title", "one H1"),
        ("## Part", "# Part", "one H1"),
        ("## Part", "### Part", "jumps from level 1 to 3"),
        ("![Alt]", "![]", "line 20: an image without alt"),
        ("![Alt](x.png)", '<img src="x.png">', "line 20: an image without alt"),
        ("{.python .run}", "python", "Python that nothing runs"),
        ("{.python .run}", "py", "not py"),
        (' reason="needs a GPU"', "", ".static without a reason"),
        ("```{.text .output}", "Text.\n\n```{.text .output}", "follows no .run fence"),
        ("(x.png)", "(https://x.org/x.png)", "another host"),
        ("![Alt](x.png)", '<script src="x.js"></script>', "another host"),
    ],
)
def test_bad_page_fails(old, new, complaint):
    assert old in GOOD
    assert any(complaint in found for found in lint(GOOD.replace(old, new)))


def spelled(text):
    """A page without its code and formulas, whose words are no words; line numbers stay true."""
    return re.sub(r"`+[^`\n]+`+|\$[^$\n]+\$", "", "\n".join(prose_lines(text)))


def test_spelling(tmp_path):
    for path in PAGES:
        copy = tmp_path / path.relative_to(DOCS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(spelled(path.read_text(encoding="utf-8")), encoding="utf-8")
    command = [sys.executable, "-m", "codespell_lib", str(tmp_path), "README.md"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
