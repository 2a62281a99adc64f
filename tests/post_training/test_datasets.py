import gzip
import json
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl import data_utils

from llmguide.post_training.datasets import (
    TextPair,
    comparisons,
    conversations,
    hh_pair,
    problems,
    transcript,
)

ASK, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
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


def test_alpaca_and_sharegpt(write):
    told = {"from": "system", "value": "Be brief."}
    path = write(
        {"instruction": "Add.", "input": "2 and 3", "output": "5"},
        {"instruction": "Greet.", "input": "", "output": "Hi"},
        {"instruction": "Greet.", "output": "Hi"},
        {"conversations": [told, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"prompt": [ASK], "completion": [BOT]},
    )
    lines = []
    assert conversations(path, report=lines.append) == [
        [{"role": "user", "content": "Add.\n\n2 and 3"}, {"role": "assistant", "content": "5"}],
        *[[{"role": "user", "content": "Greet."}, {"role": "assistant", "content": "Hi"}]] * 2,
        [{"role": "system", "content": "Be brief."}, ASK, BOT],
        [ASK, BOT],
    ]
    assert lines == [f"{path}: 5 rows, 3 Alpaca, 1 ShareGPT, 1 prompt and completion, converted to messages"]


def test_a_column_for_the_system_message_and_columns_that_are_ignored(write):
    told, lines = {"role": "system", "content": "Be brief."}, []
    rows = [
        {"system": "Be brief.", "conversations": SHAREGPT},
        {"system": "Be brief.", "messages": [told, ASK, BOT], "label": True},
        {"system": "", "prompt": "Hi", "completion": "Hello", "id": 3},
    ]
    found = conversations(write(*rows), report=lines.append)
    assert [talk[0] for talk in found] == [told, told, ASK]
    assert [message["role"] for message in found[1]] == ["system", "user", "assistant"]
    assert lines[0].endswith("converted to messages; ignored columns: id, label")
    (pair,) = comparisons(write({"system": "Be brief.", "prompt": "Hi", "chosen": "a", "rejected": "b"}))
    assert pair.prompt == [told, ASK]


def test_tool_turns(write):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    flat = {"name": "f", "arguments": {"a": 1}}
    talk = [
        ASK,
        {"role": "assistant", "content": None, "tool_calls": [call, flat]},
        {"role": "tool", "content": "1", "tool_call_id": "1", "name": None},
        BOT | {"tool_calls": None, "weight": 1},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    function = {"function": {"name": "f", "arguments": {"a": 1}}}
    calls = [{"id": "1", "type": "function"} | function, {"type": "function"} | function]
    expected = [
        ASK | {"tools": tools},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "1", "tool_call_id": "1"},
        BOT,
    ]
    path = write({"messages": talk, "tools": tools}, {"messages": talk, "tools": json.dumps(tools)})
    assert conversations(path) == [expected, expected]
    assert problems(path, with_answer=True)[0] == (expected[:3], "Hello")
    assert conversations(write({"messages": talk, "tools": []}))[0][0] == ASK
    pair = {"prompt": talk[:3], "chosen": [BOT], "rejected": "No.", "tools": tools}
    assert comparisons(write(pair))[0][:3] == (expected[:3], "Hello", "No.")


SKY = [{"role": "user", "content": "What color is the sky?"}]
BLUE, GREEN = ([{"role": "assistant", "content": f"It is {color}."}] for color in ("blue", "green"))
TOLD = [{"role": "system", "content": "Be brief."}]
SHAREGPT = [{"from": "user", "value": "Hi"}, {"from": "assistant", "value": "Hello"}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK, BOT]},
        {"conversations": SHAREGPT},
        {"messages": SHAREGPT},
        {"conversations": [ASK, BOT]},
        {"prompt": [ASK], "completion": [BOT]},
        {"prompt": SHAREGPT[:1], "completion": SHAREGPT[1:]},
    ],
)
def test_conversations_against_trl(write, row):
    expected = data_utils.maybe_convert_to_chatml(deepcopy(row))
    expected = expected.get("messages") or [*expected["prompt"], *expected["completion"]]
    assert conversations(write(row)) == [expected]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": SKY + BLUE, "rejected": SKY + GREEN},
        {"chosen": TOLD + SKY + BLUE, "rejected": TOLD + SKY + GREEN},
        {"prompt": "What color is the sky?", "chosen": SKY + BLUE, "rejected": SKY + GREEN},
        {"prompt": "What color is the sky?", "chosen": TOLD + SKY + BLUE, "rejected": TOLD + SKY + GREEN},
        {"prompt": SKY, "chosen": BLUE, "rejected": GREEN},
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    ],
)
def test_comparisons_against_trl(write, row):
    [found] = comparisons(write(row))
    expected = data_utils.maybe_extract_prompt(deepcopy(row))
    text = expected["prompt"]
    prompt = [{"role": "user", "content": text}] if isinstance(text, str) else text
    chosen, rejected = (
        side if isinstance(side, str) else side[0]["content"]
        for side in (expected["chosen"], expected["rejected"])
    )
    assert found[:3] == (prompt, chosen, rejected)


