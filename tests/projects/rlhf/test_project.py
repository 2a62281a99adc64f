import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.models import build
from llmguide.post_training.preferences.corpora import RatedText
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.projects.rlhf import data as rlhf_data
from llmguide.projects.rlhf import evaluation
from llmguide.projects.rlhf import project as rlhf
from llmguide.projects.rlhf.data import Plan, cut, splits
from llmguide.projects.rlhf.evaluation import (
    N_BEST,
    best_of_n,
    completions_of,
    distinct_2,
    lexicon,
    measure,
    measure_best_of_n,
    prompt_ids,
    win_rate_of,
)
from llmguide.projects.run import Run, plan_of
from llmguide.runs.folder import load_run, save_run
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss
from llmguide.training.train import train

SIZES = ["--vocab-size", "320", "--n-layers", "1", "--d-model", "32", "--n-heads", "2", "--dropout", "0"]


SUBJECTS = ["plot", "cast", "music", "end"]
GOOD, FAIR = ["good", "great", "clever", "lovely"], ["fair", "usual"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """People prefer praise to a fair word, and a fair word to a bad one; half the demonstrations praise."""
    folder, draw = tmp_path_factory.mktemp("runs"), random.Random(SEED)
    rows = []
    for i in range(800):
        preferred, other = (GOOD, FAIR) if i % 2 else (FAIR, ["bad"])
        text = f"The {draw.choice(SUBJECTS)} is "
        both = {"chosen": text + draw.choice(preferred), "rejected": text + draw.choice(other)}
        rows.append({"prompt": f"Q{i}?", **both})
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    args = ["project", "rlhf", "--data", str(folder / "pairs.jsonl"), *SIZES, "--seed", str(SEED)]
    args += ["--context-length", "32", "--max-new-tokens", "10", "--batch-size", "8", "--sft-steps", "150"]
    args += ["--reward-rate", "0.006", "--ppo-steps", "30", "--n-answers", "32", "--ppo-rate", "0.001"]
    assert main([*args, "--kl-coefs", "1.2", "5", "--output", str(folder / "whole")]) == 0
    return folder / "whole"


def test_a_policy_that_says_what_people_like_passes(finished, results, capsys):
    found = results(finished)
    assert found["accuracy"]["reward"]["score"] == found["accuracy"]["gold"]["score"] == 1.0
    assert found["policies"]["ppo-1.2"]["kl"] > found["policies"]["ppo-5"]["kl"]
    assert main(["check", "rlhf", str(finished)]) == 0
    assert "passed" in capsys.readouterr().out


def test_a_policy_that_has_not_moved_fails_whatever_the_record_says(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.copytree(copy / "sft", copy / "ppo-1.2", dirs_exist_ok=True)
    assert main(["check", "rlhf", str(copy)]) == 1
    assert "not passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        pytest.param(  # collapsed
            "The plot is great", "distinct-2, as a fraction of the SFT policy's", marks=pytest.mark.nightly
        ),
        ("great great great", "NLL per token under the SFT policy, above its own"),  # reward hacking
    ],
)
def test_a_policy_that_always_says_the_same_fails(finished, tmp_path, text, failed):
    copy = shutil.copytree(finished, tmp_path / "copy")
    plan, (policy, tokenizer) = plan_of(Plan, copy), load_run(copy / "sft")
    said = [*tokenizer.encode(text), tokenizer.special_tokens[END_OF_TEXT]]
    examples = [
        completion(prompt_ids(tokenizer, prompt, plan), said) for prompt, _ in splits(plan, 0).demonstrations
    ]
    config = TrainConfig(n_steps=60, context_length=plan.context_length, batch_size=8, lr=0.003)
    train(policy, SFTDataset(examples), config, loss=batch_loss)
    save_run(copy / "ppo-1.2", policy, tokenizer)
    passed = {criterion.measure: criterion.passed for criterion in rlhf.check(copy)}
    assert not passed[failed]


