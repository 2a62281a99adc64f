"""The Markdown extensions, through Python-Markdown alone."""

import json
import re

import pytest
from markdown import Markdown
from site_tools import ROOT
from site_tools.content.glossary import parse
from site_tools.markdown.computed import measured
from site_tools.markdown.source import find

OURS = ("source", "folds", "math", "computed", "citations", "figures", "tables", "terms", "names")
THEIRS = ("admonition", "attr_list", "tables", "toc", "pymdownx.details", "pymdownx.superfences")


def convert(text, **options):
    names = [*THEIRS, *(f"site_tools.markdown.{name}" for name in OURS)]
    configs = {f"site_tools.markdown.{name}": config for name, config in options.items()}
    return Markdown(extensions=names, extension_configs=configs).convert(text)


GLOSSARY = """
[token]
definition = "A unit of text."
see = "index.md"
aliases = ["tokens"]
[logit]
definition = "A score before softmax."
see = "index.md"
aliases = ["logits"]
["context length"]
definition = "The largest number of tokens."
see = "index.md"
aliases = ["context window"]
["causal mask"]
definition = "A mask."
see = "index.md"
[context]
definition = "What a model sees."
see = "index.md"
"""


@pytest.fixture(autouse=True)
def _small_glossary(monkeypatch):
    monkeypatch.setattr("site_tools.markdown.terms.all_terms", lambda: parse(GLOSSARY))


def visible(html):
    """Text that a reader sees of a formula, without MathML and tags."""
    return re.sub("<[^>]+>", "", re.sub(r'<span class="katex-mathml">.*?</math></span>', "", html))


# ---- folds ------------------------------------------------------------------------------------------

LONG = "\n".join(f"x{i} = {i}" for i in range(26))


@pytest.mark.parametrize("opening", ["```python", "```{.python .run data-cell=1}", '~~~ python title="x.py"'])
def test_code_of_more_than_25_lines_is_marked(opening):
    marker = opening[:3]
    long, short = (convert(f"{opening}\n{code}\n{marker}\n") for code in (LONG, LONG.rpartition("\n")[0]))
    assert re.search(r'<div class="[^"]*\blong\b', long)
    assert not re.search(r"\blong\b", short)
    assert long.count("\n") == short.count("\n") + 1  # all of it is there, and nothing else changes
    assert ('data-cell="1"' in long) == ("data-cell" in opening)


def test_long_code_in_a_list_stays_there_and_long_output_stays_open():
    code = LONG.replace("\n", "\n    ")
    html = convert(f"- An item.\n\n    ```python\n    {code}\n    ```\n\n```{{.text .output}}\n{LONG}\n```\n")
    item, _, output = html.partition("</ul>")
    assert re.search(r'<div class="[^"]*\blong\b', item)
    assert "long" not in output


# ---- source -----------------------------------------------------------------------------------------

MODULE = '''\
"""Module."""

import functools

LIMIT: int = 3
NAMES = ["a",
         "b"]


@functools.cache
def double(x):
    """Twice x.

    More.
    """

    return 2 * x


def empty():
    """Only a docstring."""


class Box:
    """A box."""

    def open(self):
        """Open it."""
        return 1

    class Lid:
        color = "red"
'''


@pytest.fixture
def package(tmp_path):
    (tmp_path / "src/pkg/sub").mkdir(parents=True)
    (tmp_path / "src/pkg/mod.py").write_text(MODULE)
    (tmp_path / "src/pkg/sub/__init__.py").write_text("def f():\n    return 1\n")
    return {"root": str(tmp_path), "repository": "https://example.org/tree"}


def shown(html):
    return re.search(r"<code[^>]*>(.*?)</code>", re.sub("</?span[^>]*>", "", html), re.DOTALL)[1].strip()


@pytest.mark.parametrize(
    ("name", "code", "lines"),
    [
        ("pkg.mod.double", "@functools.cache\ndef double(x):\n    return 2 * x", "L10-L17"),
        ("pkg.mod.LIMIT", "LIMIT: int = 3", "L5-L5"),
        ("pkg.mod.NAMES", 'NAMES = ["a",\n         "b"]', "L6-L7"),
        ("pkg.mod.Box.open", "def open(self):\n    return 1", "L27-L29"),
        ("pkg.mod.Box.Lid.color", 'color = "red"', "L32-L32"),
        ("pkg.sub.f", "def f():\n    return 1", "L1-L2"),
    ],
)
def test_source_shows_code_without_docstring_and_links_its_lines(package, name, code, lines):
    html = convert(f"@source {name}", source=package)
    assert shown(html).replace("&quot;", '"') == code
    assert f"#{lines}" in html
    assert f'<p class="source-link">[<code>{name}</code>][{name}] in ' in html


