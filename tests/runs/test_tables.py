import json

from llmguide.runs.tables import Table, count, gigabytes, show

TABLE = Table(
    "sizes",
    {"model_name": str, "bytes": gigabytes},
    [{"model_name": "a", "bytes": 2.5e9}, {"model_name": "b", "bytes": None}],
    ["A note."],
)


def test_a_table_for_people(capsys):
    show(TABLE, as_json=False)
    out = capsys.readouterr().out
    assert out.startswith("sizes\n")
    assert "model name" in out
    assert "2.5 GB" in out
    assert out.endswith("A note.\n")


def test_the_same_for_programs(capsys):
    show(TABLE, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"title": "sizes", "rows": TABLE.rows, "notes": ["A note."]}


def test_numbers_just_below_a_suffix():
    assert [count(x) for x in (0, 999_999, 1e6, 1e9, 1e15)] == ["0", "999,999", "1.0M", "1.00B", "1.00e+15"]
