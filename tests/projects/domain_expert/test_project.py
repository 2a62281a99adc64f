import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.projects.domain_expert import base as domain_base
from llmguide.projects.domain_expert import project as domain_expert
from llmguide.projects.domain_expert.base import base_ids, base_texts, curated_facts
from llmguide.projects.domain_expert.course import (
    CONDITIONS,
    CURRICULUM,
    NO_REFUSAL,
    RANDOM_ORDER,
    REPLAY_LENGTH,
    course,
    with_replay,
)
from llmguide.projects.domain_expert.project import TASK, Plan, check, measure, open_base, project
from llmguide.projects.domain_expert.templates import KNOWN, NOT_HERE, NOT_KNOWN, OUTSIDE, UNKNOWN
from llmguide.projects.generation import log_likelihoods
from llmguide.projects.run import Run, plan_of
from llmguide.runs.folder import load_run


@pytest.fixture(scope="module", autouse=True)
def small():
    """A benchmark of few questions, and little to read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain_expert, "N_TEST", 4)
        patch.setattr(domain_expert, "N_GENERAL", 500)
        patch.setattr(domain_base, "READINGS", 2)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that has seen next to nothing; of the library it is about, all is real."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    sizes = ["--vocab-size", "400", "--n-layers", "1", "--d-model", "16", "--n-heads", "2"]
    steps = ["--n-names", "120", "--base-steps", "4", "--n-steps", "10", "--batch-size", "4"]
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
            domain_expert, "_answers", lambda chat, asked, task="": [answer(pair) for pair in asked]
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
    assert (finished / "record.json").stat().st_size < 20_000


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


@pytest.mark.nightly
def test_killed_in_training_it_ends_as_if_it_had_not_been(finished, tmp_path, killed, results):
    copy = killed(finished, tmp_path / "copy", "easy-first")
    (copy / "models" / f"{CURRICULUM}.safetensors").unlink()
    max((copy / "checkpoints" / CURRICULUM).glob("step-*")).unlink()
    project(Run("domain-expert", plan_of(Plan, copy), SEED, copy))
    for condition in CONDITIONS:
        whole, resumed = (load_file(f / "models" / f"{condition}.safetensors") for f in (finished, copy))
        assert all((whole[name] == resumed[name]).all() for name in whole)
    assert results(finished) == results(copy)


def test_the_conditions_have_as_many_conversations_and_the_curriculum_starts_with_easy_ones(finished):
    plan = plan_of(Plan, finished)
    pairs, chat = domain_expert._pairs(finished), open_base(finished, plan)
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
    before = measure(copy, conditions=(RANDOM_ORDER,))["systems"][RANDOM_ORDER]["right"]
    state = load_file(path)
    state["tokens.weight"][:] = 0
    save_file(state, path)
    after = measure(copy, conditions=(RANDOM_ORDER,))["systems"][RANDOM_ORDER]["right"]
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
    talks = [example for _, example in course(chat, plan, domain_expert._pairs(finished), NO_REFUSAL, 0)]
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


def test_another_model_is_told_the_task(finished, tmp_path, monkeypatch):
    copy, told = shutil.copytree(finished, tmp_path / "copy"), []
    path = copy / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"general": str(finished / "base")}))
    answers = domain_expert._answers
    monkeypatch.setattr(
        domain_expert,
        "_answers",
        lambda chat, asked, task="": told.append(task) or answers(chat, asked[:1], task) * len(asked),
    )
    assert str(finished / "base") in measure(copy)["systems"]
    assert told == ["", "", "", TASK]
    assert load_run(finished / "base")[0].config.vocab_size == 400