def test_comparisons_where_trl_would_split_a_word_or_lose_the_prompt(write):
    rows = [
        {"chosen": "The sky is gray.", "rejected": "The sky is green."},
        {"chosen": "good", "rejected": "great"},
        {"prompt": "Hi", "chosen": [BOT], "rejected": [BOT | {"content": "Ho"}]},
        {"prompt": [ASK], "chosen": [ASK, BOT], "rejected": [ASK, BOT | {"content": "Ho"}]},
        {"prompt": [ASK], "chosen": "Hello", "rejected": [BOT | {"content": "Ho"}]},
    ]
    found = comparisons(write(*rows))
    assert found[0][:3] == ([{"role": "user", "content": "The sky is"}], " gray.", " green.")
    assert found[1][:4] == ([], "good", "great", ("good",))
    assert [pair[:3] for pair in found[2:]] == [([ASK], "Hello", "Ho")] * 3


def test_a_conversation_is_a_problem_whose_last_response_is_the_answer(write):
    path = write(
        {"messages": [ASK, BOT]},
        {"instruction": "Add.", "input": "2 and 3", "output": "5"},
        {"conversations": SHAREGPT, "answer": 7},
        {"prompt": "Hi", "completion": "so it is 4", "answer": "4"},
    )
    found = problems(path, with_answer=True)
    assert [problem.answer for problem in found] == ["Hello", "5", "7", "4"]
    assert [problem.prompt[-1]["content"] for problem in found] == ["Hi", "Add.\n\n2 and 3", "Hi", "Hi"]
    lines = []
    assert problems(write({"messages": [ASK]}), with_answer=False, report=lines.append)[0].prompt == [ASK]
    assert lines[0].endswith("1 rows, messages, converted to prompts")


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
        (
            conversations,
            {"text": "x"},
            "line 2: the fields text are no format of conversations; a row",
        ),
        (conversations, {"prompt": "x"}, "line 2: there is no field 'completion' among prompt; a row has"),
        (conversations, {"messages": []}, "line 2, field 'messages': must be a list of messages"),
        (conversations, {"messages": "Hi"}, "line 2, field 'messages': must be a list of messages"),
        (
            conversations,
            {"messages": [{"role": "bot", "content": "x"}]},
            "line 2, field 'messages', message 0, the role: must be one of system, user, assistant, tool, "
            'human, gpt, not "bot"',
        ),
        (
            conversations,
            {"messages": [{"role": "user", "content": 3}]},
            "line 2, field 'messages', message 0, field 'content': must be a text, not 3",
        ),
        (
            conversations,
            {"messages": [{"role": "user", "content": "x"}]},
            "line 2: no message is from the assistant",
        ),
        (conversations, {"prompt": "x", "completion": 5}, "line 2, field 'completion': must be a text"),
        (
            conversations,
            {"prompt": None, "completion": "x"},
            "line 2: there is no field 'prompt' among completion",
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
        (
            comparisons,
            {"prompt": "x", "chosen": [BOT], "rejected": [BOT | {"content": "a"}, BOT]},
            "line 2, fields 'chosen' and 'rejected': must differ in one last text of the assistant; they "
            "differ from message 1 on, in 3 messages",
        ),
        (comparisons, {"chosen": [ASK], "rejected": [BOT]}, "must differ in one last text of the assistant"),
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
        (
            lambda path: problems(path, with_answer=True),
            {"prompt": "x", "answer": " "},
            "line 2, field 'answer': is empty",
        ),
        (
            lambda path: problems(path, with_answer=False),
            {"messages": [BOT]},
            "line 2: there is no message before the assistant's",
        ),
        (
            conversations,
            {"instruction": "x", "input": ["a"], "output": "y"},
            "line 2, field 'input': must be a text, not",
        ),
        (
            conversations,
            {"conversations": [{"from": "gpt", "value": None}]},
            "line 2, field 'conversations', message 0, field 'value': must be a text, not null",
        ),
        (
            conversations,
            {"messages": [ASK, BOT | {"weight": 0}]},
            "message 1: a weight of 0 is not supported; end the conversation before this message",
        ),
        (conversations, {"messages": [3]}, "message 0: must be an object with role and content, not 3"),
        (
            conversations,
            {"messages": [BOT | {"tool_calls": [{"function": "f"}]}]},
            "field 'tool_calls': must be objects with a function's name and arguments",
        ),
        (
            conversations,
            {"messages": [BOT | {"tool_calls": [{"name": "f", "arguments": "{"}]}]},
            "field 'tool_calls', arguments of 'f': not JSON",
        ),
        (conversations, {"messages": [BOT], "tools": "["}, "line 2, field 'tools': not JSON"),
        (
            conversations,
            {"messages": [BOT], "tools": {"a": 1}},
            "line 2, field 'tools': must be a list of",
        ),
    ],
)
def test_what_does_not_fit_is_named_by_line_and_field(write, read, row, message):
    good = {"prompt": "x", "completion": "y", "chosen": "a", "rejected": "b", "answer": "4"}
    with pytest.raises(ValueError) as found:  # the readers are generators inside
        read(write(good, row))
    assert message in str(found.value)


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