def test_killed_in_ppo_it_ends_as_if_it_had_not_been(finished, tmp_path, killed, results):
    copy = killed(finished, tmp_path / "copy", "ppo-1.2")
    shutil.rmtree(copy / "ppo-1.2")
    max((copy / "checkpoints" / "ppo-1.2").glob("step-*")).unlink()
    rlhf.project(Run("rlhf", plan_of(Plan, copy), SEED, copy))
    before, after = (load_run(folder / "ppo-1.2")[0].state_dict() for folder in (finished, copy))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert results(finished) == results(copy)
    curves = [json.loads((folder / "record.json").read_text())["curves"] for folder in (finished, copy)]
    assert curves[0] == curves[1]


@pytest.mark.nightly
def test_a_base_is_the_start_of_policy_and_reward_models(finished, tmp_path, results):
    """The steps are too few to learn much; what matters is which weights move."""
    sft, tokenizer = load_run(finished / "sft")
    torch.manual_seed(SEED)
    save_run(tmp_path / "base", build(replace(sft.config, n_layers=4)), tokenizer)
    pairs = Path(plan_of(Plan, finished).data).read_text().splitlines()[:100]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs))
    args = ["project", "rlhf", "--data", str(tmp_path / "pairs.jsonl"), "--base", str(tmp_path / "base")]
    args += ["--n-blocks", "2", "--lora-rank", "2", "--sft-steps", "3", "--reward-steps", "3"]
    args += ["--context-length", "32", "--max-new-tokens", "10", "--ppo-steps", "2", "--n-answers", "4"]
    assert main([*args, "--kl-coefs", "1", "--output", str(tmp_path / "run")]) == 0
    names = ("base", "run/sft", "run/reward", "run/gold", "run/ppo-1")
    base, sft, reward, gold, policy = (load_run(tmp_path / name)[0] for name in names)
    assert moved(base, sft) == moved(sft, policy) == {"2", "3"}
    assert moved(sft, reward) == moved(sft, gold) == {"1"}
    assert results(tmp_path / "run")["policies"]["ppo-1"]["kl"] != 0


def moved(before, after):
    """Return the blocks of a model whose weights differ from those of the model it was trained from."""
    others = after.named_parameters()
    return {name.split(".")[1] for name, w in others if not torch.equal(w, before.get_parameter(name))}


def test_a_policy_compared_with_itself_wins_half_of_the_time(finished):
    plan = plan_of(Plan, finished)
    reference, tokenizer = load_run(finished / "sft")
    prompts = [prompt_ids(tokenizer, text, plan) for text in splits(plan, 0).prompts]
    texts, metrics = completions_of(reference, reference, tokenizer, prompts, plan.max_new_tokens, seed=0)
    assert metrics["kl"] == pytest.approx(0, abs=1e-4)
    again, _ = completions_of(reference, reference, tokenizer, prompts, plan.max_new_tokens, seed=0)
    assert again == texts
    assert win_rate_of([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]).score == 0.5


def test_best_of_n_keeps_the_completion_that_the_rater_prefers(finished):
    plan, (policy, tokenizer) = plan_of(Plan, finished), load_run(finished / "sft")
    prompts = splits(plan, 0).prompts[:20]
    rated = []

    def rate(texts):
        rated.extend(texts)
        return [float(len(text)) for text in texts]

    best = best_of_n(policy, tokenizer, prompts, plan, rate, seed=0)
    assert len(best) == len(prompts) == len(rated) / N_BEST
    for i, (prompt, text) in enumerate(zip(prompts, best, strict=True)):
        completions = rated[N_BEST * i : N_BEST * (i + 1)]
        assert all(completion.startswith(prompt) for completion in completions)
        assert text in completions
        assert len(text) == max(map(len, completions))
    assert len(set(rated)) > len(prompts)


def test_best_of_n_beats_the_sft_policy_and_ppo_gains_less_against_it(finished, results):
    found = results(finished)
    for rater, wins in found["policies"]["ppo-1.2"]["wins"].items():
        assert found["best_of_n"]["wins"][rater]["low"] > 0.5, rater
        assert found["best_of_n"]["ppo_wins"][rater]["score"] < wins["score"], rater