def test_source_full_keeps_docstrings(package):
    assert "Twice x." in convert("@source pkg.mod.double full", source=package)
    assert "A box." in convert("@source pkg.mod.Box full", source=package)
    assert "Open it." not in convert("@source pkg.mod.Box", source=package)


def test_source_stands_in_an_admonition(package):
    html = convert("!!! note\n\n    @source pkg.sub.f\n", source=package)
    assert re.search(r'<div class="admonition note">.*<code>.*</p>\s*</div>', html, re.DOTALL)


def test_source_in_a_fence_or_a_sentence_is_text(package):
    html = convert("```\n@source pkg.none.f\n```\n\nWrite @source pkg.none.f there.", source=package)
    assert html.count("@source pkg.none.f") == 2


@pytest.mark.parametrize("name", ["pkg.mod.nothing", "pkg.mod.Box.nothing", "pkg.nothing.f", "other.f"])
def test_unknown_source_fails(package, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        convert(f"@source {name}", source=package)


def test_source_finds_the_package_itself():
    path, node, _ = find("llmguide.nn.masks.causal_mask")
    assert path == ROOT / "src/llmguide/nn/masks.py"
    assert node.name == "causal_mask"


# ---- math -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Here $x_1$ it $y_2$ is.",
        "- item $x_1$\n- $y_2$",
        "!!! note\n\n    Here $x_1$, $y_2$.",
        "| a |\n| --- |\n| $x_1$ |\n| $y_2$ |",
        "# About $x_1$ and $y_2$",
        "**bold $x_1$** [link $y_2$](https://example.org)",
        "a formula $x_1 +\ny_2$ over\ntwo lines",
    ],
)
def test_formulas_are_rendered_everywhere(text):
    html = convert(text)
    assert html.count('class="katex"') == len(re.findall(r"\$[^$]+\$", text))
    assert "<em>" not in html
    assert "$" not in html


def test_bars_of_a_formula_do_not_part_cells():
    html = convert("| a | b |\n| --- | --- |\n| $|x|$ | $p(x | y)$ |")
    assert html.count("<td") == 2
    assert html.count('class="katex"') == 2


@pytest.mark.parametrize(
    "text", ["It costs $5 and $10.", r"It costs \$5, or \$6.", "`$x$`", "A $ sign and $ another."]
)
def test_money_and_code_are_not_formulas(text):
    html = convert(text)
    assert "katex" not in html
    assert html.count("$") == text.count("$")
    assert "\\" not in html


def test_fenced_code_keeps_its_dollars():
    assert "$x$ $$y$$" in convert("```text\n$x$ $$y$$\n```")


@pytest.mark.parametrize(
    "text", ["$$ a^2 $$", "Text\n$$\na^2\n$$\nmore", "!!! note\n\n    $$\n    a^2\n    $$\n"]
)
def test_display_formula_is_a_block_that_a_keyboard_can_scroll(text):
    html = convert(text)
    assert '<div class="math-display" role="group" aria-label="Formula" tabindex="0">' in html
    assert not re.search(r"<p>[^/]*<div", html)


def test_formula_in_a_heading_leaves_a_readable_id_and_label():
    md = Markdown(extensions=["toc", "site_tools.markdown.math"])
    html = md.convert(r"## The scale $\sqrt{d_k}$")
    assert md.toc_tokens[0]["name"] == r"The scale \sqrt{d_k}"
    assert 'id="the-scale-sqrt-d-k"' in html


def test_stored_value_stands_in_a_formula():
    assert "12\N{MULTIPLICATION SIGN}768" in visible(convert(r"$12 \times {{ 768 = d }}$"))


@pytest.mark.parametrize("text", [r"$\frac{a}$", r"$$\nosuchcommand$$", "$a_b_c$"])
def test_wrong_tex_fails(text):
    with pytest.raises(ValueError, match="wrong TeX in"):
        convert(text)


# ---- computed ---------------------------------------------------------------------------------------


def test_inline_value_carries_its_expression():
    html = convert('It has {{ 1_000 = f"{n_params:_}" }} parameters.')
    assert 'class="computed"' in html
    assert 'title="f&quot;{n_params:_}&quot;"' in html
    assert 'value="1_000">1_000</data>' in html


@pytest.mark.parametrize("text", ["`{{ 1 = 2 }}`", "```\n{{ 1 = 2 }}\n```", "{{x = 2}}", "{{ x }}"])
def test_what_is_no_inline_value_is_left_alone(text):
    assert "<data" not in convert(text)


def test_inline_value_in_a_table_and_a_heading():
    assert convert("| a |\n| --- |\n| {{ 1 = x }} |\n\n## Has {{ 2 = y }}").count("<data") == 2


def test_fact_links_its_source():
    html = convert("A context of [[context-gpt3]].")
    assert 'identifier="brown2020"' in html
    assert 'title="Brown et al., 2020, section 2.1"' in html
    assert ">2,048 tokens</autoref>" in html


