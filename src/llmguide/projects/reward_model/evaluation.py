"""Measure the accuracy of a saved reward model, its calibration, and what its rewards depend on."""

import random
from collections.abc import Callable
from pathlib import Path
from statistics import correlation, fmean, stdev
from typing import Any

import torch

from llmguide.post_training.datasets import TextPair
from llmguide.post_training.preferences.baselines import accuracy_interval, bag_of_words, preferred
from llmguide.post_training.preferences.reward_evaluation import reliability
from llmguide.post_training.preferences.reward_model import RewardModel
from llmguide.projects.reward_model.data import Plan, held_out_pairs, sides, texts_of, training_pairs
from llmguide.projects.reward_model.model import open_reward_model, score
from llmguide.projects.run import plan_of
from llmguide.runs.comparisons import with_baselines


def score_held_out(folder: Path) -> dict[str, dict[str, float]]:
    """Return the rewards of a saved reward model for the texts of every held-out test."""
    reward_model, tokenizer = open_reward_model(folder / "reward")
    tests = held_out_pairs(plan_of(Plan, folder).data)
    return {name: score(reward_model, tokenizer, texts_of(pairs)) for name, pairs in tests.items()}


def measure(folder: Path, seed: int, rewards: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Measure the accuracy of a reward model and its baselines on every held-out test.

    Args:
        folder: Run folder.
        seed: Seed of the pairs that the run was trained on, for the baseline of words.
        rewards: Rewards of the texts of every test, from `score_held_out`.
    """
    plan = plan_of(Plan, folder)
    words = bag_of_words(training_pairs(plan.data, plan.n_pairs, seed))
    return {
        name: _accuracies(pairs, rewards[name], words) for name, pairs in held_out_pairs(plan.data).items()
    }


def analyze(folder: Path, seed: int, rewards_of: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Measure the calibration of a saved reward model on the first test, and what its rewards depend on."""
    plan = plan_of(Plan, folder)
    reward_model, tokenizer = open_reward_model(folder / "reward")
    name, pairs = next(iter(held_out_pairs(plan.data).items()))
    texts, reward = texts_of(pairs), rewards_of[name]
    edited = texts if len(texts) <= plan.n_edited else sorted(random.Random(0).sample(texts, plan.n_edited))
    words = bag_of_words(training_pairs(plan.data, plan.n_pairs, seed))
    chosen, rejected = (torch.tensor([reward[sides(pair)[i]] for pair in pairs]) for i in (0, 1))
    error, bins = reliability(chosen, rejected)
    rewards = [reward[text] for text in texts]
    return {
        "calibration": {"error": error, "bins": [part._asdict() for part in bins]},
        "spread": stdev(rewards),
        "with_length": correlation(rewards, [float(len(text)) for text in texts]),
        "with_words": correlation(rewards, [words(text) for text in texts]),
        "edits": edits(reward_model, tokenizer, {text: reward[text] for text in edited}),
    }


def edits(reward_model: RewardModel, tokenizer: Any, reward: dict[str, float]) -> dict[str, dict[str, float]]:
    """Change the style of texts but not their meaning, or the order of words, and measure the new rewards.

    Returns:
        For each edit the mean change of the reward, the fraction of texts whose reward rises, and the
        correlation of the rewards before and after.
    """
    rng = random.Random(0)
    edit_functions: dict[str, Callable[[str], str]] = {
        "with an exclamation mark": lambda text: text.rstrip(" .!") + "!",
        "in lower case": str.lower,
        "said twice": lambda text: f"{text} {text}",
        "words shuffled": lambda text: " ".join(rng.sample(text.split(), len(text.split()))),
    }
    results = {}
    for name, edit in edit_functions.items():
        edited = {text: edit(text) for text in reward}
        rewards = score(reward_model, tokenizer, sorted(set(edited.values())))
        before, after = list(reward.values()), [rewards[edited[text]] for text in reward]
        change = [b - a for a, b in zip(before, after, strict=True)]
        results[name] = {
            "change": fmean(change),
            "rises": fmean([c > 0 for c in change]),
            "correlation": correlation(before, after),
        }
    return results


def _accuracies(pairs: list[TextPair], reward: dict[str, float], words: Any) -> dict[str, Any]:
    right = [preferred(*(reward[text] for text in sides(pair))) for pair in pairs]
    systems = with_baselines(pairs, words, "reward model", right)
    units = [pair.units for pair in pairs]
    by_words = systems["words (Bradley-Terry)"]
    gains = [ours - theirs for ours, theirs in zip(right, by_words, strict=True)]
    return {
        "n_pairs": len(pairs),
        "n_texts": len({unit for both in units for unit in both}),
        "accuracy": {
            system: accuracy_interval(values, units)._asdict() for system, values in systems.items()
        },
        "over_words": accuracy_interval(gains, units)._asdict(),  # of the same pairs
    }
