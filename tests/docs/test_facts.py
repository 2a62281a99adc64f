"""Facts and glossary: each entry is complete, and a page that names a missing one fails."""

import datetime
import re
import tomllib

import pytest
from site_tools import DOCS
from site_tools.content import glossary
from site_tools.content.bibliography import all_works
from site_tools.facts import PATH, all_facts, fact, parse
from site_tools.fences import prose_lines

ENTRY = """
[context-gpt3]
value = 2048
text = "2048"
unit = "tokens"
source = "brown2020"
where = "section 2.1"
checked = 2026-11-24
"""


def test_fact_carries_its_text_unit_and_citation():
    entry = parse(ENTRY)["context-gpt3"]
    assert (entry.value, entry.text) == (2048, "2048 tokens")
    assert entry.markdown == "2048 tokens [@brown2020, section 2.1]"


def test_number_without_text_gets_thousands_separators():
    assert parse(ENTRY.replace('text = "2048"\n', "").replace("2048", "175000000000"))[
        "context-gpt3"
    ].text == ("175,000,000,000 tokens")


@pytest.mark.parametrize("field", ["value", "source", "where", "checked"])
def test_missing_field_is_named(field):
    lines = [line for line in ENTRY.split("\n") if not line.startswith(f"{field} =")]
    with pytest.raises(ValueError, match=rf"\[context-gpt3\] lacks {field}"):
        parse("\n".join(lines))


def test_unknown_field_is_named():
    with pytest.raises(ValueError, match="unknown fields sauce"):
        parse(ENTRY.replace("source", "sauce") + 'source = "brown2020"')


def test_key_without_hyphen_is_refused():
    with pytest.raises(ValueError, match=r"\[context\] is not like"):
        parse(ENTRY.replace("context-gpt3", "context"))


@pytest.mark.parametrize(
    ("key", "value", "alike"),
    [
        ("gpt3-context", 2048, True),
        ("gpt3-context", 2049, True),  # a contradiction
        ("context-gpt3-tokens", 2048, True),
        ("context-gpt3-instruct", 4096, False),
        ("width-gpt3", 2048, False),
    ],
)
def test_two_facts_cannot_say_the_same_thing(key, value, alike):
    other = ENTRY.replace("context-gpt3", key).replace("2048", str(value))
    if alike:
        with pytest.raises(ValueError, match=rf"\[context-gpt3\] and \[{key}\] say the same thing"):
            parse(ENTRY + other)
    else:
        assert len(parse(ENTRY + other)) == 2


def test_a_mistake_in_toml_is_named_with_file_and_line():
    with pytest.raises(ValueError, match=r"^docs/_data/facts.toml:3: Expected '=' after a key"):
        parse("[a-b]\nvalue = 1\nunit tokens\n")
    with pytest.raises(ValueError, match=r"^docs/_data/facts.toml:1: "):
        parse('a = "')


def test_unknown_fact_says_where_to_add_it():
    with pytest.raises(ValueError, match=r"\[\[no-such\]\]; add it to docs/_data/facts.toml"):
        fact("no-such")


@pytest.mark.parametrize("entry", all_facts().values(), ids=lambda entry: entry.key)
def test_fact_has_a_source_in_the_bibliography(entry):
    assert entry.source in all_works()
    assert entry.where


def test_facts_were_checked_on_a_day_that_has_been():
    for fields in tomllib.loads(PATH.read_text(encoding="utf-8")).values():
        assert fields["checked"] <= datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)


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
        with pytest.raises(ValueError, match=rf"^glossary\.toml: \[context length\]: {message}"):
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
