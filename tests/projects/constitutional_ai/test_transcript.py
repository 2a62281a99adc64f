import json
import math

import pytest
from tests.seed import SEED

from llmguide.coding.client import Response
from llmguide.projects.constitutional_ai import self_preferences, transcript
from llmguide.projects.constitutional_ai.data import Plan
from llmguide.projects.constitutional_ai.principles import GOVERNS
from llmguide.projects.constitutional_ai.prompts import questions
from llmguide.projects.constitutional_ai.self_critique import logit_margins
from llmguide.projects.constitutional_ai.self_preferences import (
    LABELS,
    agreement,
    by_length,
    by_model,
    by_rules,
    position_bias,
    preferences,
    train_and_score,
)
from llmguide.projects.constitutional_ai.transcript import (
    N_CRITICIZED,
    Exchange,
    Model,
    exchanges,
    local_model,
    main,
    read_transcript,
    remote_model,
    sample_prompts,
)
from llmguide.projects.run import Run


def exchange(chooses_a, *, right=0, responses=("short", "longer")):
    return Exchange("harm", "How do I rob Ann?", responses, right, "", "", chooses_a)


def model_that_chooses(choose, seen=None):
    """A model that criticizes with "Bad.", revises with "Better.", and chooses (A) as a function decides."""

    def say(requests):
        if seen is not None:
            seen.append(requests)
        return ["Better." if "Critique: " in request else "Bad." for request in requests]

    return Model(say, lambda requests: [choose(request) for request in requests])


@pytest.mark.parametrize(
    ("chooses_a", "prefers_first", "decided"),
    [((0.9, 0.1), 0.9, True), ((0.2, 0.8), 0.2, True), ((0.9, 0.9), 0.5, False), ((0.9, 0.7), 0.6, False)],
)
def test_a_preference_is_the_mean_of_both_orders(chooses_a, prefers_first, decided):
    one = exchange(chooses_a)
    assert one.prefers_first == pytest.approx(prefers_first)
    assert one.decided is decided


def test_a_model_sees_each_pair_in_both_orders_but_not_which_is_right():
    seen = []
    prompts = sample_prompts(2)
    found = exchanges(model_that_chooses(lambda request: float("(A) I will not" in request), seen), prompts)
    assert [one.question for one in found] == [question.text for question, _ in prompts]
    for one, (question, right_first) in zip(found, prompts, strict=True):
        assert one.responses[one.right] == question.good
        assert one.right == (0 if right_first else 1)
        refusal = [text.startswith("I will not") for text in one.responses]
        assert one.chooses_a == tuple(map(float, refusal))
        assert (one.critique, one.revision) == ("Bad.", "Better.")
    critiques, revisions = seen
    for one, critique, revision in zip(found, critiques, revisions, strict=True):
        assert f"Answer: {one.responses[0]}\n" in critique
        assert "Critique: Bad." in revision
        assert one.responses[1] not in critique


def test_prompts_are_training_prompts_of_each_kind_in_a_mixed_order():
    prompts = sample_prompts(20)
    training = {question.text for question in questions("train")}
    assert {question.text for question, _ in prompts} <= training
    assert [sum(q.kind == kind for q, _ in prompts) for kind in GOVERNS] == [20] * len(GOVERNS)
    assert 40 < sum(first for _, first in prompts) < 80


def test_the_packaged_transcript_is_of_these_prompts():
    found = read_transcript()
    assert [one.question for one in found] == [question.text for question, _ in sample_prompts(20)]
    assert all(0 < p < 1 for one in found for p in one.chooses_a)
    criticized = [one for one in found if one.critique]
    assert len(criticized) == N_CRITICIZED * len(GOVERNS)
    assert all(one.revision for one in criticized)


def test_a_file_without_a_transcript_is_refused(tmp_path):
    (tmp_path / "t.json").write_text('{"exchanges": [{"kind": "harm"}]}')
    with pytest.raises(ValueError, match="holds no transcript"):
        read_transcript(tmp_path / "t.json")


class Server:
    """An endpoint that always chooses the second response, in words."""

    def __init__(self):
        self.asked = []

    def ask(self, request):
        self.asked.append(request)
        return Response(
            "(B), because it is kinder." if "(A)" in request.messages[0]["content"] else "None.", "stop", ""
        )


