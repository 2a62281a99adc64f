import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.models import build
from llmguide.projects.domain_expert import app, guardrail_evaluation
from llmguide.projects.domain_expert import base as domain_base
from llmguide.projects.domain_expert import project as domain_expert
from llmguide.projects.domain_expert.base import base_ids, base_texts, curated_facts
from llmguide.projects.domain_expert.benchmark import benchmark
from llmguide.projects.domain_expert.course import (
    CONDITIONS,
    CURRICULUM,
    NO_REFUSAL,
    RANDOM_ORDER,
    REPLAY_LENGTH,
    course,
    with_replay,
)
from llmguide.projects.domain_expert.facts import RELATIONS
from llmguide.projects.domain_expert.guardrails import REASONS
from llmguide.projects.domain_expert.project import Plan, check, measure, open_base
from llmguide.projects.domain_expert.templates import (
    KNOWN,
    NOT_HERE,
    NOT_KNOWN,
    OUTSIDE,
    UNKNOWN,
    answer,
    side_of,
)
from llmguide.projects.generation import log_likelihoods
from llmguide.projects.run import plan_of
from llmguide.projects.webapp.forms import Form
from llmguide.runs.folder import load_run, save_run


@pytest.fixture(scope="module", autouse=True)
def small():
    """A benchmark of few questions, and little to read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain_expert, "N_GENERAL", 500)
        patch.setattr(domain_base, "READINGS", 2)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that has seen next to nothing; of the library it is about, all is real."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    sizes = ["--vocab-size", "400", "--n-layers", "1", "--d-model", "16", "--n-heads", "2"]
    steps = ["--n-names", "120", "--n-test", "4", "--base-steps", "4", "--n-steps", "10", "--batch-size", "4"]
    assert (
        main(["project", "domain-expert", *sizes, *steps, "--seed", str(SEED), "--output", str(output)]) == 0
    )
    return output


def oracle(pair):
    return pair.answer


def no_expert(pair):
    return pair.answer if pair.answer == OUTSIDE else UNKNOWN


def guesser(pair):
    return pair.truth if pair.answer == UNKNOWN else pair.answer


def willing(pair):
    return "function" if pair.answer == OUTSIDE else pair.answer


@pytest.fixture
def answered_by(monkeypatch):
    """Lets a function of the question answer in the place of the model."""

    def replace(answer):
        monkeypatch.setattr(
            domain_expert, "answer_all", lambda chat, asked, before=(): [answer(pair) for pair in asked]
        )

    return replace


def test_a_run_is_recorded_in_small(finished, results):
    found = results(finished)
    assert found["counts"]["conversations"]["conversations"] > 500
    assert set(found["general"]) == {"", *CONDITIONS}
    assert all(bits > 1 for bits in found["general"].values())
    systems = found["tests"]["systems"]
    assert set(systems) == {"the most frequent answer", *CONDITIONS}
    for system in systems.values():
        assert set(system["right"]) == {*KNOWN, *NOT_KNOWN, *NOT_HERE}


def test_a_model_that_has_seen_nothing_fails(finished):
    assert main(["check", "domain-expert", str(finished)]) == 1


@pytest.mark.parametrize(
    ("answer", "failed"),
    [(oracle, 0), (no_expert, 4), (guesser, 1), (willing, 1)],
)
def test_each_way_to_be_no_expert_fails(answer, failed, finished, answered_by):
    answered_by(answer)
    criteria = check(finished)
    assert len(criteria) == 6
    assert sum(not each.passed for each in criteria) == failed


def test_what_is_measured_is_what_was_said(finished, answered_by):
    answered_by(guesser)
    found = measure(finished)
    judged = found["systems"][RANDOM_ORDER]
    assert all(judged["right"][kind]["score"] == 1 for kind in (*KNOWN, *NOT_HERE))
    assert all(judged["right"][kind]["score"] == 0 for kind in NOT_KNOWN)
    assert all(judged["turned down"][kind]["score"] == 0 for kind in (*KNOWN, *NOT_KNOWN))
    assert all(share == 1 for share in found["guesses"].values())
    assert all(gap["score"] == 0 for gap in found["easy first minus random order"].values())


def test_the_conditions_have_as_many_conversations_and_the_curriculum_starts_with_easy_ones(finished):
    plan = plan_of(Plan, finished)
    pairs, chat = domain_expert.read_pairs(finished), open_base(finished, plan)
    courses = {name: course(chat, plan, pairs, name, seed=0) for name in CONDITIONS}
    assert set(map(len, courses.values())) == {plan.n_steps * plan.batch_size}
    assert not any(pair.answer in (UNKNOWN, OUTSIDE) for pair, _ in courses[NO_REFUSAL])
    assert any(pair.answer == UNKNOWN for pair, _ in courses[RANDOM_ORDER])
    curriculum = courses[CURRICULUM]
    difficulty = [-score for score in log_likelihoods(chat, [example for _, example in curriculum])]
    quarter = len(curriculum) // 4
    first, last = difficulty[:quarter], difficulty[-quarter:]
    assert sum(first) / quarter < sum(last) / quarter
    assert max(first) < max(last)


def test_the_models_are_asked_and_not_the_record(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    path = copy / "models" / f"{RANDOM_ORDER}.safetensors"
    before = measure(copy, RANDOM_ORDER)["systems"][RANDOM_ORDER]["right"]
    state = load_file(path)
    state["tokens.weight"][:] = 0
    save_file(state, path)
    after = measure(copy, RANDOM_ORDER)["systems"][RANDOM_ORDER]["right"]
    assert all(after[kind]["score"] == 0 for kind in after)
    assert (
        json.loads((copy / "record.json").read_text())["results"]["tests"]["systems"][RANDOM_ORDER]["right"]
        == before
    )


def test_another_library_is_refused(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    path = copy / "stages" / "data.json"
    content = json.loads(path.read_text())
    content["found"]["python"] = "2.7"
    path.write_text(json.dumps(content))
    assert main(["check", "domain-expert", str(copy)]) == 1
    assert "the library of Python 2.7" in capsys.readouterr().err


def test_a_base_reads_no_question_and_nothing_that_is_not_to_be_known(finished):
    found = curated_facts(120)
    texts = base_texts(found, seed=0)
    told = {word.strip(".") for fact in found.known for word in (fact.name, *fact.value.split())}
    hidden = {fact.name for fact in (*found.unknown, *found.unread)} - told
    cards = [text for text in texts if any(fact.name in text for fact in found.known) and len(text) < 300]
    assert len(cards) >= 2 * len({fact.name for fact in found.known})
    assert not any(word.strip(".") in hidden for text in cards for word in text.split())
    assert not any("?" in text for text in cards)


def test_each_step_of_the_fine_tuning_replays_the_base_text(finished):
    plan, chat = plan_of(Plan, finished), open_base(finished, plan_of(Plan, finished))
    talks = [example for _, example in course(chat, plan, domain_expert.read_pairs(finished), NO_REFUSAL, 0)]
    read = base_ids(plan, chat.tokenizer, 0)
    examples = with_replay(talks, read, plan, 0)
    size = plan.batch_size + plan.n_windows
    assert len(examples) == plan.n_steps * size
    updates = [examples[first : first + size] for first in range(0, len(examples), size)]
    assert [talk for update in updates for talk in update[: plan.batch_size]] == talks
    places = {tuple(read[i : i + REPLAY_LENGTH + 1].tolist()) for i in range(len(read))}
    for window in (window for update in updates for window in update[plan.batch_size :]):
        assert tuple(window.ids) in places
        assert all(window.mask)


@pytest.fixture
def adapted(finished, tmp_path):
    """A run with adapters on a base of two layers, which is the general model, too."""
    place = tmp_path / "base"
    base, tokenizer = load_run(finished / "base")
    save_run(place, build(replace(base.config, n_layers=2)), tokenizer)
    args = ["--base", str(place), "--general", str(place), "--lora-rank", "2", "--no-ablations"]
    sizes = ["--n-names", "60", "--n-test", "2", "--n-steps", "4", "--batch-size", "4", "--n-windows", "2"]
    output = ["--seed", str(SEED), "--output", str(tmp_path / "run")]
    assert main(["project", "domain-expert", *args, *sizes, *output]) == 0
    return tmp_path / "run"


@pytest.mark.nightly
def test_a_base_is_adapted_in_its_upper_half_and_compared_with_itself(adapted, results):
    found = results(adapted)
    base = str(adapted.parent / "base")
    assert set(found["tests"]["systems"]) == {"the most frequent answer", RANDOM_ORDER, base}
    assert set(found["general"]) == {"", RANDOM_ORDER}
    for baseline in ("the most frequent answer", base):
        systems, gap = found["tests"]["systems"], found["tests"][f"{RANDOM_ORDER} minus {baseline}"]
        for kind in KNOWN:
            scores = [systems[name]["right"][kind]["score"] for name in (RANDOM_ORDER, baseline)]
            assert gap[kind]["score"] == pytest.approx(scores[0] - scores[1], abs=2e-3)
    weights = load_file(adapted / "models" / f"{RANDOM_ORDER}.safetensors")
    assert weights
    assert all(name.startswith("blocks.1.") for name in weights)
    plan = plan_of(Plan, adapted)
    chats = [domain_expert.open_condition(adapted, plan, name) for name in ("", RANDOM_ORDER)]
    ids = torch.tensor([chats[0].prompt([{"role": "user", "content": "Who?"}])])
    assert not torch.equal(*(chat.model(ids) for chat in chats))
    assert main(["check", "domain-expert", str(adapted)]) == 1


class ByteTokenizer:
    """A chat tokenizer of transformers' interface, in which the eos_token ends a turn and not a text."""

    eos_token_id = 257

    def encode(self, text, add_special_tokens):
        return list(text.encode())

    def get_vocab(self):
        return {"<|endoftext|>": 256, "<|im_end|>": 257}


