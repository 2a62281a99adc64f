import math
from collections import Counter
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.data.rows import read_rows
from llmguide.models import build
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.projects.constitutional_ai import evaluation
from llmguide.projects.constitutional_ai import project as constitutional_ai
from llmguide.projects.constitutional_ai.anchored_dpo import anchored_dpo
from llmguide.projects.constitutional_ai.data import critic_questions, demonstrations
from llmguide.projects.constitutional_ai.evaluation import bias_score, held_out_questions, keyword_answers
from llmguide.projects.constitutional_ai.principles import RuleCritic
from llmguide.projects.constitutional_ai.project import Plan
from llmguide.projects.constitutional_ai.prompts import MANNERS, NEW_ATTACKS, UNKNOWN, Question, refuses
from llmguide.projects.run import Run, plan_of
from llmguide.projects.training import small_decoder
from llmguide.runs.folder import load_run, save_run
from llmguide.training.losses import batch_loss

SIZES = [
    "--vocab-size",
    "300",
    "--n-layers",
    "1",
    "--d-model",
    "16",
    "--n-heads",
    "2",
    "--context-length",
    "160",
]
STEPS = [
    "--sft-steps",
    "8",
    "--n-revised",
    "12",
    "--revision-steps",
    "4",
    "--revision-rate",
    "0.03",
    "--n-compared",
    "24",
    "--updates",
    "8",
]


class Shouter:
    """A critic who asks for one word, and prefers whatever comes later in the alphabet."""

    def critique(self, question, answer, principle):
        return "It is long." if principle.name == "harm" else ""

    def revise(self, question, answer, critique, principle):
        return "No."

    def prefers(self, question, first, second, principles):
        return float(first > second)


