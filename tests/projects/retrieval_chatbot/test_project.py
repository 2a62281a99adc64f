import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import pytest
from tests.projects.retrieval_chatbot.toy import make_bert, make_world

from llmguide.cli.main import main
from llmguide.projects.retrieval_chatbot import project as retrieval_chatbot
from llmguide.projects.retrieval_chatbot.answer import REFUSAL
from llmguide.projects.retrieval_chatbot.embed import open_embedder
from llmguide.projects.retrieval_chatbot.evaluation import evaluate_answers
from llmguide.projects.retrieval_chatbot.project import Plan, open_index, open_search
from llmguide.projects.retrieval_chatbot.questions import load_questions
from llmguide.projects.retrieval_chatbot.vector_store import Index
from llmguide.projects.run import plan_of


@pytest.fixture(scope="module")
def args(tmp_path_factory):
    """A command for a small world."""
    folder = tmp_path_factory.mktemp("world")
    documents, questions = make_world(folder)
    bert = folder / "bert"
    bert.mkdir()
    make_bert(bert)
    return [
        *("project", "retrieval-chatbot", "--documents", str(documents), "--questions", str(questions)),
        *("--embedder", str(bert)),
    ]


@pytest.fixture(scope="module")
def finished(args, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*args, "--output", str(folder)]) == 0
    return folder


def test_a_run_finds_what_the_words_say_and_passes(finished, results, capsys):
    found = results(finished)
    ways = found["found"]["ways"]
    assert ways["words"]["recall@5"]["score"] > 0.9
    assert ways["chance"]["recall@5"]["score"] < 0.2 < ways["both"]["recall@5"]["score"]
    assert found["said"]["supported"]["score"] == 1.0  # quotations
    assert main(["check", "retrieval-chatbot", str(finished)]) == 0
    assert "passed" in capsys.readouterr().out


def test_an_index_of_other_vectors_fails_whatever_the_record_says(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    plan, embedder = plan_of(Plan, copy), open_embedder(plan_of(Plan, copy).embedder)
    with closing(open_index(plan, copy, embedder)) as index:
        moved = [chunk._replace(start=chunk.start + 1) for chunk in index.chunks()]
        list(index.add(moved, embedder))
    assert main(["check", "retrieval-chatbot", str(copy)]) == 1
    assert "not passed" in capsys.readouterr().out


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_while_it_indexes_it_ends_as_if_it_had_not_been(
    args, finished, tmp_path, results, monkeypatch
):
    program = """
import os, signal, sys
from llmguide.cli.main import main
from llmguide.projects.retrieval_chatbot import vector_store
vector_store.BATCH = 10
add = vector_store.Index.add
def killed(self, *args):
    for n in add(self, *args):
        if n >= 20:
            os.kill(os.getpid(), signal.SIGKILL)
        yield n
vector_store.Index.add = killed
main(sys.argv[1:])
"""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", program, *args, "--output", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    embedded = []
    monkeypatch.setattr(Index, "add", counting(Index.add, embedded))
    assert main([*args, "--output", str(folder)]) == 0
    assert len(embedded) == results(finished)["n_passages"] - 20
    whole, resumed = results(finished), results(folder)
    for found in (whole, resumed):
        found["refused"].pop("gate")  # a passage in another batch is rounded otherwise
    assert resumed == whole


def counting(add, embedded):
    def wrapped(self, chunks, embed):
        def counted(texts):
            embedded.extend(texts)
            return embed(texts)

        return add(self, chunks, counted)

    return wrapped


def test_documents_without_questions_are_refused(args, tmp_path, capsys):
    without = [*args[:4], *args[6:], "--output", str(tmp_path)]
    assert main(without) == 1
    assert "give --questions FILE" in capsys.readouterr().err
    assert not (tmp_path / "vectors").exists()  # it is said before anything is embedded


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "of 0 questions 0 can be asked"),
        (b'[[question]]\ntext = "Why?"\nkind = "far"\n', "at least one must have a quote"),
        (b"\xcf\x00", "not a TOML file"),
    ],
)
def test_questions_that_measure_nothing_are_refused(args, tmp_path, capsys, content, message):
    (tmp_path / "questions.toml").write_bytes(content)
    command = [*args[:5], str(tmp_path / "questions.toml"), *args[6:], "--output", str(tmp_path / "run")]
    assert main(command) == 1
    assert message in capsys.readouterr().err


def test_a_store_that_does_not_answer_is_named(args, tmp_path, capsys):
    assert main([*args, "--store", "http://127.0.0.1:1", "--output", str(tmp_path)]) == 1
    assert "no Qdrant server answers at http://127.0.0.1:1" in capsys.readouterr().err


def test_documents_without_text_are_refused(args, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    command = [*args[:3], str(tmp_path / "empty"), *args[4:], "--output", str(tmp_path / "run")]
    assert main(command) == 1
    assert "hold no text" in capsys.readouterr().err


def test_answers_are_judged_by_what_they_cite_and_by_what_they_say(finished):
    questions = load_questions(plan_of(Plan, finished).questions)
    search, gate = open_search(finished)
    try:
        assert gate == json.loads((finished / "gate.json").read_text())["gate"]

        def right(text, passages):
            return [next(q.quote for q in questions if q.text == text).removesuffix("."), " [1]."]

        found = evaluate_answers(search, questions, right)
        assert found["right"]["score"] == 1.0
        assert found["supported"]["score"] == pytest.approx(
            sum(search(q.text, 1)[0].chunk.text.count(q.quote) for q in questions if q.quote) / found["n"]
        )
        refusals = evaluate_answers(search, questions, lambda *_: [REFUSAL])
        assert refusals["refused"]["score"] == 1.0
        assert refusals["right"]["score"] == 0.0
        assert "supported" not in refusals
        invented = evaluate_answers(search, questions, lambda *_: ["Nobody knows what nobody has said [1]."])
        assert invented["supported"]["score"] == invented["right"]["score"] == 0.0
    finally:
        search.index.close()


def test_the_same_passage_twice_is_indexed_once(tmp_path):
    from llmguide.data.documents import Document  # noqa: PLC0415

    documents = [Document("# A\n\nsame text\n", name, "") for name in ("one", "two")]
    assert [chunk.document for chunk in retrieval_chatbot.passages(documents, Plan())] == ["one"]