def test_unknown_fact_fails():
    with pytest.raises(ValueError, match=r"unknown fact \[\[no-such\]\]"):
        convert("[[no-such]]")


@pytest.mark.parametrize("text", ["`[[no-such]]`", "[[1, 2], [3, 4]]", "[[3.0]]", "[[x]]"])
def test_nested_lists_are_not_facts(text):
    assert "<autoref" not in convert(text)


TABLE = """\
```{.python .table}
table(rows)
```

<!-- output -->

| a |
| --- |
| 1 |

Table: One.

<!-- /output -->

After.
"""


@pytest.mark.parametrize("indent", ["", "    "])
def test_code_of_a_table_is_folded_under_it(indent):
    page = "\n".join(f"{indent}{line}" if line else "" for line in TABLE.split("\n"))
    html = convert(f"!!! note\n\n{page}" if indent else page)
    assert re.search(
        r"</table>.*<details class=\"how\">\s*<summary>How this is computed</summary>.*After", html, re.DOTALL
    )
    assert "<!--" not in html


def test_table_without_output_fails():
    with pytest.raises(ValueError, match=r"no output; run python -m site_tools.cells.run_pages --write"):
        convert("```{.python .table}\ntable(rows)\n```\n\nText.")


def test_cells_keep_their_classes_and_their_text():
    html = convert("```{.python .run}\nx = 1\n```\n\n```{.text .output}\n1 < 2\n```")
    assert re.search(r'<div class="[^"]*\brun\b[^"]*"><pre><span></span><code>', html)
    assert re.search(r'<div class="[^"]*\boutput\b', html)


def test_runs_on_says_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("site_tools.markdown.computed.CACHE", tmp_path)
    (tmp_path / "pages/learn").mkdir(parents=True)
    record = {"cells": 14, "seconds": 2.12, "peak_mb": 300, "torch": "2.13.0"}
    (tmp_path / "pages/learn/x.json").write_text(json.dumps(record))
    expected = "14 cells, 2.1 s, 300 MB on one CPU core, no GPU; torch 2.13.0"
    assert measured("learn/x") == expected
    assert expected in convert("- To run: [[runs-on: learn/x]]")
    with pytest.raises(ValueError, match=r"\[\[runs-on: learn/y\]\]: there is no docs/learn/y.md"):
        convert("[[runs-on: learn/y]]")
    assert "Not measured in this build" in convert("[[runs-on: index]]")


# ---- citations --------------------------------------------------------------------------------------


def test_citation_links_each_work():
    html = convert("So it is [@vaswani2017, section 3.2; @brown2020].")
    assert re.sub("<[^>]+>", "", html) == "So it is (Vaswani et al., 2017, section 3.2; Brown et al., 2020)."
    assert re.findall('identifier="(.*?)"', html) == ["vaswani2017", "brown2020"]


def test_citation_in_code_is_text():
    assert "<autoref" not in convert("`[@nobody1900]`\n\n```\n[@nobody1900]\n```")


@pytest.mark.parametrize(
    "text", ["[@nobody1900]", "- a [@nobody1900, section 1]", "| a |\n| --- |\n| [@nobody1900] |"]
)
def test_unknown_citation_fails(text):
    with pytest.raises(ValueError, match="unknown citation @nobody1900"):
        convert(text)


def test_sources_lists_cited_works_in_order():
    html = convert("By [[context-gpt3]] and [@vaswani2017].\n\n## Sources\n\n@sources\n")
    items = re.findall(r"<li>(.*?)</li>", html, re.DOTALL)
    assert len(items) == 2
    assert '<a href="https://arxiv.org/abs/2005.14165">Language Models are Few-Shot Learners</a>' in items[0]
    assert "1706.03762" in items[1]


def test_sources_of_a_page_that_cites_nothing_fails():
    with pytest.raises(ValueError, match="cites nothing"):
        convert("@sources")


# ---- tables and figures -----------------------------------------------------------------------------


def test_table_has_caption_scopes_and_a_scrollable_frame():
    html = convert(
        "| | a $x$ |\n| --- | --: |\n| **The** | [@vaswani2017] |\n| The | 2 |\n\n"
        "Table: About *it*, $y$.\n\nText."
    )
    frame = re.search(r'<div ([^>]*class="table-scroll"[^>]*)>', html)[1]
    assert 'role="group"' in frame
    assert 'tabindex="0"' in frame
    assert 'aria-labelledby="table-caption-1"' in frame
    assert '<caption id="table-caption-1">About <em>it</em>, ' in html
    assert html.count('scope="col"') == 1
    assert re.search(r'<th scope="row">The</th>', html)
    assert "<td>The</td>" in html
    assert html.count('class="katex"') == 2
    assert "Table:" not in html
    assert html.endswith("<p>Text.</p>")


