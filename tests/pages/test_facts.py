"""Facts: each entry is complete and has a source, and a page that names a missing one fails."""

import datetime
import tomllib
from itertools import combinations

import pytest
from site_tools import ROOT
from site_tools.content.bibliography import all_works

from llmguide.pages.facts import NAME, all_facts, fact, parse

ENTRY = """
[context-gpt3]
value = 2048
text = "2048"
unit = "tokens"
source = "brown2020"
where = "section 2.1"
checked = 2026-11-24
"""


# Two facts may have one source and one value, if they are about different things.
DISTINCT = {
    ("gptoss-temperature", "gptoss-top-p"),
    ("llama-4-maverick-active", "llama-4-scout-active"),
    ("wmt-gnmt-de", "wmt-transformer-big"),
}


def test_facts_of_one_source_and_value_are_distinct():
    pairs = combinations(sorted(all_facts().values(), key=lambda fact: fact.key), 2)
    alike = {(a.key, b.key) for a, b in pairs if (a.source, a.value) == (b.source, b.value)}
    assert alike == DISTINCT, "merge facts that say the same; name those that do not in DISTINCT"


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
    with pytest.raises(ValueError, match=r"\[context\] is no key like"):
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
        where = rf"^src/llmguide/pages/facts\.toml:10: \[{key}\]"
        with pytest.raises(ValueError, match=f"{where} says the same as"):
            parse(ENTRY + other)
    else:
        assert len(parse(ENTRY + other)) == 2


def test_a_mistake_in_toml_is_named_with_file_and_line():
    with pytest.raises(ValueError, match=r"^src/llmguide/pages/facts.toml:3: Expected '=' after a key"):
        parse("[a-b]\nvalue = 1\nunit tokens\n")
    with pytest.raises(ValueError, match=r"^src/llmguide/pages/facts.toml:1: "):
        parse('a = "')


def test_unknown_fact_says_where_to_add_it():
    with pytest.raises(ValueError, match=r"\[\[no-such\]\]; add it to src/llmguide/pages/facts.toml"):
        fact("no-such")


@pytest.mark.parametrize("entry", all_facts().values(), ids=lambda entry: entry.key)
def test_fact_has_a_source_in_the_bibliography(entry):
    assert entry.source in all_works()
    assert entry.where


def test_facts_were_checked_on_a_day_that_has_been():
    for fields in tomllib.loads((ROOT / NAME).read_text(encoding="utf-8")).values():
        assert fields["checked"] <= datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
