"""Glossary: each term is complete and leads to the section that explains it."""

import math
import re

import pytest
import torch
from markdown import markdown
from site_tools import DOCS
from site_tools.content import glossary
from site_tools.fences import outside_code, prose_lines
from site_tools.markdown.math import FORMULA, render, tex_of

TERM = """
["context length"]
definition = "The largest number of tokens."
see = "index.md"
also = ["context window"]
aliases = ["context lengths"]
"""


def test_term_has_an_address():
    term = glossary.parse(TERM)["context length"]
    assert term.names == ("context length", "context window", "context lengths")
    assert term.also == ("context window",)
    assert term.anchor == "term-context-length"


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[token]", r"\[token\] lacks definition, see"),
        ('[token]\ndefinition = "A"\nsee = "index.md"\nalias = []', "unknown fields alias"),
        ('[token]\ndefinition = "A"\nsee = "index.md"\nexamples = "B"', "unknown fields examples"),
        (f'{TERM}\n[window]\ndefinition = "A"\nsee = "index.md"\naliases = ["Context Window"]', "names both"),
    ],
)
def test_broken_term_is_named(toml, message):
    with pytest.raises(ValueError, match=message):
        glossary.parse(toml)


def test_glossary_page_lists_every_term_in_order():
    page = glossary.render()
    terms = glossary.all_terms()
    places = [page.index(f" {name} {{ #{terms[name].anchor} }}") for name in sorted(terms, key=str.lower)]
    assert places == sorted(places)
    assert "no-terms" in page


def test_every_term_names_a_heading_that_explains_it():
    page = glossary.render()
    terms = glossary.all_terms().values()
    assert [term.names[0] for term in terms if "#" not in term.see or f"]({term.see})" not in page] == []


def test_a_term_that_leads_nowhere_is_named(monkeypatch):
    for see, message in (
        (
            "learn/attentio.md#the-formula",
            r"no page docs/learn/attentio\.md; did you mean learn/attention\.md\?",
        ),
        (
            "learn/attention.md#the-formla",
            r"docs/learn/attention\.md has no heading #the-formla; .* the-formula\?",
        ),
    ):
        terms = glossary.parse(TERM.replace('see = "index.md"', f'see = "{see}"'))
        monkeypatch.setattr(glossary, "all_terms", lambda terms=terms: terms)
        with pytest.raises(
            ValueError, match=rf"^docs/_data/glossary\.toml:\d+: \[context length\]: {message}"
        ):
            glossary.render()


def test_addresses_of_terms_are_distinct():
    slugs = [term.slug for term in glossary.all_terms().values()]
    assert len(slugs) == len(set(slugs))


def test_every_symbol_stands_in_a_formula_of_its_page():
    shown = glossary.render()
    for group in glossary.symbol_groups():
        page = (DOCS / group["see"].partition("#")[0]).read_text(encoding="utf-8")
        text = "\n".join(prose_lines(page))
        formulas = re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", text, re.DOTALL)
        for tex, meaning in group["symbols"]:
            symbol = re.compile(rf"(?<![A-Za-z\\]){re.escape(tex)}(?![A-Za-z])")
            assert any(symbol.search(formula) for formula in formulas), (group["title"], tex)
            assert f"| ${tex}$ | {glossary.as_text(tex)} | {meaning} |" in shown


@pytest.mark.parametrize(
    ("tex", "text"),
    [(r"\hat A_t", "A_t"), (r"\pi_\text{ref}", "π_ref, pi_ref"), ("h_{kv}", "h_kv"), (r"\mathrm{KL}", "KL")],
)
def test_symbols_are_found_as_they_are_typed(tex, text):
    assert glossary.as_text(tex) == text


def test_definitions_are_plain_sentences():
    for term in glossary.all_terms().values():
        assert term.definition.endswith("."), term
        assert not set(term.definition) & set("`*[]$\n|"), f"{term.names[0]}: a tooltip shows plain text only"


def test_every_term_has_an_example_with_its_numbers():
    for term in glossary.all_terms().values():
        shown = glossary.example(term)
        assert shown.strip(), term.names[0]
        assert not re.search(r"\{\{ | \}\}", shown), term.names[0]


def test_formulas_of_examples_are_tex_that_renders():
    found = []

    def note(match):
        found.append(render(tex_of(match), display=False))
        return ""

    for term in glossary.all_terms().values():
        rest = outside_code(FORMULA, note)(glossary.example(term))
        assert "$" not in rest, term.names[0]
    assert len(found) > 150
    assert all("katex" in html for html in found)


p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])


# By hand, or by torch.
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("softmax", ", ".join(f"{x:.2f}" for x in torch.tensor([2.0, 1, 0]).softmax(0).tolist())),
        ("KL divergence", f"is {torch.nn.functional.kl_div(q.log(), p, reduction='sum'):.2f} nats"),
        ("KL divergence", f"direction {torch.nn.functional.kl_div(p.log(), q, reduction='sum'):.2f}."),
        ("entropy", f"has {torch.distributions.Categorical(q).entropy() / math.log(2):.2f}."),
        ("GELU", f"GELU(1) is {torch.nn.functional.gelu(torch.tensor(1.0)):.2f},"),
        ("SiLU", f"is ${torch.nn.functional.silu(torch.tensor(-1.0)):.2f}$."),
        ("RMSNorm", f"{torch.nn.functional.rms_norm(torch.tensor([3.0, 4]), (2,))[0]:.2f}, 1.13"),
        ("bfloat16", f"1.01 becomes {torch.tensor(1.01).bfloat16().item()}."),
        (
            "GRPO",
            f"are {torch.tensor([1.0, 1, 0, 0]).sub(0.5).div(torch.tensor([1.0, 1, 0, 0]).std())[0]:.2f}",
        ),
        ("LoRA", "or 65,536 parameters"),  # 8 * 8192
        ("weight tying", "124.4 million"),  # OpenAI calls this model 124M
        ("active parameters", "12.9B of 46.7B"),  # Jiang et al. 2024, abstract: 13B of 47B
        ("KV cache", "128 KiB"),  # 2 * 32 * 8 * 128 * 2 = 131,072
        ("sliding-window attention", "5,905 to 10,000"),  # 4,096 tokens
        ("speculative decoding", "3.36 tokens"),  # 1 + 0.8 + 0.64 + 0.512 + 0.4096
        ("pass@k", "is 0.7."),  # 7 of 10 pairs
        ("nDCG", "is 0.5."),  # 1 / log2(4)
        ("scaling law", "1.94 nats"),  # 1.69 + 0.084 + 0.163
    ],
)
def test_numbers_of_examples(name, part):
    assert part in glossary.example(glossary.all_terms()[name])


def test_a_number_that_cannot_be_computed_is_named():
    toml = TERM.replace('see = "index.md"', "see = 'index.md'\nexample = '{{ 1 / n }}'")
    with pytest.raises(ValueError, match=r"^docs/_data/glossary\.toml:\d+: \[context length\]: NameError"):
        glossary.example(glossary.parse(toml)["context length"])


def test_the_page_shows_the_example_and_the_tooltip_does_not():
    term = glossary.all_terms()["perplexity"]
    assert f"{term.definition}\n\n{glossary.example(term)}\n{{: .example }}\n\nSee [" in glossary.render()
    extensions = ["site_tools.markdown.terms"]
    link = re.findall(
        r"<autoref[^>]*term-perplexity[^>]*>", markdown("Its perplexity.", extensions=extensions)
    )
    assert [f'title="{term.definition}"' in tag for tag in link] == [True]
