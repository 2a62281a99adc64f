"""The claims are complete, sourced or computed, and linked with the sections that discuss them."""

import re

import pytest
from markdown import markdown
from site_tools.built.plain_markdown import twin
from site_tools.content.bibliography import cited
from site_tools.content.claims import Claim, all_claims, claim, parse
from site_tools.content.claims_page import compute, places, render, sci, section, tokens
from site_tools.fences import COMPUTED
from site_tools.links import headings

GOOD = '[x]\nconsequence = "detail"\nkind = "wrong"\nclaim = "1 + 1 is 3."\ntruth = "2."\n'


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('claim = "1 + 1 is 3."\n', "", r"\[x\] lacks claim"),
        ("claim", "clam", r"unknown fields clam; .*; did you mean claim\?"),
        ("kind", 'sad = "x"\nkind', "unknown fields sad; known are claim, consequence, kind, truth"),
        ('"wrong"', '"bad"', "'bad' must be one of wrong, misleading, outdated, unproven"),
        ('"detail"', '"some"', "'some' must be one of decision, understanding, detail"),
    ],
)
def test_what_is_wrong_with_an_entry_is_named(old, new, complaint):
    assert len(parse(GOOD)) == 1
    with pytest.raises(ValueError, match=complaint):
        parse(GOOD.replace(old, new))


def test_values_are_computed_and_keep_their_expression():
    assert compute("is {{ = 6 * 7 }}, `{{ = 1 }}`") == "is {{ 42 = 6 * 7 }}, `{{ = 1 }}`"
    assert compute("{{ = preset('gpt2').n_layers }}") == "{{ 12 = preset('gpt2').n_layers }}"


@pytest.mark.parametrize(
    ("truth", "complaint"),
    [
        ("It is [@vaswani2016].", r"unknown citation @vaswani2016; .* vaswani2017\?"),
        ("It is [[context-gtp3]].", r"unknown fact \[\[context-gtp3\]\]; .* context-gpt3\?"),
        ("It is {{ = 1 / 0 }}.", r"\{\{ = 1 / 0 \}\}: ZeroDivisionError: division by zero"),
        ("It is {{ = width }}.", r"\{\{ = width \}\}: NameError: name 'width' is not defined"),
    ],
)
def test_what_is_wrong_with_a_truth_is_named_with_its_claim(truth, complaint):
    entry = Claim("some-key", "detail", "wrong", "1 + 1 is 3.", truth)
    with pytest.raises(ValueError, match=rf"^docs/_data/claims\.toml:\d+: \[some-key\]: {complaint}"):
        section(entry, "page.md#part", "Part")


def test_large_numbers_are_written_as_people_write_them():
    assert (sci(5.76e23, 2), sci(1e20)) == ("5.76\u00a0\u00d7\u00a010²³", "1.0\u00a0\u00d7\u00a010²⁰")


def test_tokens_show_spaces():
    assert tokens("Hello, world!") == "Hello|,|␣world|!"


def test_a_claim_leads_to_the_section_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("site_tools.content.claims_page.DOCS", tmp_path)
    lines = ["# Page", *(f"## Part {i}\n\n@claims {key}" for i, key in enumerate(all_claims()))]
    (tmp_path / "page.md").write_text("\n\n".join(lines))
    found = places(["page.md"])
    assert found[[*all_claims()][1]] == ("page.md#part-1", "Part 1")
    (tmp_path / "page.md").write_text("\n\n".join(lines[:-1]))
    with pytest.raises(ValueError, match=f"no page has `@claims {[*all_claims()][-1]}`"):
        places(["page.md"])
    (tmp_path / "page.md").write_text("\n\n".join([*lines, lines[1]]))
    with pytest.raises(ValueError, match="keep one of them"):
        places(["page.md"])


def test_a_page_links_to_its_claims_and_so_does_its_twin():
    source = "---\ntitle: A\ndescription: B\n---\n# A\n\n@claims weight-tying palm\n"
    html = markdown(source, extensions=["attr_list", "site_tools.markdown.claims"])
    assert '<p class="claims">Common claims that do not hold up: ' in html
    entry = claim("weight-tying")
    assert f"[“{entry.claim}”][claim-weight-tying]" in html
    assert f"[“{entry.claim}”](../claims.md#claim-weight-tying)" in twin(source, "learn/a.md")


def test_an_unknown_claim_is_named_with_the_one_that_was_meant():
    with pytest.raises(ValueError, match=r"@claims weight-tyng: .* did you mean weight-tying\?"):
        claim("weight-tyng")


def test_headings_have_the_ids_of_the_build():
    found = headings("# A *b* `c`\n\n## Same\n\n```\n# no\n```\n\n## Same\n\n### D { #own }\n")
    assert found == {"a-b-c": "A b c", "same": "Same", "same_1": "Same", "own": "D"}


# Definitions, conventions, opinions, and what could not be found: there is nothing to cite.
SELF_EVIDENT = {
    "next-n-words",
    "pattern-matchers",
    "unsupervised",
    "six-stages",
    "keywords",
}


def test_the_truth_has_a_source_or_a_computation():
    unsourced = {
        entry.key
        for entry in all_claims().values()
        if not (cited(entry.truth) or COMPUTED.search(entry.truth))
    }
    assert unsourced == SELF_EVIDENT  # otherwise cite a work or compute a value


def test_each_claim_is_on_the_page_once_ranked_by_consequence():
    page = render()
    found = re.findall(r"^### .* \{ #claim-([\w-]+) \}$", page, re.MULTILINE)
    assert sorted(found) == sorted(all_claims())
    ranks = [["decision", "understanding", "detail"].index(claim(key).consequence) for key in found]
    assert ranks == sorted(ranks)
    assert not re.search(r"\{\{ *= ", page)