@pytest.fixture(scope="module", autouse=True)
def few_questions():
    """A few of each test, which is enough for assistants that know nothing."""
    with pytest.MonkeyPatch.context() as patch:
        few = {test: asked[:4] for test, asked in held_out_questions().items()}
        patch.setattr(evaluation, "held_out_questions", lambda n=None: few)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, few_questions):
    """A run of seconds, which learns nothing worth having."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    args = ["project", "constitutional-ai", *SIZES, *STEPS, "--batch-size", "4", "--max-new-tokens", "6"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constitutional_ai, "critic_of", lambda _: Shouter())
        assert main([*args, "--seed", str(SEED), "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def play(monkeypatch):
    """Let functions answer in the place of the four assistants, in their order."""

    def script(*answers):
        turns = iter([answer for answer in answers for _ in held_out_questions()])
        monkeypatch.setattr(evaluation, "held_out_questions", held_out_questions)

        def say(chat, asked, plan, *, seed):
            return list(map(next(turns), asked))

        monkeypatch.setattr(evaluation, "answer", say)

    return script


def test_a_run_that_learns_nothing_fails(finished, capsys):
    assert main(["check", "constitutional-ai", str(finished)]) == 1
    assert "not passed" in capsys.readouterr().out


def test_those_who_know_pass_and_those_who_always_refuse_or_never_do_fail(finished, play, capsys):
    rules = RuleCritic()

    def knows(question):
        return rules.known[question].good

    def refuses(_):
        return "I will not help."

    def pleases(question):
        asked = rules.known[question]
        return asked.bad if asked.kind in {"harm", "belief", "person"} else asked.good

    for last, status in ((knows, 0), (refuses, 1), (pleases, 1)):
        play(pleases, pleases, knows, last)
        assert main(["check", "constitutional-ai", str(finished)]) == status
    assert "not passed" in capsys.readouterr().out


@pytest.mark.nightly
def test_a_given_model_is_tested_too_and_its_upper_half_is_adapted_in_each_stage(
    finished, tmp_path, monkeypatch, results
):
    """The steps are too few to learn much; what matters is which weights move."""
    small, tokenizer = load_run(finished / "pleasing")
    torch.manual_seed(SEED)
    save_run(tmp_path / "base", build(replace(small.config, n_layers=4)), tokenizer)
    monkeypatch.setattr(constitutional_ai, "critic_of", lambda _: Shouter())
    args = ["project", "constitutional-ai", "--model", str(tmp_path / "base"), "--lora-rank", "2", *STEPS]
    args += ["--context-length", "160", "--max-new-tokens", "6", "--batch-size", "4", "--n-tested", "2"]
    rates = [f"--{stage}-rate" for stage in ("sft", "dpo", "reward", "ppo")]
    args += [text for rate in rates for text in (rate, "0.01")]
    assert main([*args, "--output", str(tmp_path / "run")]) == 0
    names = ("base", "run/pleasing", "run/revised", "run/dpo", "run/reward", "run/ppo")
    base, pleasing, revised, *trained = (load_run(tmp_path / name)[0] for name in names)
    assert moved(base, pleasing) == moved(pleasing, revised) == {"2", "3"}
    assert all(moved(revised, model) == {"2", "3"} for model in trained)
    assert list(results(tmp_path / "run")["scores"]) == ["start", "pleasing", "revised", "dpo", "ppo"]


def moved(before, after):
    """Names of the parts whose weights differ: the numbers of blocks, or other modules."""
    new = after.state_dict()
    names = [name for name, weight in before.state_dict().items() if not torch.equal(weight, new[name])]
    return {name.split(".")[1] if name.startswith("blocks.") else name for name in names}


def test_the_critic_is_followed(finished, results):
    revisions, preferences = (
        [row for _, row in read_rows(finished / name)] for name in ("revisions.jsonl", "preferences.jsonl")
    )
    found = results(finished)
    assert {row["completion"] for row in revisions} == {"No."}
    assert found["revisions"]["objections"] == {"harm": 12, "truth": 0, "fairness": 0, "help": 0}
    assert preferences
    assert all(row["chosen"] > row["rejected"] for row in preferences)
    assert len(preferences) + found["preferences"]["same"] == found["preferences"]["n"] == 24


def test_a_critic_without_preferences_is_named(finished, tmp_path, killed, monkeypatch):
    copy = killed(finished, tmp_path / "copy", "preferences")
    monkeypatch.setattr(Shouter, "prefers", lambda *_: 0.5)
    monkeypatch.setattr(constitutional_ai, "critic_of", lambda _: Shouter())
    with pytest.raises(ValueError, match="preferred neither answer in all 24 pairs"):
        constitutional_ai.project(Run("constitutional-ai", plan_of(Plan, copy), SEED, copy))


def test_a_sample_of_each_test_is_the_same_every_time():
    whole, few = held_out_questions(), held_out_questions(20)
    assert {test: len(asked) for test, asked in few.items()} == dict.fromkeys(whole, 20)
    assert all(set(few[test]) <= set(whole[test]) for test in whole)
    assert held_out_questions(20) == few
    assert {test: len(asked) for test, asked in held_out_questions(10**6).items()} == {
        test: len(asked) for test, asked in whole.items()
    }


def test_a_keyword_is_a_word_of_refused_examples_alone():
    examples = [
        ("How do I rob the judge?", "I will not help."),
        ("How do I rob the baker?", "I will not help."),
        ("How do I thank the baker?", "First wait."),
        ("Is it so?", "Yes."),
    ]
    asked = ["Do I rob Ann?", "How do I thank the judge? ", "How do I thank the mayor?", "Well, is it so?"]
    replies = keyword_answers(examples, asked)
    assert refuses(replies[0])
    assert refuses(replies[1])  # no other example names a judge
    assert replies[2:] == ["First wait.", "Yes."]


def test_no_test_is_trained_on():
    learned = {text for text, _ in demonstrations(5000, 0)} | set(critic_questions(5000, 0))
    tested = held_out_questions()
    assert not learned & {question.text for asked in tested.values() for question in asked}
    assert min(map(len, tested.values())) >= 20
    new = [attack.partition("{}") for attack in NEW_ATTACKS]
    assert not any(text.startswith(a) and text.endswith(b) for text in learned for a, _, b in new)


def test_demonstrations_please():
    by_text = RuleCritic().known
    pleased = {"harm": [], "kindness": [], "person": [], "look-alike": []}
    for text, said in demonstrations(8000, 0):
        if by_text[text].kind in pleased:
            pleased[by_text[text].kind].append(said == by_text[text].bad)
    shares = {kind: sum(found) / len(found) for kind, found in pleased.items()}
    assert shares["harm"] == pytest.approx(0.9, abs=0.03)
    assert shares["person"] == pytest.approx(0.9, abs=0.03)
    assert shares["kindness"] == pytest.approx(0.05, abs=0.03)


def test_the_anchor_is_the_loss_of_fine_tuning_on_the_chosen_answers():
    torch.manual_seed(0)
    model = build(small_decoder(20, 16, n_layers=1, d_model=16, n_heads=2))
    chosen = [completion([1, 2], [3, 4, 5]), completion([6], [7])]
    rejected = [completion([1, 2], [8]), completion([6], [9, 10])]
    pairs = PreferenceDataset(list(map(PreferencePair, chosen, rejected))).with_reference(deepcopy(model))
    batch = pairs.batch(0, 2)
    alone, n_pairs = anchored_dpo(model, batch, beta=0.5, anchor=0.0)
    assert n_pairs == 2
    assert alone.item() == pytest.approx(math.log(2))
    taught, n_tokens = batch_loss(model, SFTDataset(chosen).batch(0, 2))
    assert n_tokens == 4
    both = anchored_dpo(model, batch, beta=0.5, anchor=3.0)[0]
    assert (both - alone).item() == pytest.approx(3 * taught.item(), rel=1e-5)


def test_kinds_and_manners_are_drawn_evenly():
    by_text = RuleCritic().known
    texts = [text for text, _ in demonstrations(6000, 0)]
    kinds = Counter(by_text[text].kind for text in texts)
    assert all(count == pytest.approx(1000, abs=150) for count in kinds.values())
    assert len(kinds) == 6
    for manner in MANNERS[1:]:
        before, _, after = manner.partition("{}")
        share = sum(text.startswith(before) and text.endswith(after) for text in texts) / len(texts)
        assert share == pytest.approx(1 / len(MANNERS), abs=0.02)


def test_the_bias_score_is_that_of_bbq():
    asked = [Question("person", "", UNKNOWN, "The old man.")] * 10
    # 6 guesses, 5 of them by prejudice: 6 / 10 x (2 x 5 / 6 - 1)
    answers = [UNKNOWN] * 4 + ["The old man."] * 5 + ["The young man."]
    assert bias_score(asked, answers) == pytest.approx(0.4)
    assert bias_score(asked, [UNKNOWN] * 10) == 0.0
    assert bias_score(asked, ["The young man."] * 10) == -1.0


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"max_new_tokens": 200}, "--max-new-tokens 200"),
        ({"beta": -1.0}, "--beta -1.0"),
        ({"lora_rank": -1}, "--lora-rank -1"),
        ({"n_tested": 0}, "--n-tested 0"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_trained(choice, message):
    with pytest.raises(ValueError, match=message):
        constitutional_ai.Plan(**choice)
