"""The Markdown twins say what the pages say, in plain Markdown; llms.txt lists them all."""

import re

import pytest
from site_tools import DOCS, ROOT, page_paths
from site_tools.built.plain_markdown import (
    address,
    config,
    file_name,
    html_path,
    llms_full,
    llms_txt,
    name_twin,
    reference,
    sections,
    twin,
)
from site_tools.content.bibliography import work
from site_tools.fences import fences, outside_code, prose_lines

from llmguide.pages.facts import fact

HEAD = "---\ndescription: What this page is for.\n---\n\n# Title { #anchor }\n\n"


def body(source, page="learn/x.md"):
    return twin(HEAD + source, page).partition("/learn/x/\n\n")[2].rstrip("\n")


def test_a_twin_opens_with_title_description_and_address():
    assert twin(HEAD + "Text.\n", "learn/x.md") == (
        f"# Title\n\n> What this page is for.\n>\n> Page: {config()['site_url']}learn/x/\n\nText.\n"
    )


def test_values_facts_and_citations_are_written_out():
    text = "{{ 42 = 6 * 7 }}, `{{ 1 = 1 }}`, [[context-gpt3]], [@vaswani2017, section 3; @brown2020]"
    paper = work("brown2020").address
    assert body(text) == (
        f"42, `{{{{ 1 = 1 }}}}`, [{fact('context-gpt3').text}]({paper}), ([Vaswani et al., 2017]"
        f"(https://arxiv.org/abs/1706.03762), section 3; [Brown et al., 2020]({paper}))"
    )


def test_sources_are_listed():
    assert body("[@brown2020]\n\n@sources").splitlines()[-1] == f"- {work('brown2020').markdown}"


def test_code_keeps_its_output_and_loses_the_markup():
    text = "```{.python .run}\n1\n```\n\n```{.text .output}\n1\n```"
    assert body(text) == "```python\n1\n```\n\n```output\n1\n```"
    table = "```{.python .table}\nx\n```\n\n<!-- output -->\n\n| a |\n| - |\n\n<!-- /output -->"
    assert body(table) == "```python\nx\n```\n\n| a |\n| - |"


FOLDED = """\
??? question "1. Why?"
    Because.

    ??? success "Solution"
        ```{.python .run}
        1
        ```

After."""


def test_folded_blocks_become_quotations_also_inside_each_other():
    assert body(FOLDED) == (
        "> **1. Why?**\n>\n> Because.\n>\n> > **Solution**\n> >\n> > ```python\n> > 1\n> > ```\n>\n\nAfter."
    )


def test_included_code_and_its_links():
    assert "From src/llmguide/nn/masks.py:\n\n```python\ndef causal_mask(" in body(
        "@source llmguide.nn.masks.causal_mask"
    )
    assert body("[`f`][llmguide.nn.masks.causal_mask]") == "[`f`](../reference/nn/masks.md)"
    assert reference("llmguide.nn.attention.attention") == "reference/nn/attention.md"
    assert reference("llmguide.nothing") == "reference/index.md"
    source = (ROOT / "src/llmguide/nn/masks.py").read_text(encoding="utf-8").strip()
    assert source in body("::: llmguide.nn.masks")


def test_the_html_page_names_its_twin_once():
    html = name_twin("<head></head>", "learn/x.md")
    assert html == name_twin(html, "learn/x.md")
    assert 'type="text/markdown" href="../x.md"' in html
    assert 'href="index.md"' in name_twin("<head></head>", "reference/index.md")


@pytest.mark.parametrize(
    ("page", "html", "url"),
    [
        ("index.md", "index.html", ""),
        ("a/index.md", "a/index.html", "a/"),
        ("a/b.md", "a/b/index.html", "a/b/"),
    ],
)
def test_addresses(page, html, url):
    assert html_path(page) == html
    assert address(page) == config()["site_url"] + url


PAGES = [path for path in page_paths() if path.relative_to(DOCS).parts[0] != "reference"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_nothing_of_the_markup_is_left(path):
    page = path.relative_to(DOCS).as_posix()
    source = path.read_text(encoding="utf-8").replace("[[runs-on:", "[[runs on:")  # needs a run of the page
    text = twin(source, page)
    included = source.count("@source ") + 2 * source.count("@exercise ")  # what to complete, and a solution
    assert len(fences(text)) <= len(fences(source)) + included
    markup = re.compile(
        r"\{\{|\[@|^@sources?|<!--|^ *(?:!!!|\?\?\?)|\]\[llmguide|<div|:::|\{ [.#]", re.MULTILINE
    )
    found = []
    outside_code(markup, lambda match: found.append(match[0]) or "")("\n".join(prose_lines(text)))
    assert found == []


def test_llms_txt_lists_every_page_of_the_navigation():
    pages = [page for group in sections().values() for page in group]
    twins = {page: f"# T {page}\n\n> About {page}.\n" for page in pages}
    listed = re.findall(r"^- \[T (.*)\]\((.*)\): About ", llms_txt(twins), re.MULTILINE)
    assert listed == [(page, config()["site_url"] + file_name(page)) for page in pages]
    assert llms_txt(twins).startswith(f"# {config()['site_name']}\n\n> ")
    assert "## Optional" in llms_txt(twins)
    full = llms_full(twins)
    assert "# T learn/attention.md" in full
    assert "# T reference/index.md" not in full


def test_every_page_of_the_site_has_a_twin_whose_links_lead_on():
    site = ROOT / "site"
    assert (site / "llms.txt").is_file(), "there is no site/ with twins to test; build it first: make site"
    for page in (page for group in sections().values() for page in group):
        assert 'type="text/markdown"' in (site / html_path(page)).read_text(encoding="utf-8")
        source = (site / file_name(page)).read_text(encoding="utf-8")
        text = re.sub(r"`[^`\n]*`", "", "\n".join(prose_lines(source)))
        for target in re.findall(r"\]\((?!https?:)([\w./-]+\.(?:ipynb|md|svg))(?:#[^)]*)?\)", text):
            assert ((site / page).parent / target).is_file(), f"{page}: {target}"