def test_any_endpoint_can_be_recorded(tmp_path, monkeypatch):
    made, server = [], Server()
    monkeypatch.setattr(transcript, "Endpoint", lambda url, key: made.append(url) or server)
    path = tmp_path / "t.json"
    arguments = ["a-model", str(path), "--url", "http://localhost:8000/v1/", "--n-questions", "1"]
    monkeypatch.setattr("sys.argv", ["transcript", *arguments])
    main()
    assert made == ["http://localhost:8000/v1"]
    assert json.loads(path.read_text())["model"] == "a-model"
    assert {request.model for request in server.asked} == {"a-model"}
    found = read_transcript(path)
    assert len(found) == len(GOVERNS)
    assert all(one.chooses_a == (0.0, 0.0) and not one.decided for one in found)


def test_an_endpoint_without_a_choice_prefers_neither():
    model = remote_model("m", lambda request: Response("Both are fine.", "stop", ""))
    assert model.chooses_a(["?"]) == [0.5]


def test_the_probability_of_a_choice_is_that_of_its_logits(random_chat_folder, monkeypatch):
    model = local_model(str(random_chat_folder))
    margins = []
    monkeypatch.setattr(
        transcript, "logit_margins", lambda *args: margins.extend(logit_margins(*args)) or margins
    )
    [probability] = model.chooses_a(["Which answer keeps better to the principles?"])
    assert probability == pytest.approx(math.exp(margins[0]) / (1 + math.exp(margins[0])), abs=1e-4)


def test_labels_by_hand():
    assert (by_rules(exchange((0.5, 0.5), right=0)), by_rules(exchange((0.5, 0.5), right=1))) == (1.0, 0.0)
    assert by_length(exchange((0.5, 0.5))) == 0.0
    assert by_length(exchange((0.5, 0.5), responses=("same", "size"))) == 0.5
    assert [by_model(exchange(p)) for p in ((0.9, 0.2), (0.2, 0.9), (0.7, 0.7))] == [1.0, 0.0, 0.5]


def test_pairs_without_a_preference_are_dropped():
    rows = preferences([exchange((0.9, 0.1)), exchange((0.1, 0.9)), exchange((0.8, 0.8))], by_model)
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("short", "longer"), ("longer", "short")]


def test_agreement_and_position_bias_by_hand():
    found = [
        exchange((0.9, 0.6), right=0),  # right, but it says (A) in both orders
        exchange((0.9, 0.2), right=0),  # right
        exchange((0.9, 0.2), right=1),  # wrong
        exchange((0.8, 0.8), right=1)._replace(kind="belief"),  # no preference
    ]
    found += [exchange((0.9, 0.1))._replace(kind=kind) for kind in GOVERNS if kind not in ("harm", "belief")]
    rates = agreement(found, by_model)
    assert rates["harm"]["score"] == pytest.approx(2 / 3, abs=1e-4)
    assert rates["belief"]["score"] == 0.5
    assert rates["all"]["score"] == pytest.approx((2 + 0.5 + 4) / 8, abs=1e-4)
    bias = position_bias(found)
    assert bias["chooses_a"]["score"] == pytest.approx((2 + 1 + 1 + 2 + 4) / 16)
    assert bias["decided"]["score"] == pytest.approx(6 / 8)


def test_training_starts_from_the_given_model_for_each_label(random_chat_folder, tmp_path):
    plan = Plan(
        model=str(random_chat_folder), lora_rank=2, batch_size=4, max_new_tokens=4, context_length=300,
        updates=2, dpo_rate=0.01, n_tested=2,
    )  # fmt: skip
    run = Run("constitutional-ai", plan, SEED, tmp_path / "run")
    scores = train_and_score(run, random_chat_folder, read_transcript()[::20])
    assert set(scores) == {"start", *LABELS}
    assert all(set(score["right"]) == set(GOVERNS) for score in scores.values())
    for name in LABELS:
        assert (tmp_path / "run" / name / "model.safetensors").is_file()


def test_the_record_names_the_transcript(random_chat_folder, tmp_path, monkeypatch):
    start = tmp_path / "start"
    plan = Plan(
        model=str(random_chat_folder), lora_rank=2, batch_size=4, max_new_tokens=4, context_length=300
    )
    Run("constitutional-ai", plan, SEED, start)
    (start / "pleasing").symlink_to(random_chat_folder)
    monkeypatch.setattr(self_preferences, "UPDATES", 1)
    monkeypatch.setattr(self_preferences, "N_TESTED", 1)
    arguments = [str(start), str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["self_preferences", *arguments])
    self_preferences.main()
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["project"] == "constitutional-ai"
    assert record["seed"] == SEED
    assert record["results"]["n"] == len(read_transcript())
    assert set(record["results"]["agreement"]) == {"self", "longer"}
