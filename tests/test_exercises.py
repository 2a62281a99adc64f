"""Every mutant is caught and named, every solution passes, and what is wrong otherwise is explained."""

import importlib
import re

import pytest
import torch

from llmguide.exercises import exercise, exercises, grade
from llmguide.exercises.grading import CHAPTERS, same

MISTAKES = [(name, mistake) for name, found in exercises().items() for mistake in found.mistakes]
CAUGHT = {  # what the issue asks for, and where it is recognised
    "missing 1/sqrt(d)": "attention",
    "softmax over the wrong axis": "attention",
    "mask off by one, hides itself": "causal-mask",
    "mask inverted": "causal-mask",
    "post- for pre-norm": "pre-norm",
    "mean subtracted": "rms-norm",
    "mean instead of sum": "sequence-logprob",
    "KL sign": "kl",
    "reference and policy swapped": "dpo",
    "advantage not normalised": "group-advantages",
    "next value off by one": "gae",
    "label shift forgotten": "next-token-loss",
    "loss on the prompt": "sft-targets",
    "weight decay coupled": "adamw",
    "bias correction forgotten": "adamw",
    "drops the token that crosses p": "top-p",
    "multiplied instead of divided": "temperature",
    "merges in the wrong order": "bpe-encode",
    "interleaved layout": "rope",
    "scale forgotten": "lora",
    "pair swapped": "bradley-terry",
    "divided by the number of micro-batches": "accumulate",
    "off by one": "warmup-cosine",
}


@pytest.mark.parametrize("name", exercises())
def test_solution_passes(name):
    assert grade(name, exercise(name).solution).passed


@pytest.mark.parametrize(("name", "mistake"), MISTAKES, ids=[f"{name}: {it.name}" for name, it in MISTAKES])
def test_mutant_is_caught_and_named(name, mistake):
    found = grade(name, mistake.mutant)
    assert (found.passed, found.mistake) == (False, mistake.name)
    assert mistake.when in str(found)
    assert mistake.hint in str(found)


def test_each_chapter_has_at_least_three_exercises_and_each_exercise_three_mistakes():
    for chapter in CHAPTERS:
        assert len(importlib.import_module(f"llmguide.exercises.{chapter}").EXERCISES) >= 3
    for found in exercises().values():
        assert len(found.mistakes) >= 3
        assert found.hints
        assert len({mistake.name for mistake in found.mistakes}) == len(found.mistakes)


def test_names_are_unique():
    modules = [importlib.import_module(f"llmguide.exercises.{chapter}") for chapter in CHAPTERS]
    assert len(exercises()) == sum(len(module.EXERCISES) for module in modules)


@pytest.mark.parametrize(("mistake", "name"), CAUGHT.items())
def test_classic_mistakes_are_known(mistake, name):
    assert mistake in [known.name for known in exercise(name).mistakes]


def test_probes_are_the_same_at_each_call():
    for found in exercises().values():
        first, second = found.probes(), found.probes()
        plain = [[part for part in probe if not callable(part)] for probe in first]
        assert same([[part for part in probe if not callable(part)] for probe in second], plain)


def test_texts_read_as_sentences():
    for found in exercises().values():
        for mistake in found.mistakes:
            assert re.fullmatch(r"\S.*[^.\s]", mistake.when), mistake.when
            assert mistake.hint[-1] in ".!?", mistake.hint


# ---- submissions of a reader, written as a reader writes them -------------------------------------------


def test_attention_written_by_hand():
    def mine(q, k, v, mask=None):
        scores = torch.einsum("...qe,...ke->...qk", q, k) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = torch.where(mask, scores, -1e9)
        weights = torch.exp(scores - scores.amax(-1, keepdim=True))
        return torch.einsum("...qk,...kv->...qv", weights / weights.sum(-1, keepdim=True), v)

    assert grade("attention", mine).passed


def test_dpo_with_the_mean_of_ratios_is_no_known_mistake():
    found = grade("dpo", lambda pc, pr, rc, rr, beta: (pc.mean(), pc, pr))
    assert not found.passed
    assert not found.mistake
    assert "No known mistake" in str(found)


def test_gae_written_by_hand():
    def mine(rewards, values, gamma, lam):
        T = rewards.shape[1]
        deltas = [
            rewards[:, t] + gamma * (values[:, t + 1] if t + 1 < T else 0) - values[:, t] for t in range(T)
        ]
        return torch.stack(
            [sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, T)) for t in range(T)], dim=1
        )

    assert grade("gae", mine).passed


def test_errors_of_the_reader_are_shown_with_the_arguments():
    found = grade("causal-mask", lambda T_q, T_k: torch.ones(T_q).missing)
    assert not found.passed
    assert "AttributeError" in str(found)
    assert "for 4, 4" in str(found)


def test_wrong_shape_is_said():
    found = grade("split-heads", lambda x, n_heads: x[0])
    assert "shape (6, 12), expected (2, 3, 6, 4)" in str(found)


def test_arguments_changed_in_place():
    found = grade("temperature", lambda logits, t: logits.div_(t))
    assert found.mistake == "changes its arguments"


def test_returning_nothing_is_no_crash():
    assert not grade("accumulate", lambda losses, counts: None).passed
    assert not grade("chinchilla", lambda flops: (None, None)).passed


def test_unknown_exercise():
    with pytest.raises(ValueError, match="no exercise is named 'attention-2'; there are bpe-train,"):
        grade("attention-2", len)


def test_exercise_shows_its_task():
    assert repr(exercise("lora")).startswith("lora: lora(x, W, A, B, alpha)")
