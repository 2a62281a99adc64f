import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.post_training.datasets import (
    TextPair,
    comparisons,
    conversations,
    hh_pair,
    json_lines,
    problems,
    transcript,
)

TURN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)


@pytest.fixture
def write(tmp_path):
    def write(*rows):
        path = tmp_path / "rows.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def test_conversations_of_both_forms(write):
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    path = write(
        {"messages": [*talk, {"role": "assistant", "content": "Hello"}], "source": "ignored"},
        "",
        {"prompt": "Hi", "completion": "Hello"},
        {"prompt": talk, "completion": ""},
    )
    assert conversations(path) == [
        [*talk, {"role": "assistant", "content": "Hello"}],
        [talk[1], {"role": "assistant", "content": "Hello"}],
        [*talk, {"role": "assistant", "content": ""}],
    ]


def test_comparisons_of_both_forms(write):
    begun = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: And?\n\nAssistant: "
    path = write(
        {"prompt": "Hi", "chosen": "Hello", "rejected": "What?"},
        {"chosen": begun + "Fine.", "rejected": begun + "No."},
        {"chosen": begun + "Fine.", "rejected": "\n\nHuman: Ho\n\nAssistant: No."},
    )
    first, second = comparisons(path)  # the third pair differs before its last answer
    assert first[:3] == ([{"role": "user", "content": "Hi"}], "Hello", "What?")
    assert [message["content"] for message in second.prompt] == ["Hi", "Hello", "And?"]
    assert (second.chosen, second.rejected, second.units) == ("Fine.", "No.", ("Hi",))


def test_comparisons_that_share_a_system_message_are_not_of_one_unit(write):
    told = {"role": "system", "content": "Be brief."}
    rows = [
        {"prompt": [told, {"role": "user", "content": asked}], "chosen": "Yes.", "rejected": "No."}
        for asked in ("Hi", "Ho")
    ]
    assert [pair.units for pair in comparisons(write(*rows))] == [("Hi",), ("Ho",)]


def test_problems_and_compressed_files(tmp_path):
    rows = [{"question": "2 + 2?", "answer": "so\n#### 4"}, {"prompt": "3 + 3?", "answer": 6}]
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found = problems(path, with_answer=True)
    assert [(problem.prompt[0]["content"], problem.answer) for problem in found] == [
        ("2 + 2?", "so\n#### 4"),
        ("3 + 3?", "6"),
    ]
    assert problems(path, with_answer=False)[0].answer == ""


@pytest.mark.parametrize(
    ("read", "row", "message"),
    [
        (conversations, {"text": "x"}, "line 2: there is no field 'prompt' among text; a row has messages"),
        (conversations, {"messages": []}, "line 2, field 'messages': must be a list of messages"),
        (conversations, {"messages": "Hi"}, "line 2, field 'messages': must be a list of messages"),
        (
            conversations,
            {"messages": [{"role": "bot", "content": "x"}]},
            "line 2, field 'messages', message 0: the role must be one of system, user, assistant",
        ),
        (
            conversations,
            {"messages": [{"role": "user", "content": 3}]},
            "line 2, field 'messages', message 0, field 'content': must be a text, not 3",
        ),
        (
            conversations,
            {"messages": [{"role": "user", "content": "x"}]},
            "line 2, field 'messages': none is from the assistant",
        ),
        (conversations, {"prompt": "x", "completion": None}, "line 2, field 'completion': must be a text"),
        (
            conversations,
            {"prompt": None, "completion": "x"},
            "line 2, field 'prompt': must be a list of messages",
        ),
        (conversations, "{", "line 2: not JSON"),
        (conversations, "[1]", "line 2: must be an object with fields, not [1]"),
        (comparisons, {"prompt": "x", "chosen": "a"}, "line 2: there is no field 'rejected'"),
        (
            comparisons,
            {"prompt": "x", "chosen": "a", "rejected": 1},
            "line 2, field 'rejected': must be a text",
        ),
        (comparisons, {"prompt": "x", "chosen": "a", "rejected": "a"}, "line 2, fields 'chosen' and 'reje"),
        (comparisons, {"chosen": "a", "rejected": "b"}, "line 2: there is no field 'prompt'"),
        (
            comparisons,
            {"chosen": "\n\nHuman: a", "rejected": "b"},
            "line 2, field 'rejected': a transcript starts with",
        ),
        (
            lambda path: problems(path, with_answer=True),
            {"prompt": "x"},
            "line 2: there is no field 'answer'",
        ),
        (
            lambda path: problems(path, with_answer=True),
            {"prompt": "x", "answer": True},
            "line 2, field 'answer': must be a text, not true",
        ),
    ],
)
def test_what_does_not_fit_is_named_by_line_and_field(write, read, row, message):
    good = {"prompt": "x", "completion": "y", "chosen": "a", "rejected": "b", "answer": "4"}
    with pytest.raises(ValueError) as found:  # the readers are generators inside
        read(write(good, row))
    assert message in str(found.value)


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe", b"\x1f\x8b"])
def test_what_is_no_such_file_says_so(content, tmp_path):
    path = tmp_path / ("rows.jsonl.gz" if content == b"\x1f\x8b" else "rows.jsonl")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"there is no file|has no rows|not a file of JSON lines"):
        list(json_lines(path))


@given(st.lists(TURN, min_size=1, max_size=5))
def test_a_transcript_comes_apart_as_it_was_put_together(turns):
    who = ["Human", "Assistant"]
    text = "".join(f"\n\n{who[i % 2]}: {turn}" for i, turn in enumerate(turns))
    found = transcript(text)
    assert [message["content"] for message in found] == [turn.strip() for turn in turns]
    assert [message["role"] for message in found] == [("user", "assistant")[i % 2] for i in range(len(turns))]


def test_pairs_that_are_none():
    asked = "\n\nHuman: Hi\n\nAssistant: "
    assert hh_pair(asked + "a", asked + "a") is None
    assert hh_pair(asked + "a", asked + "b\n\nHuman: c") is None
    assert isinstance(hh_pair(asked + "a", asked), TextPair)
