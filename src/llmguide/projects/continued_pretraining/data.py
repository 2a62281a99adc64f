"""The corpora of the project: general text and a domain, each with a held-out side."""

import random
from dataclasses import dataclass
from typing import Any

import torch

from llmguide.data.corpora import Corpus, load_corpus, standard_library
from llmguide.data.splits import Split
from llmguide.data.tokens.windows import Windows
from llmguide.projects.analysis.held_out_bits import (
    excerpts,
)
from llmguide.projects.pretrained import separator
from llmguide.projects.run import Run, cut, require_at_least_one

HELD_OUT = 0.1  # fraction of the documents of each corpus
HELD_OUT_CHARACTERS = 30_000  # characters of each kind
POOL = 50_000_000  # most characters that are shuffled


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    base: str | None = None  # run or transformers folder, packaged or hub name; None: train a small one first
    general: str | None = None  # file, folder or data set; None: the packaged speeches
    domain: str | None = None  # file, folder or data set; None: the source of Python's standard library
    characters: int = 4_000_000  # characters to read of each corpus
    vocab_size: int = 1024  # token ids of the tokenizer of a new base
    n_layers: int = 2  # blocks of a new base
    d_model: int = 96  # width of a new base
    n_heads: int = 3  # attention heads of a new base
    context_length: int = 128  # tokens of a window
    base_steps: int = 200  # optimizer steps of a new base
    n_steps: int = 100  # optimizer steps of each continued run
    batch_size: int = 8  # windows in memory at a time
    gradient_accumulation_steps: int = 2  # batches of an optimizer step
    lr: float = 3e-3  # peak learning rate of a new base
    continued_rate: float = 1e-3  # peak learning rate of the continued runs; lower, against forgetting
    warmup_ratio: float = 0.1  # fraction of the steps; the optimizer starts without its moments
    replay: float = 0.25  # fraction of general text in the run with replay
    lora_rank: int | None = None  # rank of adapters in the upper half of the base; None: train all weights
    excerpt: int | None = None  # most characters of a held-out document, from a random place; None: all

    def __post_init__(self) -> None:
        """Refuse what would fail only after the base is trained."""
        if not 0 < self.replay < 1:
            raise ValueError(f"--replay {self.replay} is a fraction and must be between 0 and 1")
        require_at_least_one(self, "characters", "lora_rank", "excerpt")
        if self.lora_rank and self.base is None:
            raise ValueError("--lora-rank adapts a --base; a new base is small enough to train all weights")


def general(plan: Plan) -> Corpus:
    """Return the corpus that the base is pre-trained on."""
    return load_corpus(plan.general)


def domain(plan: Plan) -> Corpus:
    """Return the corpus that the pre-training continues on."""
    return load_corpus(plan.domain) if plan.domain else standard_library()


def texts(corpus: Corpus, side: Split, n: int) -> list[str]:
    """Read shuffled documents of one side, up to n characters."""
    documents, total = [], 0
    for document in corpus.part(side, validation=HELD_OUT):
        documents.append(document.text)
        total += len(document.text)
        if total >= max(n, POOL):
            break
    random.Random(0).shuffle(documents)
    return cut(documents, n)


def windows(run: Run, corpus: Corpus, side: Split, tokenizer: Any) -> Windows:
    """Tokenize one side of a corpus, and cut it into windows of the plan's context length."""
    end = separator(tokenizer)
    documents = texts(corpus, side, run.plan.characters if side == "train" else 5 * HELD_OUT_CHARACTERS)
    ids = torch.tensor([i for text in documents for i in (end, *tokenizer.encode(text))])
    return Windows(ids, run.plan.context_length, seed=run.seed)


def held_out_texts(corpus: Corpus, plan: Plan) -> list[str]:
    """Read the held-out documents that are evaluated, or an excerpt of each."""
    documents = texts(corpus, "validation", POOL if plan.excerpt else HELD_OUT_CHARACTERS)
    return cut(excerpts(documents, plan.excerpt), HELD_OUT_CHARACTERS)
