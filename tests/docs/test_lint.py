"""Rules that every page keeps, whatever it is about."""

import re
import subprocess
import sys

import pytest
from site_tools import DOCS, ROOT, page_paths
from site_tools.checks.lint import main, problems
from site_tools.content import glossary
from site_tools.fences import prose_lines

PAGES = page_paths()
PAGE = DOCS / "learn" / "invented.md"


def lint(text):
    """The problems of a page in docs/learn, as they are printed."""
    return [f"line {line}: {problem}" for line, problem in problems(text, PAGE, tex=True)]


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_page_keeps_the_rules(path):
    assert problems(path.read_text(encoding="utf-8"), path) == []


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

![Alt](../assets/favicon.svg)
"""


def test_good_page_passes():
    assert lint(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("description: What", "title: What", "needs a description"),
        (
            "description: What",
            "description: what: What",
            "line 2: the front matter is no YAML: mapping values",
        ),
        ("# Title", "Title", "line 1: a page opens with its title"),
        ("## Part", "# Part", "line 7: a second title; begin this heading with ##"),
        ("## Part", "### Part", "line 7: a heading jumps from level 1 to 3; begin it with ##"),
        ("## Part", "##Part", "line 7: no space after ##"),
        ("![Alt]", "![]", "line 20: an image without alt"),
        ("![Alt](../assets/favicon.svg)", '<img src="x.png">', "line 20: an image without alt"),
        ("{.python .run}", "python", "Python that nothing runs"),
        ("{.python .run}", "py", "not py"),
        ("{.python .run}", "{python .run}", "line 9: the language needs a dot, as in {.python .run}"),
        ("{.python .run}", "{.python .run .raise}", "line 9: no class .raise; did you mean .raises?"),
        (' reason="needs a GPU"', "", ".static without a reason"),
        ("```{.text .output}", "Text.\n\n```{.text .output}", "follows no .run fence"),
        ("(../assets/favicon.svg)", "(https://x.org/x.png)", "another host"),
        ("![Alt](../assets/favicon.svg)", '<script src="x.js"></script>', "another host"),
    ],
)
def test_bad_page_fails(old, new, complaint):
    assert old in GOOD
    assert any(complaint in found for found in lint(GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("@source llmguide.nn.attention.attentio", "does not define 'attentio' .* did you mean attention?"),
        ("@source llmguide.nn.attentio.attention", "does not define 'attentio' .* did you mean attention?"),
        ("@source llguide.nn", "src has no module of that name"),
        ("@claims weight-tying, palm", "is not as @claims is written; an example is @claims weight-tying "),
        ("@quiz attention-cot", "no quiz item attention-cot; did you mean attention-cat?"),
        ("@quiz", "'@quiz' is not as @quiz is written; an example is @quiz attention-cat"),
        ("@exercise causal-masc", "no exercise is named 'causal-masc'; did you mean causal-mask?"),
        ("@claims weight-typing", "no such claim; did you mean weight-tying?"),
        ("@sources", "the page cites nothing that @sources could list"),
        ("@sources vaswani2016", "unknown citation @vaswani2016; .* did you mean vaswani2017?"),
        ("As in [@vaswani2016, section 3].", "unknown citation @vaswani2016; .* did you mean vaswani2017?"),
        ("Of [[context-gtp3]].", "unknown fact [[context-gtp3]]; .* did you mean context-gpt3?"),
        ("See [it](attentio.md).", "no file attentio.md; did you mean attention.md?"),
        (
            "See [it](attention.md#the-formla).",
            "attention.md has no heading #the-formla; .* the-formula?",
        ),
        ("See [it](#the-part).", "this page has no heading #the-part; did you mean part?"),
        ("See [it](../assets/figures/no.svg).", "no file ../assets/figures/no.svg"),
        (r"As $\frak{1}{2$ says.", r"wrong TeX in $\frak{1}{2$: KaTeX parse error"),
        ("Of [[context]].", "[[context]] is no fact of src/llmguide/pages/facts.toml"),
        ("Of [[ context-gpt3 ]].", "[[ context-gpt3 ]] is no fact of .*; did you mean context-gpt3?"),
        ("Of [context-gpt3].", "[context-gpt3] is no fact; write [[context-gpt3]]"),
        ("[[runs on: learn/attention]]", "[[runs on: learn/attention]] is no fact"),
        ("[[runs-on: learn/attentio]]", "there is no docs/learn/attentio.md"),
        ("Of [[context-gpt3].", "[[context-gpt3] is no fact; write [[context-gpt3]]"),
        ("Of [[context-gpt3.", "[[context-gpt3 is no fact; write [[context-gpt3]]"),
        ("Of [[Context-GPT3]].", "[[Context-GPT3]] is no fact of .*; did you mean context-gpt3?"),
        ("As [@Vaswani2017] says.", "[@Vaswani2017] is no citation, .*; did you mean vaswani2017?"),
        (
            "As [@vaswani2017 section 3] says.",
            "is no citation, such as [@vaswani2017, section 3; @brown2020]",
        ),
        ("As @vaswani2017 says.", "@vaswani2017 is no citation; write [@vaswani2017]"),
        ("As [vaswani2017] says.", "[vaswani2017] is no citation; write [@vaswani2017]"),
        ("See [it](attention).", "attention is a folder; link to a page, such as attention.md"),
        ("See [it]( attentio.md).", "no file attentio.md; did you mean attention.md?"),
        ("See [it] (attention.md).", "] (attention.md) is no link; take away the space after ]"),
        ("See [it][there].", "no line [there]: says where this link leads"),
        ("[there]: attentio.md", "no file attentio.md; did you mean attention.md?"),
        ("![A](../assets/favicn.svg)", "no file ../assets/favicn.svg; did you mean ../assets/favicon.svg?"),
        (
            "See [it](../glossary.md#term-tokn).",
            "glossary.md has no entry #term-tokn; did you mean term-token?",
        ),
        (
            "See [it](../claims.md#claim-weight-typing).",
            "claims.md has no entry .*; did you mean claim-weight-tying?",
        ),
        ("See [it](../exercises.md#exercise-causal-masc).", "did you mean exercise-causal-mask?"),
        ("See [it](../reference/nn/attentio.md).", "no page .*; did you mean ../reference/nn/attention.md?"),
        ("See [it](../quiz/foundation.md).", "no page .*; did you mean ../quiz/foundations.md?"),
        ("See [it][llmguide.nn.attention.attentio].", "does not define 'attentio' .* mean attention?"),
        ("See [it][llmguide.nn.attentio].", "does not define 'attentio' .* did you mean attention?"),
        ("As $x + 1 says.", "$ belongs to no formula; close it, or write \\$ for a dollar sign"),
        ("$$\nx + 1\n", "$$ belongs to no formula"),
        ("It is `x + 1.", "` closes no code; write it before and after"),
        ("It is **bold.", "** makes nothing bold; write it before and after"),
        ("It is so.[^1]", "[^1] is a footnote, and pages have none"),
        ("It is {{ 4 = 2 + }}.", "{{ 4 = 2 + }} does not end in a Python expression"),
        ("It is {{2+2}}.", "{{ belongs to no computed value; write {{ 4 = 2 + 2 }}, with both spaces"),
        ("It is {{ 4 = 2 + 2 }.", "{{ belongs to no computed value"),
        ("@sourze llmguide.nn.attention.attention", "no directive @sourze; did you mean @source?"),
        (
            "@source llmguide.nn.attention.attention whole",
            "is not as @source is written; an example is @source llmguide.nn.attention.attention",
        ),
        ("Do this: @exercise causal-mask", "@exercise has to begin its line"),
        ('<div class="widget" data-widget="trainer" markdown>', 'a widget without data-label="..."'),
        ('<div class="widget" data-widget="trainr" data-label="it"></div>', "no widget trainr; .* trainer?"),
        ('<div class="grid" markdown>', "the page has 1 <div> and 0 </div>; close each"),
        ('!!! nte "Title"\n    Text', '!!! nte "Title" opens no box; write !!! or ???, one of note,'),
        ("??? note Title\n    Text", '??? note Title opens no box; .* "Title"'),
        ("| A | B |\n| 1 | 2 |", "a table needs a line such as | :-- | --: | below its first"),
        ("Title of the page", "'Title of the page' is the template's; write your own"),
        ("A dearer model.", "'dearer'; better: larger, more expensive"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_was_meant(line, complaint):
    found = lint(GOOD.replace("1\n```\n\n```{.python .static", f"1\n```\n\n{line}\n\n```{{.python .static"))
    pattern = "line 17: .*" + ".*".join(map(re.escape, complaint.split(".*")))
    assert [each for each in found if re.match(pattern, each)], found


def test_a_fence_that_is_not_closed_is_named_by_its_own_line():
    assert "line 9: the fence is not closed before the one on line 12" in lint(
        GOOD.replace("1\n```\n", "1\n", 1)
    )
    assert lint(GOOD.replace('a GPU"}', "a GPU}")) == [
        "line 17: a quotation mark in '```{.python .static reason=\"needs a GPU}' is never closed"
    ]
    assert lint(GOOD.replace('a GPU"}\n```', 'a GPU"}')) == [
        "line 17: the fence '```{.python .static reason=\"needs a GPU\"}' is never closed"
    ]


def test_what_only_looks_like_markup_passes():
    for line in (
        "The list `[[1, 2], [3]]` or [[1, 2], [3]]",
        "`[[context]]`, `{{2+2}}`, `[@Vaswani2017]`, `@sourze x`",
        "$x_{{ij}}$, $5 and $10, and a mail to me@example.org",
        '??? note "Title"\n\n    - Text\n\n        !!! tip "Inner"\n            Text',
        "As [@vaswani2017] says.\n\n@sources",
        "See [it](#term-frequency) and [the quiz](../quiz/code.md#generated).\n\n## Term frequency",
        "**Bold** and `a ** b`, ``a`b``, **two\nlines**, and $a^**$",
        "See [there][a], [`attention`][llmguide.nn.attention], and `a[0][1]`.\n\n[a]: https://pytorch.org/",
        "In [the last part](#part) and [there](attention.md#the-formula), see [PyTorch](https://pytorch.org/).",
    ):
        assert lint(GOOD.replace("![Alt]", f"{line}\n\n![Alt]")) == []


@pytest.mark.parametrize(
    ("markup", "anchor"),
    [
        ("Text.\n{ #of-a-paragraph }", "of-a-paragraph"),
        ('<div class="card" id="of-a-box" markdown>\n</div>', "of-a-box"),
        ("@exercise causal-mask", "exercise-causal-mask"),
    ],
)
def test_a_link_may_name_what_is_no_heading(markup, anchor):
    page = GOOD.replace("![Alt]", f"See [it](#{anchor}).\n\n{markup}\n\n![Alt]")
    assert lint(page) == []
    wrong = page.replace(f"(#{anchor})", f"(#{anchor}s)")
    assert lint(wrong) == [f"line 20: this page has no heading #{anchor}s; did you mean {anchor}?"]


@pytest.mark.parametrize("item", ["@quiz attention-cat", "@exercise causal-mask", "{ #here }"])
def test_what_a_link_names_is_on_a_page_once(item):
    page = GOOD.replace("![Alt]", f"Text.\n{item}\n\nText.\n{item}\n\n![Alt]".replace("Text.\n@", "@"))
    name = item.strip("{ }")
    first, second = [n for n, line in enumerate(page.split("\n"), start=1) if line == item]
    assert lint(page) == [f"line {second}: {name} is on line {first} already; take one away"]


def test_what_is_in_a_box_is_indented():
    box = '!!! note "Title"\nText'
    assert lint(GOOD.replace("![Alt]", f"{box}\n\n![Alt]")) == [
        "line 21: what is in a box is indented by four spaces"
    ]


def test_problems_are_printed_as_file_line_problem(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("site_tools.checks.lint.ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text(GOOD.replace("![Alt](../assets/favicon.svg)", "Of [[xyz]]."))
    monkeypatch.setattr("sys.argv", ["lint", str(path)])
    assert main() == 1
    assert capsys.readouterr().out == "page.md:20: [[xyz]] is no fact of src/llmguide/pages/facts.toml\n"


def test_a_mistake_in_data_is_printed_once_and_alone(monkeypatch, capsys):
    toml = '\n["attention head"]\ndefinition = "A part."\nseee = "index.md"\n'
    monkeypatch.setattr("site_tools.content.glossary.all_terms", lambda: glossary.parse(toml))
    monkeypatch.setattr("sys.argv", ["lint", str(DOCS / "learn" / "attention.md")])
    assert main() == 1
    said = "docs/_data/glossary.toml:2: [attention head] has unknown fields seee; known are"
    assert capsys.readouterr().out.startswith(said)


def test_a_page_that_no_reader_finds_is_named(monkeypatch, capsys):
    monkeypatch.setattr("site_tools.checks.lint.sections", dict)
    monkeypatch.setattr("sys.argv", ["lint", str(DOCS / "tutors.md")])
    assert main() == 1
    assert "docs/tutors.md:1: no reader finds this page" in capsys.readouterr().out


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
