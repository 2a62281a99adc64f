import gzip
import io
import json
import os
import sys
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.data import documents
from llmguide.data.documents import LIMIT, Document, Unread, find_files, read, read_file

TEXTS = ["First text.\n", "Zweiter, mit Ümläuten.", "第三\n\nund mehr"]


def split(items):
    items = list(items)
    texts = [item.text for item in items if isinstance(item, Document)]
    return texts, [(item.reason, item.where) for item in items if isinstance(item, Unread)]


def json_lines(texts):
    return "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts).encode()


def parquet(texts, column="text", compression="snappy"):
    file = io.BytesIO()
    pq.write_table(pa.table({column: texts, "n": list(range(len(texts)))}), file, compression=compression)
    return file.getvalue()


# By hand


FILES = {
    "x.txt": (TEXTS[2].encode(), TEXTS[2:]),
    "x.py": (b"print()\n", ["print()\n"]),
    "bom.md": (b"\xef\xbb\xbfText", ["Text"]),
    "x.txt.gz": (gzip.compress(TEXTS[1].encode()), TEXTS[1:2]),
    "x.jsonl": (json_lines(TEXTS), TEXTS),
    "x.ndjson": (json_lines(TEXTS).rstrip(b"\n"), TEXTS),
    "c4-train.json.gz": (gzip.compress(json_lines(TEXTS)), TEXTS),
    "x.parquet": (parquet(TEXTS * 50), TEXTS * 50),
}


@pytest.mark.parametrize("name", FILES)  # the time of compression must not be part of a test's name
def test_every_kind_is_read(tmp_path, name):
    content, expected = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    items = list(read_file(path))
    assert split(items) == (expected, [])
    assert len({item.id for item in items}) == len(items)
    assert all(item.id.startswith(item.source) and item.source.startswith(str(path)) for item in items)


def test_another_field(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"content": "yes", "text": "no"}')
    (tmp_path / "b.parquet").write_bytes(parquet(["also"], "content"))
    assert [d.text for d in read(tmp_path, text_field="content")] == ["yes", "also"]


def test_folders_are_sorted_and_hidden_files_passed_over(tmp_path):
    for name in "b.txt", "a.txt", ".git/config", "sub/.hidden", "sub/c.txt", "sub/__pycache__/c.pyc":
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [d.text for d in read(tmp_path)] == ["a.txt", "b.txt", "sub/c.txt"]
    # each file once, and a hidden one that is asked for
    paths = [tmp_path / "b.txt", str(tmp_path), tmp_path / ".git/config"]
    assert [d.text for d in read(paths)] == ["b.txt", "a.txt", "sub/c.txt", ".git/config"]


def test_a_missing_path_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.*does not exist"):
        find_files(tmp_path / "nothing")


# What cannot be read


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"", "empty"),
        ("x.txt", b" \n\t\n", "empty"),
        ("x.jsonl", b"", "empty"),
        ("x.parquet", parquet([]), "empty"),
        ("x.txt", b"text\0text", "binary: a NUL byte"),
        ("utf16.txt", "text".encode("utf-16"), "binary: a NUL byte"),
        ("latin.txt", "Größe".encode("latin-1"), "not UTF-8"),
        ("cut.txt", "Größ".encode()[:-1], "not UTF-8"),
        ("x.gz", b"no gzip at all", "damaged or cut off"),
        ("x.zip", b"PK", "archive: unpack it first"),
        ("x.tar", b"", "archive: unpack it first"),
        ("x.tar.gz", b"", "archive: unpack it first"),
        ("X.TGZ", b"", "archive: unpack it first"),
        ("x.parquet", b"PAR1 no parquet at all", "damaged or cut off"),
        ("x.parquet", b"", "damaged or cut off"),
        ("x.parquet", parquet(TEXTS, "content"), "no text"),
    ],
)
def test_an_unreadable_file_gives_its_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    assert split(read_file(path)) == ([], [(reason, str(path))])


def test_bad_lines_are_told_by_number_and_the_rest_is_read(tmp_path):
    path = tmp_path / "x.jsonl"
    lines = [
        b'{"text": "good"}',
        b'{"text": "cut o',
        b"",
        b'["a list"]',
        b'{"text": 5}',
        b'{"text": ""}',
        b'{"text": "\\ud800"}',
        b'{"text": "\\u0000"}',
        b'{"text": "Gr\xf6\xdfe"}',
        b"[" * 100_000,
        b'{"text": "pair \\ud83d\\ude00"}',
    ]
    path.write_bytes(b"\n".join(lines))
    texts, unread = split(read_file(path))
    assert texts == ["good", "pair 😀"]
    reasons = {
        2: "broken JSON",
        4: "no text",
        5: "no text",
        6: "empty",
        7: "lone surrogate",
        8: "binary: a NUL byte",
        9: "not UTF-8",
        10: "broken JSON",
    }
    assert unread == [(reason, f"{path}:{line}") for line, reason in reasons.items()]


