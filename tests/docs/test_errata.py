"""The errata are complete, sourced or computed, and lead to places that exist."""

import re
from dataclasses import replace

import pytest
from tools.bibliography import cited
from tools.errata import PATH, compute, headings, parse, pieces, place, render, sci
from tools.fences import COMPUTED

_, ENTRIES = parse(PATH.read_text(encoding="utf-8"))
GOOD = '[chapters]\n"A" = "a.md"\n\n[x]\nchapter = "A"\nkind = "wrong"\nsaid = "1 + 1 is 3."\ntruth = "2."\n'


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('said = "1 + 1 is 3."\n', "", r"\[x\] lacks said"),
        ("said", "sad", "lacks said"),
        ("kind", 'sad = "x"\nkind', "unknown fields sad"),
        ('"wrong"', '"bad"', "'bad' must be one of wrong, misleading, outdated, unproven"),
        ('chapter = "A"', 'chapter = "B"', "'B' must be one of A"),
    ],
)
def test_what_is_wrong_with_an_entry_is_named(old, new, complaint):
    assert len(parse(GOOD)[1]) == 1
    with pytest.raises(ValueError, match=complaint):
        parse(GOOD.replace(old, new))


def test_values_are_computed_and_keep_their_expression():
    assert compute("is {{ = 6 * 7 }}, `{{ = 1 }}`") == "is {{ 42 = 6 * 7 }}, `{{ = 1 }}`"
    assert compute("{{ = preset('gpt2').n_layers }}") == "{{ 12 = preset('gpt2').n_layers }}"


def test_large_numbers_are_written_as_people_write_them():
    assert (sci(5.76e23, 2), sci(1e20)) == ("5.76\u00a0\u00d7\u00a010²³", "1.0\u00a0\u00d7\u00a010²⁰")


def test_pieces_show_spaces():
    assert pieces("Hello, world!") == "Hello|,|␣world|!"


@pytest.mark.parametrize(
    ("where", "link"),
    [
        ("", " See [The attention mechanism](learn/attention.md)."),
        ("learn/attention.md#the-formula", " See [The formula](learn/attention.md#the-formula)."),
    ],
)
def test_the_link_is_named_by_where_it_leads(where, link):
    assert place(replace(ENTRIES[0], where=where), "learn/attention.md") == link


def test_a_chapter_without_a_page_has_no_link():
    assert place(replace(ENTRIES[0], where=""), "learn/nothing.md") == ""


@pytest.mark.parametrize(
    ("where", "complaint"),
    [("nothing.md", "there is no such page"), ("learn/attention.md#nothing", "no heading has this id")],
)
def test_a_place_that_does_not_exist_is_named(where, complaint):
    with pytest.raises(ValueError, match=complaint):
        place(replace(ENTRIES[0], where=where), "")


def test_headings_have_the_ids_of_the_build():
    found = headings("# A *b* `c`\n\n## Same\n\n```\n# no\n```\n\n## Same\n\n### D { #own }\n")
    assert found == {"a-b-c": "A b c", "same": "Same", "same_1": "Same", "own": "D"}


# Definitions, conventions, opinions, and what could not be found: there is nothing to cite.
SELF_EVIDENT = {
    *("int-06", "int-26", "att-06", "pre-01", "res-02", "res-03", "res-05", "cod-01", "cod-05", "alg-01"),
    *("alg-03", "prj-12"),
}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)
def test_the_truth_has_a_source_or_a_computation(entry):
    facts = re.findall(r"\[\[.*?\]\]", entry.truth)
    if not (cited(entry.truth) or facts or COMPUTED.search(entry.truth)):
        assert entry.key in SELF_EVIDENT, f"{entry.key}: cite a work or compute a value"


def test_the_list_covers_what_was_found():
    kinds = [entry.kind for entry in ENTRIES]
    assert len(ENTRIES) >= 150
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "misleading": 63,
        "outdated": 37,
        "unproven": 4,
        "wrong": 50,
    }
    said = {entry.key: entry.said + entry.truth for entry in ENTRIES}
    assert "2309.16039" in said["con-34"]
    assert "GPT-Neo" in said["trf-23"]


def test_each_entry_is_on_the_page_once():
    page = render()
    assert sorted(re.findall(r'class="erratum" id="([\w-]+)"', page)) == sorted(e.key for e in ENTRIES)
    assert not re.search(r"\{\{ *= ", page)
