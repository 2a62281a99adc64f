import json
import os
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError
from itertools import islice
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.data import corpora
from llmguide.data.corpora import Corpus, load_corpus, passages, standard_library
from llmguide.data.documents import Document
from llmguide.data.splits import in_validation


def texts(corpus) -> list[str]:
    return [document.text for document in corpus]


# By hand


def test_the_default_is_the_speeches():
    corpus = load_corpus()
    documents = list(corpus)
    assert (corpus.name, len(documents)) == ("State of the Union addresses", 249)
    assert corpus.license.startswith("public domain")
    assert documents[0].id == "1790-Washington-1"
    assert documents[0].text.startswith("Fellow-Citizens of the Senate and House of Representatives")
    assert sum(len(document.text) for document in documents) > 12_000_000
    assert list(corpus) == documents  # can be read again


def test_without_the_package_it_is_the_standard_library(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(corpora, "distribution", missing)
    corpus = load_corpus()
    assert (corpus.name, corpus.license) == ("Python standard library", "PSF-2.0")
    found = {document.id: document.text for document in islice(corpus, 400)}
    assert "truth value" in found["topics/booleans"]
    assert "class JSONDecoder" in {d.id: d.text for d in standard_library()}["json/decoder.py"]
    assert not [name for name in found if "test" in name.split("/")]


def test_a_damaged_speech_is_named(tmp_path):
    (tmp_path / "speeches").mkdir()
    (tmp_path / "speeches" / "one.txt").write_text("changed")
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"one": {"parsed_text_sha256": "0" * 64}}}))
    with pytest.raises(ValueError, match="speech one is damaged"):
        list(corpora.speeches(tmp_path))


def test_files_and_folders(tmp_path):
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.jsonl").write_text('{"text": "second"}\n{"text": "third"}\n')
    assert texts(load_corpus(tmp_path)) == ["first", "second", "third"]
    names = [document.id for document in load_corpus(str(tmp_path))]
    assert names == ["a.txt", f"sub{os.sep}b.jsonl:1", f"sub{os.sep}b.jsonl:2"]
    assert texts(load_corpus(tmp_path / "sub" / "b.jsonl")) == ["second", "third"]


def test_one_file_of_text_is_cut_into_passages(tmp_path):
    page = "A line.\n" * 300 + "\n"  # 2401 characters, a blank line at the end
    (tmp_path / "book.txt").write_text(page * 10)
    documents = list(load_corpus(tmp_path / "book.txt"))
    assert [document.id for document in documents] == [f"book.txt#{i}" for i in range(5)]
    assert texts(documents) == [page * 2] * 5  # 4,000 characters are reached in the second page
    assert texts(load_corpus(tmp_path)) == [page * 10]  # in a folder, files are the documents


def test_what_was_not_read_is_reported(tmp_path):
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00binary\x00")
    with pytest.warns(UserWarning, match=r"1 files, lines or rows were not read: .*\(1\)"):
        assert texts(load_corpus(tmp_path)) == ["first"]


# The split


@given(st.lists(st.text(max_size=6), unique=True), st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_each_document_is_on_one_side_whatever_the_order(names, share):
    def corpus(ids):
        return Corpus("", "", "", lambda: (Document("", name, "") for name in ids))

    sides = {s: [d.id for d in corpus(names).part(s, validation=share)] for s in ("train", "validation")}
    assert Counter(sides["train"] + sides["validation"]) == Counter(names)
    backwards = [d.id for d in corpus(names[::-1]).part("validation", validation=share)]
    assert backwards == sides["validation"][::-1]
    more = {d.id for d in corpus(names).part("validation", validation=min(0.995, share * 1.5))}
    assert more >= set(sides["validation"])


def test_the_share_is_kept():
    held_out = sum(in_validation(f"document {i}") for i in range(20_000))
    assert held_out == pytest.approx(1000, abs=5 * (20_000 * 0.05 * 0.95) ** 0.5)


def test_the_split_does_not_depend_on_where_the_folder_is(tmp_path, monkeypatch):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for i in range(40):
            (tmp_path / folder / f"{i}.txt").write_text(f"text {i}")
    monkeypatch.chdir(tmp_path / "one")
    sides = [
        texts(load_corpus(where, split="validation", validation=0.3)) for where in (".", tmp_path / "two")
    ]
    assert sides[0] == sides[1]
    assert 3 < len(sides[0]) < 25


@pytest.mark.parametrize("share", [0.0, 1.0, -1, float("nan")])
def test_the_share_is_a_share(share):
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        load_corpus(split="train", validation=share)


@given(st.text(alphabet="ab \r\n", max_size=60), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_passages_are_the_text(text, size):
    found = texts(passages(Document(text, "id", "")))
    assert "".join(found) == text
    found = texts(passages(Document(text, "id", ""), size))
    assert "".join(found) == text
    assert all(size <= len(part) <= 3 * size for part in found[:-1])
    assert not found or len(found[-1]) <= 3 * size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\r\n\r\ntwo\r\n\r\nsix", ["one\r\n\r\n", "two\r\n\r\n", "six"]),  # a file from Windows
        ("Ann\nBob\nCyd\nDan\nEve\nFay\n", ["Ann\n", "Bob\n", "Cyd\n", "Dan\nEve\nFay\n"]),  # a list
        ("to be or not to be", ["to be ", "or not to be"]),  # one line
        ("x" * 30, ["x" * 12, "x" * 12, "x" * 6]),  # not even a word
    ],
)
def test_text_without_blank_lines_is_cut_all_the_same(text, expected):
    assert texts(passages(Document(text, "id", ""), size=4)) == expected