def test_the_texts_for_a_pretrained_base_are_separated_by_its_end_of_text_token():
    ids = base_ids(Plan(n_names=60), ByteTokenizer(), seed=0)
    texts = base_texts(curated_facts(60), seed=0)
    assert (ids == 256).sum() == len(texts)
    assert ids.max() == 256
    assert bytes(ids[ids < 256].tolist()).decode() == "".join(texts)


@pytest.mark.parametrize(("option", "named"), [({"lora_rank": 8}, "--base"), ({"n_test": 0}, "--n-test 0")])
def test_impossible_options_are_refused(option, named):
    with pytest.raises(ValueError, match=named):
        Plan(**option)


def test_another_model_sees_an_example_of_each_kind_of_answer(finished, tmp_path, monkeypatch):
    copy, before = shutil.copytree(finished, tmp_path / "copy"), []
    path = copy / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"general": str(finished / "base")}))
    answers = domain_expert.answer_all
    monkeypatch.setattr(
        domain_expert,
        "answer_all",
        lambda chat, asked, turns=(): before.append(turns) or answers(chat, asked[:1], turns) * len(asked),
    )
    assert str(finished / "base") in measure(copy)["systems"]
    *of_the_tuned, turns = before
    assert of_the_tuned == [(), (), ()]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
    said = [turn["content"] for turn in turns[1::2]]
    assert {UNKNOWN, OUTSIDE} < set(said)
    facts, plan = curated_facts(120), plan_of(Plan, copy)
    asked = {(pair.question, pair.answer) for pair in benchmark(facts.known, facts.unread, plan.n_test)}
    assert asked.isdisjoint(zip((turn["content"] for turn in turns[::2]), said, strict=True))
    values = {answer(fact): fact.relation for fact in facts.known if side_of(fact.name) == "asked"}
    assert {values[text] for text in said if text in values} == set(RELATIONS)


def test_guardrails_are_measured_around_each_model(finished):
    found = guardrail_evaluation.measure(finished, ["Is it raining?"])
    assert set(found["benchmark"]) == {RANDOM_ORDER, NO_REFUSAL}
    for systems in found["benchmark"].values():
        assert set(systems) == {"none", "keywords", "guardrails"}
        for group in ("unknown", "off topic"):
            assert systems["guardrails"][group]["refused"]["score"] == 1.0
    assert found["prompts"]["guardrails"]["people"]["reasons"] == {"topic": 1}


def test_the_application_serves_the_expert_of_a_run_behind_its_guardrails(finished):
    expert = app.wrap_model(finished, app.open_model(finished))
    assert (expert.name, expert.before) == (str(finished), [])
    name = next(iter(expert.guard.cards))
    prepared = app.ask(Form(json.dumps({"question": f"Which package has {name}?"}).encode()), expert)
    shown = "".join(expert.stream(prepared.request))  # the model has learned next to nothing
    assert shown in (REASONS["support"], UNKNOWN, OUTSIDE) or shown.endswith(" [1]")
    other = app.wrap_model(finished.parent, app.open_model(finished))
    assert other.before[0]["role"] == "user"
