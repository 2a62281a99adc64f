"""Evaluate the policies of an RLHF run with reward models that PPO was not trained on."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from llmguide.data.fetch import fetch_package
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.evaluation.metrics import Interval, win_rate
from llmguide.post_training.preferences.baselines import Scorer, accuracy_interval, bag_of_words, preferred
from llmguide.post_training.rl.rollout import Rollout, completion_logprobs
from llmguide.projects.generation import sample_rollouts
from llmguide.projects.pretrained import open_pretrained
from llmguide.projects.reward_model.data import sides
from llmguide.projects.reward_model.model import open_reward_model, score
from llmguide.projects.rlhf.data import Plan, Splits
from llmguide.projects.run import plan_of

N_PROMPTS = 500  # prompts that the policies are compared on
N_BEST = 4  # completions of the SFT policy that best-of-n chooses from
N_BEST_PROMPTS = 100  # prompts on which PPO is compared with best-of-n, others for each seed
N_SHOWN = 4  # completions of each of several PPO policies in the record, which must stay small
N_COMPARED = 20  # pairs of completions in the record of a run with a single PPO policy, to read side by side

Raters = dict[str, Callable[[list[str]], list[float]]]


def lexicon() -> Scorer:
    """Return the VADER lexicon as a scorer: the mean rating of a text's distinct words, 0 for unrated ones.

    The lexicon of Hutto and Gilbert has some 7,500 words, each rated from -4 to 4 by ten people.
    """
    path = next(fetch_package("vader-lexicon").rglob("vader_lexicon.txt"))
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    ratings = {row[0]: float(row[1]) for row in rows}

    def valence(text: str) -> float:
        words = set(re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower()))
        return fmean([ratings.get(word, 0.0) for word in words] or [0.0])

    return valence


def accuracies(folder: Path, data: Splits) -> dict[str, Any]:
    """Measure both reward models of a run on comparisons of held-out texts."""
    texts = sorted({text for pair in data.held_out for text in sides(pair)})
    intervals = {}
    for name in ("reward", "gold"):
        rewards = score(*open_reward_model(folder / name), texts)
        right = [preferred(*(rewards[text] for text in sides(pair))) for pair in data.held_out]
        intervals[name] = accuracy_interval(right, [pair.units for pair in data.held_out])._asdict()
    return intervals


def measure(folder: Path, data: Splits, *, seed: int, only: Sequence[float] | None = None) -> dict[str, Any]:
    """Let the policies of a run complete held-out prompts, and score the completions with every rater.

    Args:
        folder: Run folder.
        data: Texts of the run.
        seed: Seed of the sampled completions.
        only: KL coefficients of the policies to measure; None: all.

    Returns:
        For each policy its KL divergence from the SFT policy in nats, its mean scores and, except for the SFT
        policy, the fraction of prompts on which each rater prefers it to the SFT policy; and samples.
    """
    plan = plan_of(Plan, folder)
    reference, tokenizer = open_pretrained(folder / "sft")
    raters = _raters(folder, data)
    texts = data.prompts[:N_PROMPTS]
    prompts = [prompt_ids(tokenizer, text, plan) for text in texts]
    names = ["sft", *map(policy_name, plan.kl_coefs if only is None else only)]
    policies: dict[str, Any] = {}
    scores: dict[str, dict[str, list[float]]] = {}
    n_shown = N_COMPARED if len(names) == 2 else N_SHOWN
    samples: list[dict[str, str]] = [{"prompt": text} for text in texts[:n_shown]]
    for i, name in enumerate(names):
        policy, _ = open_pretrained(folder / name)
        completions, metrics = completions_of(
            policy, reference, tokenizer, prompts, plan.max_new_tokens, seed=1000 * seed + i
        )
        whole = [text + completion for text, completion in zip(texts, completions, strict=True)]
        scores[name] = {rater: rate(whole) for rater, rate in raters.items()}
        means = {rater: fmean(values) for rater, values in scores[name].items()}
        wins = {rater: win_rate_of(scores[name][rater], scores["sft"][rater])._asdict() for rater in raters}
        diversity = {"variety": distinct_2(completions)}
        policies[name] = {**metrics, **diversity, "scores": means, "wins": wins if i > 0 else {}}
        for row, completion in zip(samples, completions, strict=False):
            row[name] = completion
    spread = {rater: torch.tensor(values).std().item() for rater, values in scores["sft"].items()}
    return {"n_asked": len(texts), "policies": policies, "spread": spread, "answers": samples}


def measure_best_of_n(folder: Path, data: Splits, *, seed: int) -> dict[str, Any]:
    """Compare best-of-n with the SFT policy, and the first PPO policy with best-of-n, on held-out prompts.

    Args:
        folder: Run folder.
        data: Texts of the run.
        seed: Seed of the run, which also chooses the prompts, so that the seeds of a project can be pooled.

    Returns:
        The fraction of prompts on which each rater prefers the first system to the second.
    """
    plan = plan_of(Plan, folder)
    raters, pool = _raters(folder, data), data.prompts[:N_PROMPTS]
    n = min(N_BEST_PROMPTS, len(pool))
    prompts = [pool[(seed * n + i) % len(pool)] for i in range(n)]
    sft, tokenizer = open_pretrained(folder / "sft")
    ppo, _ = open_pretrained(folder / policy_name(plan.kl_coefs[0]))
    first = 1000 * seed + 500  # `measure` uses the seeds below
    systems = {
        "best": best_of_n(sft, tokenizer, prompts, plan, raters["reward"], seed=first),
        "sft": _sample(sft, tokenizer, prompts, plan, seed=first + 1),
        "ppo": _sample(ppo, tokenizer, prompts, plan, seed=first + 2),
    }
    wins: dict[str, Any] = {"wins": {}, "ppo_wins": {}}
    for rater, rate in raters.items():
        scores = {name: rate(texts) for name, texts in systems.items()}
        wins["wins"][rater] = win_rate_of(scores["best"], scores["sft"])._asdict()
        wins["ppo_wins"][rater] = win_rate_of(scores["ppo"], scores["best"])._asdict()
    return {"n": N_BEST, "n_asked": n, **wins}


def best_of_n(
    policy: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    plan: Plan,
    rate: Callable[[list[str]], list[float]],
    *,
    seed: int,
) -> list[str]:
    """Sample `N_BEST` completions of each prompt, and keep the one with the highest score.

    Args:
        policy: Decoder to sample from.
        tokenizer: Tokenizer of the policy.
        prompts: Beginnings of texts, each completed `N_BEST` times.
        plan: Plan of the run, with the lengths of prompts and completions.
        rate: Rater that chooses, a function from whole texts to scores.
        seed: Seed of the sampled completions.

    Returns:
        Each prompt with its best completion.
    """
    repeated = [prompt for prompt in prompts for _ in range(N_BEST)]
    texts = _sample(policy, tokenizer, repeated, plan, seed=seed)
    scored = list(zip(rate(texts), texts, strict=True))
    return [max(scored[i : i + N_BEST])[1] for i in range(0, len(scored), N_BEST)]


def _sample(policy: Any, tokenizer: Any, prompts: Sequence[str], plan: Plan, *, seed: int) -> list[str]:
    """Sample a completion of each prompt, and return the prompts with their completions."""
    ids = [prompt_ids(tokenizer, prompt, plan) for prompt in prompts]
    end_id = tokenizer.special_tokens[END_OF_TEXT]
    completions: list[str] = []
    for answers in sample_rollouts(policy, ids, plan.max_new_tokens, end_id=end_id, seed=seed):
        completions += _decode(tokenizer, answers)
    return [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]


def completions_of(
    policy: Any,
    reference: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    max_new_tokens: int,
    *,
    seed: int,
) -> tuple[list[str], dict[str, float]]:
    """Sample a completion of each prompt, and measure how far the policy is from the reference model.

    Returns:
        The completions, and means over them: the KL divergence in nats, the negative log-likelihood of a
        token under the reference model (``surprise``), the length in tokens, and the fraction that ended.
    """
    end_id, texts = tokenizer.special_tokens[END_OF_TEXT], []
    kl, nll, length, ended = [], [], [], []
    for answers in sample_rollouts(policy, prompts, max_new_tokens, end_id=end_id, seed=seed):
        with torch.no_grad():
            reference_logprobs = completion_logprobs(reference, answers)[0]
        kl += (answers.logprobs - reference_logprobs).sum(dim=1).tolist()
        nll += (-reference_logprobs.sum(dim=1) / answers.mask.sum(dim=1)).tolist()
        length += answers.mask.sum(dim=1).tolist()
        ended += answers.ended.tolist()
        texts += _decode(tokenizer, answers)
    return texts, {"kl": fmean(kl), "surprise": fmean(nll), "length": fmean(length), "ended": fmean(ended)}


def _decode(tokenizer: Any, answers: Rollout) -> list[str]:
    """Return the text of each completion, without the end token."""
    end_id = tokenizer.special_tokens[END_OF_TEXT]
    rows = (answers.completion(row) for row in range(len(answers.ids)))
    return [tokenizer.decode([i for i in row if i != end_id]) for row in rows]


def distinct_2(texts: Sequence[str]) -> float:
    """Compute distinct-2: the fraction of the bigrams of words of all texts that are different ones.

    >>> distinct_2(["a b a b", "a b"])  # ab, ba, ab, ab
    0.5
    """
    bigrams = [bigram for text in texts for bigram in pairwise(text.lower().split())]
    return len(set(bigrams)) / max(1, len(bigrams))


def win_rate_of(scores: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Return how often the first score of a pair is higher than that of the baseline, ties counting half."""
    wins = sum(a > b for a, b in zip(scores, baseline, strict=True))
    losses = sum(a < b for a, b in zip(scores, baseline, strict=True))
    return win_rate(wins, losses, len(scores) - wins - losses)