def test_null_rows_are_told(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet(["a", None, "b"]))
    assert split(read_file(path)) == (["a", "b"], [("no text", f"{path}:2")])


def test_what_came_before_a_cut_is_kept(tmp_path):
    texts = [os.urandom(600).hex() for _ in range(100)]
    content = gzip.compress(json_lines(texts))
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(content[: len(content) // 2])
    read_texts, unread = split(read_file(path))
    assert 20 < len(read_texts) < 80
    assert read_texts == texts[: len(read_texts)]
    assert [reason for reason, _ in unread][-1] == "damaged or cut off"


@pytest.mark.skipif(os.name != "posix", reason="names as bytes")
def test_a_name_that_is_no_text_makes_a_printable_id(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.txt"
    with open(path, "w") as file:  # noqa: PTH123  # pathlib takes no bytes
        file.write("text")
    (document,) = read(tmp_path)
    assert document.text == "text"
    assert document.id.encode().decode() == document.id  # no lone surrogate, which encode() refuses


# Bounds


def peak(paths):
    tracemalloc.start()
    n = sum(len(d.text) for d in read(paths))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return n, most


def test_a_long_text_is_split_at_blank_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "LIMIT", 1000)
    monkeypatch.setattr(documents, "_BLOCK", 300)
    paragraphs = [("word " * 60).strip() + f" {i}.\n\n" for i in range(20)]
    path = tmp_path / "long.txt"
    path.write_text("".join(paragraphs))
    parts = list(read_file(path))
    assert "".join(part.text for part in parts) == "".join(paragraphs)
    assert len(parts) > 5
    assert all(part.text.endswith(".\n\n") and len(part.text) <= 1300 for part in parts)
    assert [part.id for part in parts[:2]] == [str(path), f"{path}#1"]


@given(st.text(alphabet="aä語😀 \n", max_size=400), st.integers(1, 50), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_the_parts_of_a_text_are_the_text(tmp_path_factory, text, limit, block):
    path = tmp_path_factory.mktemp("parts") / "x.txt"
    path.write_text(text, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "LIMIT", limit)
        patch.setattr(documents, "_BLOCK", block)
        parts, _ = split(read_file(path))
    blanks = str.maketrans("", "", " \n")
    assert "".join(parts).translate(blanks) == text.translate(blanks)


def test_one_line_of_50_megabytes_takes_bounded_memory(tmp_path):
    line = b"x" * 50_000_000
    (tmp_path / "a.txt").write_bytes(line)
    assert peak(tmp_path / "a.txt")[0] == len(line)
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "before"}\n{"text": "' + line + b'"}\n{"text": "after"}')
    unread = []
    assert [d.text for d in read(tmp_path / "b.jsonl", on_unread=unread.append)] == ["before", "after"]
    assert unread == [Unread("longer than 16 MiB", f"{tmp_path / 'b.jsonl'}:2")]
    assert max(peak(tmp_path / "a.txt")[1], peak(tmp_path / "b.jsonl")[1]) < 5 * LIMIT


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_only_a_column_of_texts_is_read(tmp_path):
    pq.write_table(pa.table({"text": [["a"], ["b"]]}), tmp_path / "a.parquet")
    path = tmp_path / "a.parquet"
    assert split(read_file(path)) == ([], [("no text", f"{path}:1"), ("no text", f"{path}:2")])


def test_a_missing_column_names_those_that_there_are(tmp_path):
    (tmp_path / "a.parquet").write_bytes(parquet(TEXTS, "content"))
    (unread,) = read_file(tmp_path / "a.parquet")
    assert unread.detail == "columns: content, n"


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(parquet(TEXTS))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"a\.parquet needs pyarrow: pip install .llmguide\[data\]"):
        list(read(tmp_path))


def test_memory_does_not_grow_with_the_file(tmp_path):
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    line = json_lines(["some words " * 50])
    small.write_bytes(line * 100)
    large.write_bytes(line * 2000)
    assert peak(large)[0] == 20 * peak(small)[0]
    assert peak(large)[1] < 1.5 * peak(small)[1]


@given(st.binary(max_size=300), st.sampled_from(["txt", "jsonl", "gz", "zip", "tar", "tgz", "parquet"]))
@settings(max_examples=100, deadline=None)
def test_no_bytes_raise(tmp_path_factory, content, kind):
    path = tmp_path_factory.mktemp("any") / f"x.{kind}"
    path.write_bytes(content)
    assert list(read_file(path)) == list(read_file(path))
