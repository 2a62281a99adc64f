"""The bibliography is complete, correct, and cited."""

import re
import urllib.error
import urllib.request
import warnings
from xml.etree import ElementTree

import pytest
from site_tools import DATA, page_paths
from site_tools.content.bibliography import PATH, all_works, cited, citing_pages, parse, render, work

from llmguide.pages.facts import all_facts

TITLES = dict(
    line.split("\t") for line in (DATA / "arxiv_titles.tsv").read_text(encoding="utf-8").splitlines()
)
ARXIV = {entry.arxiv: entry.title for entry in all_works().values() if entry.arxiv}
ENTRY = """@misc{one2020, title = {{BERT} and  {You}}, author = {Van der Berg, Ann and {Open Lab} and Ö, Å},
  year = {2020}, eprint = {2001.00001}, annote = {Why.}}"""


def test_entry_is_read():
    entry = parse(ENTRY)["one2020"]
    assert entry.title == "BERT and You"
    assert entry.authors == ("Ann Van der Berg", "Open Lab", "Å Ö")
    assert entry.label == "Van der Berg et al., 2020"
    assert entry.address == "https://arxiv.org/abs/2001.00001"


@pytest.mark.parametrize(
    ("author", "label"),
    [("A, B", "A, 2020"), ("A, B and C, D", "A and C, 2020"), ("{Open Lab}", "Open Lab, 2020")],
)
def test_label_counts_authors(author, label):
    assert parse(re.sub("author = {.*},", f"author = {{{author}}},", ENTRY))["one2020"].label == label


def test_works_with_the_same_authors_and_year_get_letters_by_title():
    second = ENTRY.replace("one2020", "two2020").replace("{BERT} and  {You}", "A Title")
    third = second.replace("two2020", "three2021").replace("{2020}", "{2021}")
    assert {key: entry.year for key, entry in parse(f"{ENTRY}\n{second}\n{third}").items()} == {
        "one2020": "2020b",
        "two2020": "2020a",
        "three2021": "2021",
    }


def test_labels_are_distinct():
    labels = [entry.label for entry in all_works().values()]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("field", ["title", "author", "year", "annote", "eprint"])
def test_missing_field_is_named(field):
    with pytest.raises(ValueError, match=f"one2020 lacks {field}"):
        parse(ENTRY.replace(f"{field} =", "note ="))


def test_unknown_work_says_where_to_add_it():
    with pytest.raises(ValueError, match=r"@nobody1900; add it to docs/_data/references\.bib"):
        work("nobody1900")


def test_cited_works_come_in_order_and_not_from_code():
    code = "`[@a2000]`\n\n```\n[@b2000]\n```\n\n"
    text = f"[@vaswani2017, section 3; @brown2020] {code} [[context-gpt3]] [@vaswani2017]"
    assert cited(text) == ["vaswani2017", "brown2020"]
    assert cited("[[context-gpt3]]") == ["brown2020"]


def test_arxiv_titles_are_those_that_were_checked():
    assert ARXIV == TITLES


def test_arxiv_ids_are_distinct_and_well_formed():
    ids = re.findall(r"eprint\s*=\s*\{(.*?)\}", PATH.read_text(encoding="utf-8"))
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}", number) for number in ids)


def test_every_cited_work_exists():
    assert set(citing_pages(page_paths())) <= set(all_works())


def test_every_work_is_cited_or_of_general_interest():
    used = set(citing_pages(page_paths())) | {entry.source for entry in all_facts().values()}
    assert [key for key, entry in all_works().items() if key not in used and not entry.general] == []


def test_page_has_one_anchor_for_each_work():
    anchors = re.findall(r"\{ #(\w[\w-]*) \}$", render(), re.MULTILINE)
    assert sorted(anchors) == sorted(all_works())


@pytest.mark.network
def test_arxiv_agrees():
    """Titles as arXiv has them today, spaces and capitals apart."""
    address = f"https://export.arxiv.org/api/query?max_results={len(ARXIV)}&id_list={','.join(ARXIV)}"
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            feed = ElementTree.fromstring(answer.read())
    except (urllib.error.URLError, TimeoutError) as error:
        warnings.warn(f"titles were NOT compared with arXiv: {error}", stacklevel=1)
        pytest.skip(f"export.arxiv.org cannot be reached: {error}")
    atom = "{http://www.w3.org/2005/Atom}"
    found = {
        re.sub(r"v\d+$", "", entry.findtext(f"{atom}id", "").partition("/abs/")[2]): entry.findtext(
            f"{atom}title", ""
        )
        for entry in feed.iter(f"{atom}entry")
    }
    assert {key: _folded(title) for key, title in found.items()} == {
        key: _folded(t) for key, t in ARXIV.items()
    }


def _folded(title):
    return " ".join(title.split()).casefold()
