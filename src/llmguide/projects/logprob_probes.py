"""Probes that refuse a `logprob` that cannot be the log-probability of a causal language model.

A check compares numbers that the learner's own code returns, and the easiest mistakes look like a good model:
a forgotten causal mask, a mean, another base of the logarithm. The probes know nothing of the tokenizer. They
use that among texts of equal length, the tokens of one are never a prefix of the tokens of another (or the
first text would be a prefix of the second), so that the probabilities of these texts sum to at most 1.

Leaves out: models that were trained on the held-out text, which look like good models from outside.
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import exp, log
from random import Random

from llmguide.projects.learner_model import Model

MAX_SUM = 1.02  # of probabilities, with the rounding of bfloat16
MAX_SPLIT = 0.5  # relative change of a log-probability if a text is split, perhaps within tokens
SLACK = 20.0  # nats; e^-20 is the probability that a bound for random texts refuses a right model
_N_CHARACTERS, _N_TEXTS = 64, 8
_LENGTH, _SPLIT_LENGTH = 24, 64  # in characters; short, for the smallest context and for slow models
_N_WORDS, _MAX_WORD = 6, 8  # words of a random text, and their characters


def require_log_probabilities(model: Model, text: str, prompt: str) -> None:
    """Require that `logprob` can be the log-probability of a model that predicts each token from the past.

    Args:
        model: Model with the function `logprob`, which is called about 250 times with short texts.
        text: Text of the kind that the check scores, whose characters the model knows.
        prompt: Shortest prompt of the check, which can be empty.

    Raises:
        ValueError: Probabilities sum to more than 1; random text is too probable; the log-probability of a
            text is not the sum of those of its words, each after those before it; or the prompt is ignored.
    """
    random = Random(0)
    noise = ["".join(random.choices(text, k=_LENGTH)) for _ in range(_N_TEXTS)]
    characters = [character for character, _ in Counter(text).most_common(_N_CHARACTERS)]
    for before in (prompt, noise[0]):
        _require_small_sum(model, before, characters)
    _require_surprise(model, prompt, noise, _nats(list(text), noise))
    if words := [word for word in text.split() if len(word) <= _MAX_WORD]:
        rows = [random.choices(words, k=_N_WORDS) for _ in range(_N_TEXTS)]
        # a text is a prefix of another only within its last word: the probabilities sum to at most _MAX_WORD
        bound = _nats(words, rows) + _N_TEXTS * log(_MAX_WORD)
        _require_surprise(model, prompt, [" ".join(row) for row in rows], bound)
    starts = range(0, len(text), max(1, len(text) // 4))[:4]
    _require_chain_rule(model, [text[start : start + _SPLIT_LENGTH] for start in starts], prompt)
    _require_use_of_prompt(model, text[:_LENGTH], prompt, noise)


def next_character_sum(model: Model, prompt: str, characters: Sequence[str]) -> float:
    """Return the sum of the probabilities of single characters after a prompt."""
    return sum(exp(model.logprob(prompt, character)) for character in characters)


def _require_small_sum(model: Model, prompt: str, characters: Sequence[str]) -> None:
    total = next_character_sum(model, prompt, characters)
    if total > MAX_SUM:
        raise ValueError(
            f"{model.name}: after the prompt {prompt!r}, the probabilities exp(logprob) of {len(characters)} "
            f"single characters sum to {total:.3g}, but probabilities never sum to more than 1. Does logprob "
            "skip the first token of the completion, use another logarithm than the natural one, or scale "
            "the sum? It must be a sum of outputs of log_softmax over the whole vocabulary"
        )


def _nats(population: Sequence[str], samples: Sequence[Sequence[str]]) -> float:
    """Return the log-probability of samples with replacement from a population."""
    counts = Counter(population)
    return sum(log(counts[each] / len(population)) for sample in samples for each in sample)


def _require_surprise(model: Model, prompt: str, texts: Sequence[str], bound: float) -> None:
    """Require that random texts are no more probable than under the distribution that they come from.

    If s is sampled from Q and P sums to at most 1 over the texts in question, P(s) / Q(s) has a mean of at
    most 1. By Markov's inequality, ln P(s) > ln Q(s) + SLACK has a probability of at most e^-SLACK. The same
    is true of the product over independent texts. For example, if Q is uniform over 94 characters, ln Q(s) is
    -909 for 200 of them. Random words show a leak of a model that has not learned to copy rare tokens yet.
    """
    nats = sum(model.logprob(prompt, text) for text in texts)
    if nats > bound + SLACK:
        raise ValueError(
            f"{model.name}: {len(texts)} random texts, such as {texts[0]!r}, have a log-probability of "
            f"{nats:.1f} nats, but no model that predicts them can get above {bound + SLACK:.1f}. Predict "
            "each token only from those before it (does a token see itself, because the causal mask or the "
            "shift is missing?), and return the sum over the tokens of the completion in nats, not the mean"
        )


def _require_chain_rule(model: Model, texts: Sequence[str], prompt: str) -> None:
    whole = sum(model.logprob(prompt, text) for text in texts)
    # a tokenizer keeps the space with the next word or the last one; splitting a token costs nats
    borders = (r"(?<=\S)(?= \S)", r"(?<=\S )(?=\S)")
    sums = [sum(_chained(model, prompt, re.split(border, text)) for text in texts) for border in borders]
    parts = min(sums, key=lambda each: abs(whole - each))
    if abs(whole - parts) > MAX_SPLIT * abs(parts):
        raise ValueError(
            f"{model.name}: logprob of {len(texts)} texts is {whole:.2f}, but their words, each after "
            f"those before it, add up to {parts:.2f}. Return the sum over the tokens of the completion, not "
            "the mean and without the prompt, and predict each token only from those before it (is the "
            "causal mask missing?)"
        )


def _chained(model: Model, prompt: str, parts: Sequence[str]) -> float:
    return sum(model.logprob(prompt + "".join(parts[:i]), part) for i, part in enumerate(parts))


def _require_use_of_prompt(model: Model, text: str, prompt: str, noise: Sequence[str]) -> None:
    """Require that a text depends on a prompt if it depends on what precedes it in a completion."""
    after_prompts = [model.logprob(prompt + before, text) for before in noise[:4]]
    if max(after_prompts) - min(after_prompts) > 1e-6:
        return
    within = [model.logprob(prompt, before + text) - model.logprob(prompt, before) for before in noise[:4]]
    if max(within) - min(within) > 0.01:
        raise ValueError(
            f"{model.name}: logprob of a completion is {after_prompts[0]:.2f} after each of four prompts, "
            "but changes if the text of these prompts is the beginning of the completion instead. Give the "
            "model the tokens of the prompt before those of the completion"
        )
