"""Project: a model that writes text character by character.

Tokens are the characters of the corpus. The model is a decoder of about a million parameters with rotary
positions, RMSNorm and SwiGLU, trained with Muon, which reaches a lower loss than AdamW in a few minutes. The
baselines are interpolated n-gram models of the whole training side; the check requires it to beat the 5-gram.

The default corpus is the presidents' addresses since 1961. Older addresses use an older English, and minutes
of training do not beat a 5-gram model of all 12 million characters.

References: `llmguide.evaluation.ngram_baseline` (the baseline); Karpathy 2015, "The unreasonable
effectiveness of recurrent neural networks" (the exercise).

Leaves out: dropout and several epochs of a small corpus; give ``--dropout`` where the text is read often.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llmguide.data.corpora import load_corpus
from llmguide.data.documents import Document
from llmguide.data.splits import Split
from llmguide.data.tokens.windows import Windows
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.files import write_json
from llmguide.generation.generate import generate
from llmguide.models import save
from llmguide.projects.acceptance import Criterion, at_least, below
from llmguide.projects.analysis.held_out_bits import against_ngram, best_ngram_bits
from llmguide.projects.character_model.characters import Characters
from llmguide.projects.character_model.metrics import (
    character_bits,
    known_word_fraction,
    longest_copy,
    per_character,
)
from llmguide.projects.run import Run, cut, plan_of, require_both_sides
from llmguide.projects.training import loss_curve, new_decoder, stage_config, train_stage
from llmguide.runs.folder import load_model, n_params, say

SINCE = "1961"  # first year of the default corpus
HELD_OUT = 0.1  # fraction of the documents
HELD_OUT_CHARACTERS = 100_000  # evaluated; more of them changes the second decimal
N_SAMPLES = 16


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    corpus: str | None = None  # a file, a folder, tinyshakespeare, or a data set of the hub
    n_layers: int = 4  # blocks of the model
    d_model: int = 128  # width of the model
    n_heads: int = 4  # attention heads
    context_length: int = 128  # characters that the model sees
    dropout: float = 0.0  # dropout rate; helps where the text is read many times
    n_steps: int = 2000  # optimizer steps
    batch_size: int = 8  # windows of an optimizer step
    lr: float = 3e-3  # peak learning rate


def project(run: Run) -> None:
    """Train a character-level language model, and compare it with n-gram models."""
    plan = run.plan
    require_both_sides(f"--corpus {plan.corpus}", load_corpus(plan.corpus), HELD_OUT)
    sides: tuple[Split, ...] = ("train", "validation")
    texts = {side: documents(plan.corpus, side) for side in sides}
    tokenizer = Characters("".join(texts["train"]))
    tokens = {side: _tokens(tokenizer, text) for side, text in texts.items()}
    model = new_decoder(run, tokenizer.vocab_size)
    n = len(tokens["train"])
    say(f"{n_params(model):,} parameters; {n:,} characters, {tokenizer.vocab_size} different ones")
    training = run.stage("model", lambda: _train(model, tokenizer, tokens, run))
    scores = run.stage("scores", lambda: measure(run.output, run.seed))
    for name, bits in scores["bits"].items():
        say(f"{name:8} {bits:.3f} bits per character")
    best = scores["best n-gram"]
    say(f"best n-gram model, of order {best['order']}: {best['score']:.3f} bits per character")
    say(f"\n{scores['sample']}")
    results = {"n_params": n_params(model), "n_characters": n, **scores}
    run.finish(results | {"samples": training["samples"]}, {"training": training["curve"]})


def check(folder: Path) -> list[Criterion]:
    """Measure the model of a run again: it must beat the 5-gram model, and write mostly real words."""
    scores = measure(folder, seed=0)
    bits, words = scores["bits"], scores["known_words"]
    return [
        below("bits per held-out character", bits["model"], bits["5-gram"], "5-gram model"),
        at_least("fraction of its longer words that the corpus has", words, 0.75),
    ]


def documents(corpus: str | None, side: Split) -> list[str]:
    """Read one side of the corpus."""

    def is_recent(document: Document) -> bool:
        return document.source != "sotu" or document.id >= SINCE

    return [d.text for d in load_corpus(corpus, split=side, validation=HELD_OUT) if is_recent(d)]


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Measure a saved model on the held-out side of its corpus, and sample from it."""
    plan = plan_of(Plan, folder)
    train_side, held_out = (documents(plan.corpus, side) for side in ("train", "validation"))
    seen = "\n".join(train_side)
    model = load_model(folder)
    path = folder / "characters.json"
    try:
        tokenizer = Characters(json.loads(path.read_text(encoding="utf-8"))["characters"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); run the project again, with another --output"
        ) from error
    texts = cut(held_out, HELD_OUT_CHARACTERS)
    n_characters = sum(map(len, texts))
    joined = "\n".join(texts).encode()
    counted = {k: ngram_bits_per_byte(seen.encode(), joined, k) * len(joined) for k in (1, 3, 5)}
    bits = {f"{k}-gram": total / n_characters for k, total in counted.items()}
    of_model = [character_bits(model, tokenizer, text) for text in texts]
    bits["model"] = sum(float(each.sum()) for each in of_model) / n_characters
    order, of_bytes = best_ngram_bits(train_side, texts)
    of_ngram = [per_character(each, text) for each, text in zip(of_bytes, texts, strict=True)]
    lines = write(model, tokenizer, seed)
    return {
        "bits": bits,
        **against_ngram(order, of_ngram, of_model),
        "known_words": known_word_fraction(lines, seen),
        "longest_copy": max((longest_copy(line, seen) for line in lines), key=len),
        "sample": "\n".join(lines[:4]),
    }


def write(model: Any, tokenizer: Characters, seed: int) -> list[str]:
    """Sample texts as long as the model's context."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    beginning = torch.full((N_SAMPLES, 1), tokenizer.beginning, device=device)
    n = model.config.context_length - 1
    ids = generate(model, beginning, n, temperature=0.8, generator=generator)
    return [tokenizer.decode(row) for row in ids[:, 1:].tolist()]


def _train(model: Any, tokenizer: Characters, tokens: dict[Split, Any], run: Run) -> dict[str, Any]:
    plan = run.plan
    config = stage_config(
        run,
        plan.n_steps,
        plan.lr,
        eval_every=max(1, plan.n_steps // 8),
        eval_batches=30,
        sample_every=max(1, plan.n_steps // 4),
    )
    sides = {side: Windows(ids, plan.context_length, seed=run.seed) for side, ids in tokens.items()}
    result = train_stage(
        run,
        "model",
        model,
        sides["train"],
        config,
        validation=sides["validation"],
        sample=lambda model: write(model, tokenizer, run.seed)[0],
    )
    save(model, run.output)
    write_json(run.output / "characters.json", {"characters": "".join(tokenizer.characters[2:])})
    return {"curve": loss_curve(result.history), "samples": _samples(run.output / "logs" / "model")}


def _samples(logs: Path) -> dict[str, str]:
    """Return the samples of the training, by their step."""
    rows = map(json.loads, (logs / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {str(row["step"]): row["text"] for row in rows if "text" in row}


def _tokens(tokenizer: Characters, texts: list[str]) -> torch.Tensor:
    return torch.tensor([i for text in texts for i in (tokenizer.beginning, *tokenizer.encode(text))])