def test_a_policy_that_is_the_sft_policy_loses_against_best_of_n(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.copytree(copy / "sft", copy / "ppo-1.2", dirs_exist_ok=True)
    found = measure_best_of_n(copy, splits(plan_of(Plan, copy), 0), seed=0)
    assert found["ppo_wins"]["reward"]["high"] < 0.5


def test_the_evaluating_raters_share_no_text_with_what_ppo_follows(finished):
    data = splits(plan_of(Plan, finished), 0)
    sides = [
        {pair.units for pair in side} for side in (data.comparisons, data.other_comparisons, data.held_out)
    ]
    assert all(sides)
    assert len(set.union(*sides)) == sum(map(len, sides))
    assert not {prompt for prompt, _ in data.demonstrations} & set(data.prompts)


def test_the_evaluating_raters_follow_the_other_raters(monkeypatch):
    # the first raters like a text the more, the second the less, the higher its number
    texts = [
        RatedText(f"movies:{i}", f"one two three four {i}", (i, -i, i, -i, i)[: 4 + i % 2], f"{i}")
        for i in range(400)
    ]
    monkeypatch.setattr(rlhf_data, "rated_texts", lambda _: texts)
    monkeypatch.setattr(rlhf_data, "N_HELD_OUT", 50)
    data = splits(Plan(n_pairs=200), 0)
    for pair in data.comparisons:
        assert int(pair.chosen.split()[-1]) > int(pair.rejected.split()[-1])
    for pair in data.other_comparisons:
        assert int(pair.chosen.split()[-1]) < int(pair.rejected.split()[-1])
    sides = [
        {unit for pair in side for unit in pair.units}
        for side in (data.comparisons, data.other_comparisons, data.held_out)
    ]
    assert len(set.union(*sides)) == sum(map(len, sides))


def test_measuring_again_draws_other_answers_of_which_a_single_policy_has_twenty(finished, results):
    """The assignment asks for as many. Several policies have fewer, so that the record stays small."""
    data = splits(plan_of(Plan, finished), 0)
    single, again, other = (measure(finished, data, seed=seed, only=[1.2])["answers"] for seed in (0, 0, 1))
    assert single == again != other
    assert [row.keys() for row in single] == [{"prompt", "sft", "ppo-1.2"}] * 20
    several = results(finished)["answers"]
    assert [row.keys() for row in several] == [{"prompt", "sft", "ppo-1.2", "ppo-5"}] * 4


def test_distinct_2_falls_with_repetition():
    assert distinct_2(["a b c", "d e f"]) == 1.0  # ab, bc, de, ef
    assert distinct_2(["a b", "a b", "a b", "a b"]) == 0.25
    assert distinct_2(["a", ""]) == 0.0


def test_a_text_is_cut_without_loss():
    text = "One  two three, four. five"
    assert "".join(cut(text, 2)) == text
    assert cut("too short", 4) == ("too short", "")


def test_the_lexicon_counts_a_word_once(monkeypatch, tmp_path):
    (tmp_path / "vader_lexicon.txt").write_text("good\t1.9\t0.9\t[2]\nbad\t-2.5\t0.6\t[-2]\n\n")
    monkeypatch.setattr(evaluation, "fetch_package", lambda _: tmp_path)
    valence = lexicon()
    assert valence("Good, good film!") == pytest.approx(1.9 / 2)
    assert valence("bad") == -2.5
    assert valence("...") == 0.0


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"kl_coefs": ()}, "--kl-coefs"),
        ({"kl_coefs": (-1.0,)}, "--kl-coefs"),
        ({"prompt_words": 0}, "--prompt-words 0"),
        ({"n_pairs": 0}, "--n-pairs 0"),
        ({"reward_steps": 0}, "--reward-steps 0"),
        ({"max_new_tokens": 40}, "--max-new-tokens 40 leaves no room"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_trained(choice, message):
    with pytest.raises(ValueError, match=message):
        rlhf.Plan(**choice)
