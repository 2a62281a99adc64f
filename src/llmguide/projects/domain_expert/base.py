"""The base model of the domain expert, and the text that it is pre-trained on."""

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from llmguide.data.corpora import default_corpus, passages
from llmguide.data.splits import Split
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Windows
from llmguide.post_training.chat import END, START
from llmguide.projects.domain_expert.dataset import Curated, curated
from llmguide.projects.domain_expert.facts import Fact
from llmguide.projects.domain_expert.templates import passage
from llmguide.projects.pretrained import as_tokenizer, separator
from llmguide.projects.run import Run, require_at_least_one
from llmguide.projects.training import new_decoder, stage_config, train_stage
from llmguide.runs.folder import n_params, say
from llmguide.tokenization.tokenizer import Tokenizer

READINGS = 40  # texts about each name; more are repetitions
GENERAL = 0.2  # fraction of general text, in characters


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    base: str | None = None  # run or transformers folder, packaged or hub name; None: train a small one first
    lora_rank: int | None = None  # rank of adapters in the upper half of the base; None: train all weights
    general: str | None = None  # model that answers the benchmark as it is, for comparison
    writer: str | None = None  # a model at OPENAI_BASE_URL that writes questions, too
    n_written: int = 500  # questions that the writer writes
    n_names: int = 300  # names of the library to learn about; the others are unknown
    n_test: int = 40  # most questions of the benchmark of each kind about each relation
    ablations: bool = True  # whether to train with a curriculum, and without refusals, too
    vocab_size: int = 2048  # token ids of the tokenizer of a new base
    n_layers: int = 3  # blocks of a new base
    d_model: int = 128  # width of a new base
    n_heads: int = 4  # attention heads of a new base
    context_length: int = 64  # tokens of a window of a new base, and of a conversation
    base_steps: int = 400  # optimizer steps of a new base
    n_steps: int = 300  # optimizer steps of each fine-tuning
    batch_size: int = 16  # conversations of an optimizer step, and half the windows of a new base's
    n_windows: int = 8  # windows of text in each step of the fine-tuning: replay, or what a --base reads
    base_rate: float = 3e-3  # peak learning rate of a new base
    rate: float = 4e-4  # peak learning rate of full fine-tuning; a large one forgets what is not replayed

    def __post_init__(self) -> None:
        """Refuse what would fail only after the base is trained."""
        require_at_least_one(self, "lora_rank", "n_test")
        if self.lora_rank and self.base is None:
            raise ValueError("--lora-rank adapts a --base; a new base is small enough to train all weights")


@cache
def curated_facts(n_names: int) -> Curated:
    """Return the curated facts about so many names; cached, since curation takes seconds."""
    return curated(n_names)


def train_base(run: Run) -> dict[str, int]:
    """Pre-train a small base on texts about the known names, and general text."""
    plan = run.plan
    texts = base_texts(curated_facts(plan.n_names), run.seed)[:3000]
    tokenizer = Tokenizer.train(texts, plan.vocab_size, special_tokens=[END_OF_TEXT, START, END])
    model = new_decoder(run, tokenizer.vocab_size)
    ids = base_ids(plan, tokenizer, run.seed)
    say(f"base: {n_params(model):,} parameters, {len(ids):,} tokens")
    windows = Windows(ids, plan.context_length, seed=run.seed)
    config = stage_config(run, plan.base_steps, plan.base_rate, batch_size=2 * plan.batch_size)
    train_stage(run, "base", model, windows, config)
    run.save("base", model, tokenizer)
    return {"n_params": n_params(model), "n_tokens": len(ids)}


def base_ids(plan: Plan, tokenizer: Any, seed: int) -> torch.Tensor:
    """Return the token ids of the base's text."""
    tokenizer = as_tokenizer(tokenizer)
    end = separator(tokenizer)
    texts = base_texts(curated_facts(plan.n_names), seed)
    return torch.tensor([i for text in texts for i in (*tokenizer.encode(text), end)])


def base_texts(curated_names: Curated, seed: int) -> list[str]:
    """Write the text of the base: facts about each name, in many paraphrases, and general text."""
    rng, by_name = random.Random(seed), dict[str, list[Fact]]()
    for fact in curated_names.known:
        by_name.setdefault(fact.name, []).append(fact)
    texts = [passage(facts, rng) for facts in by_name.values() for _ in range(READINGS)]
    budget = GENERAL / (1 - GENERAL) * sum(map(len, texts))
    for text in general_texts("train"):
        if budget < 0:
            break
        texts.append(text)
        budget -= len(text)
    rng.shuffle(texts)
    return texts


def general_texts(side: Split) -> list[str]:
    """Return passages of speeches, or of the library's text where these are not installed."""
    documents = list(default_corpus().part(side))
    random.Random(0).shuffle(documents)
    return [part.text for document in documents for part in passages(document, 1000)]