def test_columns_of_prose_are_marked():
    html = convert("| a | b |\n| --- | --: |\n| a sentence of more than a few words | 2 |\n")
    assert html.count("<col") == 3
    assert '<col class="prose" /><col />' in html.replace("\n", "")
    assert "<col" not in convert("| a | b |\n| --- | --: |\n| few words | 2 |\n")


def test_tables_have_their_own_captions():
    one = "| a |\n| --- |\n| 1 |\n"
    html = convert(f"{one}\nTable: First.\n\n{one}\n{one}\nTable: Third.\n")
    assert re.findall(r'<caption id="table-caption-(\d)">(\w+)', html) == [("1", "First"), ("3", "Third")]
    assert html.count("<table>") == 3
    assert html.count('aria-label="Table"') == 1


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "assets/figures/learn/x"
    folder.mkdir(parents=True)
    (folder / "w.svg").write_text('<svg role="img" aria-label="A"><text>_a_ $b$</text></svg>\n')
    return {"docs": str(tmp_path)}


def test_figure_stands_in_the_page_with_its_caption(docs):
    html = convert(
        "![A](../assets/figures/learn/x/w.svg)\n\nFigure: It, $x$ [@vaswani2017].\n\nText.", figures=docs
    )
    assert '<figure class="computed-figure"><svg role="img" aria-label="A"><text>_a_ $b$</text></svg>' in html
    assert re.search(
        r'<figcaption>It, <span class="math".*</figcaption>\s*</figure>\s*<p>Text.</p>', html, re.DOTALL
    )
    assert "<img" not in html


def test_figure_without_alt_text_fails(docs):
    with pytest.raises(ValueError, match="has no alt text"):
        convert("![](../assets/figures/learn/x/w.svg)", figures=docs)


def test_figure_that_was_not_drawn_fails(docs):
    with pytest.raises(
        ValueError, match=r"v.svg does not exist; python -m site_tools.cells.run_pages draws it"
    ):
        convert("![A](../assets/figures/learn/x/v.svg)", figures=docs)


def test_other_images_are_left_alone(docs):
    assert '<img alt="A" src="x.png"' in convert("![A](x.png)", figures=docs)


# ---- terms ------------------------------------------------------------------------------------------


def linked(html):
    return re.findall(r'identifier="term-([\w-]+)"[^>]*>([^<]+)<', html)


def test_first_mention_of_a_term_is_linked_with_its_definition():
    html = convert("A **bold tokens** text. A token again, and logits.")
    assert linked(html) == [("token", "tokens"), ("logit", "logits")]
    assert re.sub("<[^>]+>", "", html) == "A bold tokens text. A token again, and logits."
    assert 'title="A unit of text' in html


def test_longest_name_wins_and_case_does_not_matter():
    assert linked(convert("The Context Window holds it.")) == [("context-length", "Context Window")]


@pytest.mark.parametrize(
    "text",
    [
        "# Tokens",
        "`tokens`",
        "[tokens](https://example.org)",
        "```\ntokens\n```",
        "| tokens |\n| --- |\n| tokens |\n\nTable: Tokens.",
        '!!! note "Tokens"\n\n    x',
        "subtokens, token-level, tokens_x",
        "$\\text{tokens}$ {{ tokens = x }}",
        "<!-- no-terms -->\n\nTokens",
    ],
)
def test_terms_are_linked_in_running_prose_only(text):
    assert linked(convert(text)) == []


def test_words_around_links_keep_their_order():
    html = convert("One token *two* logit three token four causal mask five.")
    assert re.sub("<[^>]+>", "", html) == "One token two logit three token four causal mask five."
    assert [slug for slug, _ in linked(html)] == ["token", "logit", "causal-mask"]


def test_next_page_starts_afresh():
    md = Markdown(extensions=["site_tools.markdown.terms"])
    assert linked(md.convert("<!-- no-terms -->\n\nTokens")) == []
    assert (
        linked(md.reset().convert("Tokens")) == linked(md.reset().convert("Tokens")) == [("token", "Tokens")]
    )


# ---- names ------------------------------------------------------------------------------------------


def test_names_of_modules_may_break_and_are_shown_whole_in_the_contents():
    md = Markdown(extensions=["attr_list", "toc", "site_tools.markdown.names"])
    html = md.convert("# coding.tab_box { #llmguide.coding.sandbox.browser }\n\n## tab_box in prose")
    assert html.startswith('<h1 id="llmguide.coding.sandbox.browser">coding.<wbr />tab_<wbr />box</h1>')
    assert [entry["name"] for entry in md.toc_tokens] == ["coding.tab_box"]
    assert '<h2 id="tab_box-in-prose">tab_box in prose</h2>' in html
