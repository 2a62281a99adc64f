"""Right log-probabilities pass the probes, and each mistake is refused by the probe that is about it."""

import random
from collections import Counter
from itertools import pairwise
from math import log

import pytest
import torch
from tests.seed import SEED

from llmguide.models import build
from llmguide.projects.learner_model import Decoding, Model, open_model
from llmguide.projects.logprob_probes import next_character_sum, require_log_probabilities
from llmguide.projects.training import small_decoder
from llmguide.runs.folder import save_run
from llmguide.tokenization.tokenizer import Tokenizer

WORDS = [
    "a",
    "day",
    "of",
    "rain",
    "on",
    "the",
    "river",
    "had",
    "come",
    "then",
    "sun",
    "was",
    "over",
    "all",
    "hills",
]
TEXT = " ".join(random.Random(SEED).choices(WORDS, k=2000))
CHARACTERS = sorted(set(TEXT))
PAIRS, FIRST = Counter(pairwise(TEXT)), Counter(TEXT[:-1])


def terms(prompt, completion):
    """Log-probabilities of the characters of a completion in a bigram model; a text begins after a space."""
    text = " " + prompt + completion
    pairs = list(pairwise(text))[len(prompt) :]
    return [log((PAIRS[pair] + 0.1) / (FIRST[pair[0]] + 0.1 * len(CHARACTERS))) for pair in pairs]


def right(prompt, completion):
    return sum(terms(prompt, completion))


def unigram(_, completion):
    return sum(log(FIRST[character] / (len(TEXT) - 1)) for character in completion)


def uniform(_, completion):
    return -len(completion) * torch.log(torch.tensor(float(len(CHARACTERS))))


def leak(prompt, completion):
    """Log-probabilities with a forgotten causal mask: only the last character has to be predicted."""
    *seen, last = terms(prompt, completion)
    return 0.02 * sum(seen) + last


def require(logprob, prompt=""):
    require_log_probabilities(Model("a test", {"logprob": logprob}), TEXT, prompt)


@pytest.mark.parametrize("prompt", ["", "the sun"])
@pytest.mark.parametrize("logprob", [right, unigram, uniform])
def test_a_normalized_model_passes_however_simple_it_is(logprob, prompt):
    require(logprob, prompt)
    model = Model("a test", {"logprob": logprob})
    assert next_character_sum(model, prompt, CHARACTERS) == pytest.approx(1)


@pytest.mark.parametrize("vocab_size", [257, 300])
def test_a_decoder_with_subwords_passes(vocab_size, tmp_path):
    torch.manual_seed(SEED)
    tokenizer = Tokenizer.train([TEXT], vocab_size, special_tokens=["<|endoftext|>"])
    config = small_decoder(tokenizer.vocab_size, 64, n_layers=1, d_model=16, n_heads=2)
    save_run(tmp_path, build(config).eval(), tokenizer)
    require_log_probabilities(open_model(str(tmp_path), Decoding(1)), TEXT, "")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (leak, "random texts.*is missing"),
        (lambda *pair: right(*pair) / len(pair[1]), "random texts.*not the mean"),
        (lambda *pair: right(*pair) / log(10), "single characters sum to .* another logarithm"),
        (lambda *pair: 0.5 * right(*pair), "single characters sum to .* scale"),
        (lambda _, completion: -1.2 * len(completion), "single characters sum to"),
        (lambda *_: 0.0, f"{len(CHARACTERS)} single characters sum to {len(CHARACTERS)}, .* skip the first"),
        (lambda *pair: sum(terms(*pair)[1:]), "skip the first token"),
        (lambda prompt, text: sum(terms(prompt, text)[not prompt :]), "the prompt '',.* skip the first"),
        (lambda *pair: sum(terms(*pair)[:-1]), "single characters sum to"),
        (lambda prompt, text: right("", text), "after each of four prompts"),
        (lambda prompt, text: right("", prompt + text), "add up to"),
    ],
)
def test_a_wrong_log_probability_is_refused(wrong, why):
    with pytest.raises(ValueError, match=why):
        require(wrong)


def test_a_leak_is_refused_if_only_words_leak():
    """A model without a causal mask may have learned to see the words, and not random characters."""

    def logprob(prompt, completion):
        known = set(completion.split()) <= {*WORDS, *(word[:i] for word in WORDS for i in range(9))}
        return leak(prompt, completion) if known else right(prompt, completion)

    with pytest.raises(ValueError, match=r"random texts, such as '\w+ \w+ "):
        require(logprob)
