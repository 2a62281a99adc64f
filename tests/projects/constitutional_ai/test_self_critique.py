import json
import math

import pytest
import torch

from llmguide.projects.constitutional_ai import self_critique
from llmguide.projects.constitutional_ai.evaluation import held_out_questions
from llmguide.projects.constitutional_ai.prompts import questions
from llmguide.projects.constitutional_ai.self_critique import (
    above_zero,
    by_kind,
    follows,
    letter_margins,
    logit_margins,
    main,
    measure,
)
from llmguide.runs.chat_model import open_chat
from llmguide.runs.options import ModelSource


@pytest.fixture(scope="module")
def chat(random_chat_folder):
    return open_chat(ModelSource(str(random_chat_folder)), [], seed=0)


def test_margins_are_those_of_each_prompt_alone(chat):
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
    i, j = (chat.tokenizer.encode(word)[0] for word in (" bad", " good"))
    with torch.no_grad():
        rows = [chat.model(torch.tensor([prompt]))[0, -1] for prompt in prompts]
    alone = [(row[i] - row[j]).item() for row in rows]
    assert logit_margins(chat, prompts, " bad", " good") == pytest.approx(alone, abs=1e-5)


def test_the_letter_of_the_right_answer_changes_with_the_order(chat, monkeypatch):
    asked = questions("validation")[:3]
    seen = []

    def prefers_b(_, prompts, word, other):
        seen.append([chat.tokenizer.decode(prompt) for prompt in prompts])
        return [1.0 if word == "B" else -1.0] * len(prompts)

    monkeypatch.setattr(self_critique, "logit_margins", prefers_b)
    assert letter_margins(chat, asked, right_first=True) == [-1.0] * 3
    assert letter_margins(chat, asked, right_first=False) == [1.0] * 3
    assert f"(A) {asked[0].good}\n(B) {asked[0].bad}" in seen[0][0]
    assert f"(A) {asked[0].bad}\n(B) {asked[0].good}" in seen[1][0]


def test_a_critic_that_always_objects_is_right_in_half_of_the_answers():
    found = above_zero({True: [1.0, 2.0], False: [1.0, 2.0]})
    assert (found["right"]["score"], found["objects"]["score"]) == (0.5, 1.0)
    found = above_zero({True: [-1.0, -2.0], False: [1.0, -2.0]})
    assert (found["right"]["score"], found["objects"]["score"]) == (0.75, 0.25)


def test_kinds_are_counted_by_themselves():
    tests = held_out_questions(4)
    kinds = ("harm", "kindness", "look-alike", "belief", "person", "person, told")
    asked = [question for kind in kinds for question in tests[kind]]
    found = by_kind(asked, [question.kind == "harm" for question in asked])
    assert {kind: rate["score"] for kind, rate in found.items()} == {
        **dict.fromkeys(kinds, 0.0),
        "harm": 1.0,
        "all": pytest.approx(1 / 6, abs=1e-4),
    }


def test_the_right_answer_follows_the_principle_and_the_wrong_one_does_not():
    asked = [question for question in questions("validation") if question.kind in self_critique.REVISED]
    assert {question.kind for question in asked} == set(self_critique.REVISED)
    assert all(follows(question, question.good) for question in asked)
    assert not any(follows(question, question.bad) for question in asked)


def test_a_model_that_repeats_the_answer_leaves_it_right_or_wrong(random_chat_folder, monkeypatch):
    def repeat(chat, requests):
        return [request.partition("Answer: ")[2].partition("\n")[0] for request in requests]

    monkeypatch.setattr(self_critique, "_say", repeat)
    found = measure(str(random_chat_folder), n_questions=3, n_revised=2)["revisions"]
    assert (found["good"]["right"]["score"], found["bad"]["right"]["score"]) == (1.0, 0.0)
    assert found["good"]["objects"]["score"] == found["bad"]["objects"]["score"] == 1.0
    assert all(row["revision"] == row["answer"] for row in found["transcripts"])


def test_the_record_of_a_random_model(random_chat_folder, tmp_path, monkeypatch):
    arguments = [
        str(random_chat_folder),
        str(tmp_path / "record.json"),
        "--n-questions",
        "3",
        "--n-revised",
        "1",
    ]
    monkeypatch.setattr("sys.argv", ["self_critique", *arguments])
    main()
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["plan"] == {"model": str(random_chat_folder), "n_questions": 3, "n_revised": 1}
    found = record["results"]
    assert set(found["prefers_right"]) == {"yes", "sentence", "letters", "longer"}
    assert all(
        math.isfinite(rate["score"]) for rates in found["prefers_right"].values() for rate in rates.values()
    )
    assert len(found["revisions"]["transcripts"]) == 4
