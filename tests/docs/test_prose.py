"""No page uses a term that no context makes right; what needs judgment is listed, and fails nothing."""

import pytest
from site_tools import DOCS, ROOT, page_paths
from site_tools.checks.prose import DOUBTFUL, WRONG, main, terms, warnings

PAGES = page_paths()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_page_uses_no_wrong_term(path):
    assert list(terms(path.read_text(encoding="utf-8"), WRONG)) == []


def test_wrong_term_is_told_with_its_line_and_the_better_word():
    found = list(terms("# Title\n\nA dearer model. The 112 firsts are its signature.", WRONG))
    assert found == [
        "line 3: 'dearer'; better: larger, more expensive",
        "line 3: 'The 112 firsts'; better: minima, signature",
    ]


def test_doubts_are_printed_as_file_line_problem(monkeypatch, capsys):
    path = ROOT / "docs" / "index.md"
    monkeypatch.setattr("sys.argv", ["prose", str(path)])
    monkeypatch.setattr("site_tools.checks.prose.warnings", lambda text: ["line 3: 'a'; better: b"])
    main()
    assert capsys.readouterr().out == "docs/index.md:3: 'a'; better: b\n"


@pytest.mark.parametrize(
    "text",
    [
        "`dearer` is a name",
        "```python\ndearer = 1\n```",
        "[model](dearer.md)",
        "[model][dearer]",
        "[@dearer2020]",
        "{{ 2 = dearer }}",
        "$dearer$",
        "the endearer, the dearer-than",
    ],
)
def test_code_addresses_and_longer_words_are_no_terms(text):
    assert list(terms(text, WRONG)) == []


LONG = "The model " + "reads one more token and " * 8 + "then it stops."


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (LONG, "line 1: 45 words in a sentence: The model reads one"),
        (
            "- It runs.\n- It is here. It\n  waits. It stops.",
            "line 2: three sentences in a row begin with 'it'",
        ),
        ("Count the letters.", "line 1: 'letters'; better: character"),
    ],
)
def test_doubts_are_listed(text, complaint):
    assert [warning[: len(complaint)] for warning in warnings(text)] == [complaint]


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("token and reads", "token. It reads", 1),
        "It runs.\n\nIt is here. It waits.",
        "It runs on by Kaplan et al. It stops. A",
        f"| {LONG} |",
        "`It` a. `It` b. `It` c.",
    ],
)
def test_no_doubt_without_reason(text):
    assert list(warnings(text)) == []


def test_no_term_is_listed_twice():
    assert not WRONG.keys() & DOUBTFUL.keys()
