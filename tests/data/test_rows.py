"""Every kind of file, a folder and the hub give the same rows; what is no row is named."""

import csv
import gzip
import json
import os
from threading import Thread

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmguide.data.rows import read_rows
from llmguide.post_training.datasets import conversations

ROWS = [
    {"prompt": 'Hi, "you"\u2028é', "messages": [{"role": "user", "content": "a\nb"}]},
    {"prompt": "[1", "messages": [{"role": "assistant", "content": "c", "name": "d"}]},
]
CALL = {"function": {"name": "f", "arguments": {"a": 1}}}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write(folder, name):
    path = folder / name
    lines = "\n\n".join(map(json.dumps, ROWS)).encode()
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif name.endswith(".csv"):
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ["prompt", "messages"])
            writer.writeheader()
            writer.writerows(row | {"messages": json.dumps(row["messages"])} for row in ROWS)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines))
    else:
        path.write_bytes(json.dumps(ROWS, indent=2).encode() if name.startswith("list") else lines)
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.txt", "lines.json", "list.json", "list.jsonl", "a.csv", "a.parquet"]
)
def test_every_kind_of_file(name, tmp_path):
    path = write(tmp_path, name)
    found = list(read_rows(path))
    assert [row for _, row in found] == ROWS
    is_lines = name not in ("list.json", "list.jsonl", "a.csv", "a.parquet")
    assert found[1][0] == (f"{path}, line 3" if is_lines else f"{path}, row 2")


def test_an_object_over_many_lines_is_a_row(tmp_path):
    (tmp_path / "talk.json").write_text(json.dumps(ROWS[0], indent=2))
    assert [row for _, row in read_rows(tmp_path / "talk.json")] == ROWS[:1]


def test_a_cell_of_a_csv_is_a_text_unless_it_is_a_list_of_objects(tmp_path):
    cells = ["[1, 2]", "[]", '["a"]', '[{"a": 1}, 2]', "[1", '[{"a": [1]}]', '{"a": 1}', "3"]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a"], *([cell] for cell in cells)])
    found = [row["a"] for _, row in read_rows(tmp_path / "a.csv")]
    assert found == [*cells[:5], [{"a": [1]}], *cells[6:]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "a,b\n1,\n"),
        ("a.jsonl", '{"a": "1", "b": null}'),
        ("a.json", '[{"a": "1", "b": null}]'),
    ],
)
def test_a_missing_field_is_left_out(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    assert [row for _, row in read_rows(tmp_path / name)] == [{"a": "1"}]


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=(tmp_path / "pipe").write_text, args=(json.dumps(ROWS[0]),), daemon=True)
    writer.start()
    assert [row for _, row in read_rows(tmp_path / "pipe")] == ROWS[:1]
    writer.join()


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_folder_is_read_by_datasets(name, tmp_path):
    write(tmp_path, name)
    found = list(read_rows(tmp_path))
    assert [row for _, row in found] == ROWS
    assert found[1][0] == f"{tmp_path}, row 2"


def test_names_of_the_hub(monkeypatch):
    asked = []

    class Library:
        @staticmethod
        def load_dataset(*names, **options):
            asked.append((names, options))
            return ROWS

    monkeypatch.setattr("llmguide.extras.import_module", lambda name: Library)
    for name in ("owner/name", "owner/name:part", "owner/name::test", "owner/name:part:test"):
        assert [row for _, row in read_rows(name)] == ROWS
    assert asked == [
        (("owner/name", None), {"split": "train"}),
        (("owner/name", "part"), {"split": "train"}),
        (("owner/name", None), {"split": "test"}),
        (("owner/name", "part"), {"split": "test"}),
    ]


def test_arrow_fills_up_fields_which_are_left_out_again(tmp_path):
    """Arguments of different tools have one type in Parquet, which has the fields of all."""
    other = {"function": {"name": "g", "arguments": {"b": 2}}}
    talk = [
        {"role": "assistant", "content": "", "tool_calls": [CALL, other]},
        {"role": "tool", "content": "3"},
    ]
    pq.write_table(pa.Table.from_pylist([{"messages": talk}]), tmp_path / "a.parquet")
    assert conversations(tmp_path / "a.parquet") == [talk]
    assert conversations(tmp_path) == [talk]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", b"\n\n", "has no rows"),
        ("a.jsonl", b"\xff\xfe", "not a file of text in UTF-8"),
        ("a.jsonl.gz", b"\x1f\x8b", "not a file of text in UTF-8"),
        ("a.jsonl", b'{"a": 1}\n{"a": ', "line 2: not JSON: .*one object per line"),
        ("a.json", b'{\n"a": 1}\n{\n"a": 2}', "line 1: not JSON: .*one object per line, or a list"),
        ("a.json", b'[{"a": 1}', "a.json: not JSON"),
        ("a.json", b'[{"a": 1}, 2]', "row 2: must be an object with fields, not 2"),
        ("a.json", b"[]", "has no rows"),
        ("a.jsonl", b'{"a": 1}\n{"a": [{"b": "\\ud83d"}]}', r"line 2: \\ud83d is half of a character"),
        ("a.csv", b"a,b\n1,2\n3\n", "row 2: has more or fewer cells than the header"),
        ("a.csv", b"a,b\n1,2,3\n", "row 1: has more or fewer cells than the header"),
        ("a.csv", b'a,b\n1,2\n3,"4', "row 2: not CSV"),
        ("a.csv", b"a,b\n", "has no rows"),
        ("a.parquet", b"PAR1", "damaged after 0 rows"),
    ],
)
def test_what_is_no_row_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize("name", ["rows", "a.jsonl", "data/a.jsonl", "data/a.csv.gz", "here/a", "a/b/c"])
def test_a_name_of_a_file_is_not_looked_up(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(ValueError, match="there is no file"):
        list(read_rows(name))


def test_a_folder_that_cannot_be_read(tmp_path):
    with pytest.raises(ConnectionError, match=r"cannot be read .*check the name"):
        list(read_rows(tmp_path))
    (tmp_path / "a.jsonl").write_text('{"a": [1')
    with pytest.raises(ValueError, match=str(tmp_path)):
        list(read_rows(tmp_path))


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("llmguide.extras.import_module", import_module)
    for source in (write(tmp_path, "a.parquet"), tmp_path, "owner/name"):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "llmguide\[data\]"'):
            list(read_rows(source))