def policy_name(kl_coef: float) -> str:
    """Name of a policy, and of its folder.

    >>> policy_name(0.05)
    'ppo-0.05'
    """
    return f"ppo-{kl_coef:g}"


def prompt_ids(tokenizer: Any, text: str, plan: Plan) -> list[int]:
    """Encode a prompt: its last tokens, if a completion of full length would not fit after all of them."""
    ids: list[int] = tokenizer.encode(text)
    return ids[-(plan.context_length - plan.max_new_tokens) :]


def _raters(folder: Path, data: Splits) -> Raters:
    """Build all raters: the reward models from the folder, the others from the data."""

    def from_model(name: str) -> Callable[[list[str]], list[float]]:
        reward_model, tokenizer = open_reward_model(folder / name)

        def rate(texts: list[str]) -> list[float]:
            rewards = score(reward_model, tokenizer, sorted(set(texts)))
            return [rewards[text] for text in texts]

        return rate

    raters = {name: from_model(name) for name in ("reward", "gold")}
    return raters | raters_of_words(data, with_lexicon=plan_of(Plan, folder).data is None)


def raters_of_words(data: Splits, *, with_lexicon: bool) -> Raters:
    """Build the raters that no model of a run has to be trained for."""

    def from_words(scorer: Scorer) -> Callable[[list[str]], list[float]]:
        return lambda texts: [scorer(text) for text in texts]

    raters: Raters = {"words": from_words(bag_of_words(data.other_comparisons))}
    if with_lexicon:
        raters["lexicon"] = from_words(lexicon())
    return raters
