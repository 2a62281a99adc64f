"""Evaluate the models of a run on held-out text."""

import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmguide.data.corpora import load_corpus
from llmguide.data.splits import Split
from llmguide.data.tokens.token_files import END_OF_TEXT, Shards
from llmguide.data.tokens.windows import Windows
from llmguide.evaluation.metrics import wilson_interval
from llmguide.evaluation.multiple_choice import Question, last_word, multiple_choice
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.projects.analysis.held_out_bits import against_ngram, best_ngram_bits, byte_bits, rate
from llmguide.projects.run import cut, plan_of
from llmguide.projects.small_lm.scaling import Plan
from llmguide.runs.folder import load_run
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.step import evaluate

HELD_OUT = 0.05  # fraction of the documents
HELD_OUT_CHARACTERS = 60_000  # characters of held-out text
N_QUESTIONS = 200  # questions of each kind
EVAL_BATCHES = 40  # batches of each evaluation


def measure(folder: Path) -> dict[str, Any]:
    """Measure the largest model of a run, and its tokenizer, on held-out text."""
    plan = plan_of(Plan, folder)
    model, tokenizer = load_run(folder / f"size-{len(plan.n_layers) - 1}")
    bos_id = tokenizer.special_tokens[END_OF_TEXT]
    held_out = texts_of(plan.corpus, "validation", HELD_OUT_CHARACTERS)
    n_bytes = plan.n_tokens * Shards(folder / "tokens" / "train", tokenizer, verify=False).bytes_per_token
    counted = texts_of(plan.corpus, "train", round(n_bytes))
    seen, unseen = "\n".join(counted).encode(), "\n".join(held_out).encode()
    bits = byte_bits(model, tokenizer, held_out)
    words = last_word(model, tokenizer, endings(held_out, N_QUESTIONS), bos_id=bos_id)
    chosen = multiple_choice(model, tokenizer, continuations(held_out, N_QUESTIONS), bos_id=bos_id)
    return {
        "bits_per_byte": rate([float(each.sum()) for each in bits], held_out),
        "counts": {f"{k}-gram": ngram_bits_per_byte(seen, unseen, k) for k in (3, 4, 5)},
        **against_ngram(*best_ngram_bits(counted, held_out), bits),
        "lost": sum(tokenizer.decode(tokenizer.encode(text)) != text for text in held_out),
        "last_word": {**words._asdict(), **_interval(words.acc, words.n)},
        "continuation": {**chosen._asdict(), **_interval(chosen.acc_norm, chosen.n)},
    }


def held_out_loss(folder: Path, plan: Plan, i: int) -> float:
    """Return the mean cross-entropy loss of size i on held-out text."""
    model, tokenizer = load_run(folder / f"size-{i}")
    windows = windows_of(folder, plan, "validation", tokenizer)
    return evaluate(model, windows, batch_size=plan.batch_size, n_batches=EVAL_BATCHES)


def endings(texts: list[str], n: int) -> list[str]:
    """Cut passages of two sentences whose last word is to be predicted, as in LAMBADA.

    >>> endings(["One two three four. Five six seven eight nine."], 1)
    ['One two three four. Five six seven eight nine']
    """
    sentences = (re.split(r"(?<=[.?!]) +", " ".join(text.split())) for text in texts)
    passages = [
        f"{a} {b}".rstrip(" .?!") for part in sentences for a, b in pairwise(part) if len(b.split()) > 4
    ]
    return random.Random(0).sample(passages, min(n, len(passages)))


def continuations(texts: list[str], n: int) -> list[Question]:
    """Ask which of four second halves of sentences follows a first half, as in HellaSwag.

    >>> [question] = continuations(["a b c d e f g h i j. " * 4], 1)
    >>> question.context, question.choices[question.answer]
    ('a b c d e', 'f g h i j.')
    """
    sentences = [s.split() for text in texts for s in re.split(r"(?<=[.?!]) +", " ".join(text.split()))]
    halves = [(s[: len(s) // 2], s[len(s) // 2 :]) for s in sentences if 10 <= len(s) <= 40]
    rng = random.Random(0)
    questions = []
    for first, second in rng.sample(halves, min(n, len(halves))):
        others = [" ".join(rng.choice(halves)[1]) for _ in range(3)]
        answer = rng.randrange(4)
        choices = [*others[:answer], " ".join(second), *others[answer:]]
        questions.append(Question(" ".join(first), choices, answer))
    return questions


def windows_of(folder: Path, plan: Plan, side: str, tokenizer: Tokenizer, *, seed: int = 0) -> Windows:
    """Open the tokens of one side of a run as windows."""
    return Windows(Shards(folder / "tokens" / side, tokenizer, verify=False), plan.context_length, seed=seed)


def texts_of(corpus: str | None, side: Split, n: int) -> list[str]:
    """Read documents of one side up to n characters; the last is cut."""
    return cut((document.text for document in load_corpus(corpus, split=side, validation=HELD_OUT)), n)


def _interval(accuracy: float, n: int) -> dict[str, float]:
    _, low, high = wilson_interval(accuracy * n, n)
    return {"low": low, "high": high}