# Canonical texts


def test_tiny_shakespeare_falls_back_with_a_warning(tmp_path, monkeypatch):
    def offline(name):
        raise ConnectionError(f"{name}: no network")

    monkeypatch.setattr(corpora, "canonical_file", offline)
    with pytest.warns(UserWarning, match=r"using 'State of the Union addresses' instead .* no network"):
        assert load_corpus("tinyshakespeare").name == "State of the Union addresses"
    (tmp_path / "copy").write_text("ROMEO:\nI dream'd a dream to-night.\n")
    monkeypatch.setattr(corpora, "canonical_file", lambda _: tmp_path / "copy")
    assert texts(load_corpus("tinyshakespeare")) == ["ROMEO:\nI dream'd a dream to-night.\n"]


# The hub


def stub_hub(monkeypatch, rows=(), error=None, unreachable=None):
    calls = []

    def snapshot_download(*_, **__):
        if unreachable:
            raise unreachable

    def load_dataset(*arguments, **options):
        calls.append((*arguments, options))
        if error:
            raise error
        return iter(rows)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return calls


def test_a_data_set_of_the_hub_is_streamed(monkeypatch):
    calls = stub_hub(monkeypatch, [{"text": "one", "id": "x"}, {"text": "two", "id": None}])
    documents = list(load_corpus("owner/name:config:test"))
    assert [(d.text, d.id) for d in documents] == [("one", "x"), ("two", "owner/name:config:test#1")]
    list(load_corpus("owner/name"))
    assert calls == [
        ("owner/name", "config", {"split": "test", "streaming": True}),
        ("owner/name", None, {"split": "train", "streaming": True}),
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"content": "c", "path": "p"}, "c"),
        ({"story": "s", "n": 1}, "s"),
        ({"text": "t", "content": "c"}, "t"),
        ({"text": None, "url": "u"}, ""),
    ],
)
def test_the_column_of_text_is_found(monkeypatch, row, text):
    stub_hub(monkeypatch, [row])
    assert texts(load_corpus("owner/name")) == [text]


@pytest.mark.parametrize("row", [{"question": "q", "answer": "a"}, {"n": 1}, {}])
def test_an_ambiguous_column_is_refused(monkeypatch, row):
    stub_hub(monkeypatch, [row])
    with pytest.raises(ValueError, match="none of which is called text or content"):
        list(load_corpus("owner/name"))


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    stub_hub(monkeypatch, error=ConnectionError("Couldn't reach the Hub"))
    with pytest.raises(ConnectionError, match="give the path of a copy, or no source"):
        list(load_corpus("owner/name"))


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    calls = stub_hub(monkeypatch, unreachable=FileNotFoundError("Cannot find the requested files"))
    with pytest.raises(ConnectionError, match="'owner/name' is not a file or folder, and as a data set"):
        list(load_corpus("owner/name"))
    assert not calls


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RuntimeError, match=r'pip install "llmguide\[data\]"'):
        load_corpus("owner/name")


@pytest.mark.parametrize(
    "source", ["missing.txt", "data/missing.txt", "data/missing", "", "a b/c", "owner/name:a:b:c"]
)
def test_what_is_no_source_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="is not a file or folder"):
        load_corpus(source)
