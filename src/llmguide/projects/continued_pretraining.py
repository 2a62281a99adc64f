r"""Project: continued pre-training on another domain, and what the model learns and forgets.

A base model is pre-trained on general text, the speeches. The domain is the source of Python's standard
library. Four runs see the same number of tokens: of the domain alone; with replay of general text, against
forgetting; of the domain with the lower half of the blocks frozen; and, for comparison, a new model on the
domain from scratch. Each is measured before and after on held-out text of both kinds, in bits per byte, and
by the fraction of the domain's text that its most likely next tokens complete.

With ``lora_rank``, a pretrained ``base`` is continued on one core: adapters in its upper half are trained,
and the model from scratch is a small one. Differences to a pretrained base have intervals over documents.

References: Gururangan et al. 2020, arXiv:2004.10964 (domain-adaptive pre-training); Ibrahim et al. 2024,
arXiv:2403.08763 (re-warming the learning rate, and replay).

Leaves out: a tokenizer of the domain. The base's is kept, as one does with a model that others trained.
"""

import random
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmguide.data.corpora import Corpus, load_corpus, standard_library
from llmguide.data.splits import Split
from llmguide.data.tokens.mixture import Mixture
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Sequences, Windows
from llmguide.models import build
from llmguide.projects.acceptance import Criterion, above, at_least, below
from llmguide.projects.analysis.held_out_bits import (
    best_ngram_bits,
    excerpts,
    model_bits,
    rate,
    rate_difference,
)
from llmguide.projects.pretrained import ADAPTER_TRAINING, adapt, open_pretrained, separator, sizes
from llmguide.projects.run import Run, cut, plan_of, require_both_sides
from llmguide.projects.training import loss_curve, new_decoder, stage_config, train_stage
from llmguide.runs.chat_model import merged
from llmguide.runs.folder import n_params, say
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig

HELD_OUT = 0.1  # fraction of the documents of each corpus
HELD_OUT_CHARACTERS = 30_000  # characters of each kind
POOL = 50_000_000  # most characters that are shuffled
VARIANTS = ("domain", "domain + replay", "domain, half frozen", "from nothing")
PAIRS = (  # whose difference has an interval
    *(("domain", "base"), ("domain + replay", "base"), ("domain + replay", "domain")),
    *((name, baseline) for name in ("base", "domain") for baseline in ("from nothing", "n-gram")),
)


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
        for name in ("characters", "lora_rank", "excerpt"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value} must be at least 1")
        if self.lora_rank and self.base is None:
            raise ValueError("--lora-rank adapts a --base; a new base is small enough to train all weights")


def project(run: Run) -> None:
    """Continue pre-training on a domain, in four variants, and measure both kinds of text."""
    plan = run.plan
    for text in (general(plan), domain(plan)):
        say(f"corpus: {text.name} ({text.attribution}; license: {text.license})")
        require_both_sides(text.name, text, HELD_OUT)
    if plan.base is None:
        run.stage("base", lambda: _train_new(run, "base", general(plan)))
    base, _ = open_pretrained(_base(run.output, plan))
    say(f"{n_params(base):,} parameters")
    curves = {}
    for variant in variants(plan):
        curves[variant] = run.stage(variant.replace(" ", "-"), partial(_continue, run, variant))
    results = run.stage("scores", lambda: measure(run.output))
    for name, bits in results["scores"].items():
        say(f"{name:20} {bits['domain']:.3f} bits per byte of domain, {bits['general']:.3f} of general text")
    run.finish({"n_params": n_params(base)} | results, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run again: the domain is learned, and replay forgets less of the rest."""
    results = measure(folder)
    base, adapted, replayed = (results["scores"][name] for name in ("base", "domain", "domain + replay"))
    saved = adapted["general"] - replayed["general"]
    by_replay = above("bits per byte of general text saved by replay", saved, 0)
    if differences := results.get("differences"):  # a base with real pre-training may know the domain well
        highs = [differences[f"domain minus {name}"]["domain"]["high"] for name in ("base", "n-gram")]
        return [
            below("bits per byte of the domain minus the base's, upper bound", highs[0], 0),
            below("the same minus an n-gram model's, upper bound", highs[1], 0),
            by_replay,
        ]
    gain = 1 - adapted["domain"] / base["domain"]
    completed_gain = adapted["completed"] - base["completed"]
    return [
        at_least("relative reduction of bits per byte of the domain", gain, 0.1),
        by_replay,
        at_least("increase of the completed fraction of the domain", completed_gain, 0.05),
    ]


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


def variants(plan: Plan) -> list[str]:
    """Return the runs of a plan; adapters leave the lower half frozen in all of them."""
    return [name for name in VARIANTS if plan.lora_rank is None or name != "domain, half frozen"]


def measure(folder: Path) -> dict[str, Any]:
    """Measure the base and every continued model on held-out text of both kinds.

    Returns:
        The ``scores`` of each model, and those of an ``n-gram`` model of the domain. With a pretrained base
        also the ``differences`` between models in bits per byte, with 95% intervals over the documents.
    """
    plan = plan_of(Plan, folder)
    held_out = {"domain": _held_out(domain(plan), plan), "general": _held_out(general(plan), plan)}
    folders = {"base": _base(folder, plan)} | {name: folder / "models" / name for name in variants(plan)}
    bits: dict[str, dict[str, list[float]]] = {}  # of each document
    scores: dict[str, Any] = {}
    for name, source in folders.items():
        model, tokenizer = open_pretrained(source)
        length = plan.context_length
        bits[name] = {kind: model_bits(model, tokenizer, part, length) for kind, part in held_out.items()}
        scores[name] = {kind: rate(bits[name][kind], part) for kind, part in held_out.items()}
        if plan.lora_rank is None:  # on one core it would double the time
            scores[name]["completed"] = completed(model, tokenizer, held_out["domain"], length)
    order, of_bytes = best_ngram_bits(texts(domain(plan), "train", plan.characters), held_out["domain"])
    bits["n-gram"] = {"domain": [float(each.sum()) for each in of_bytes]}
    ngram = {"domain": rate(bits["n-gram"]["domain"], held_out["domain"]), "order": order}
    if plan.base is None:
        return {"scores": scores, "n-gram": ngram}
    differences = {
        f"{one} minus {other}": {
            kind: rate_difference(bits[one][kind], bits[other][kind], held_out[kind]) for kind in bits[other]
        }
        for one, other in PAIRS
    }
    return {"scores": scores, "n-gram": ngram, "differences": differences}


@torch.inference_mode()
def completed(model: Any, tokenizer: Any, held_out: list[str], length: int) -> float:
    """Return the fraction of the bytes of texts that greedy completion gets right.

    Args:
        model: Decoder to measure.
        tokenizer: Tokenizer of the model.
        held_out: Texts to complete.
        length: Tokens of the windows in which the texts are read.

    Returns:
        The accuracy of the most likely next token, each token weighted by its bytes.
    """
    begin = separator(tokenizer)
    n_right = n_bytes = 0
    for text in held_out:
        ids = torch.tensor([begin, *tokenizer.encode(text)])
        for first in range(0, len(ids) - 1, length):
            window = ids[first : first + length + 1]
            right = (model(window[None, :-1])[0].argmax(-1) == window[1:]).tolist()
            n_of = sizes(tokenizer, window[1:].tolist())
            n_right += sum(n for n, is_right in zip(n_of, right, strict=True) if is_right)
            n_bytes += sum(n_of)
    return n_right / n_bytes


def freeze_lower_half(model: Any) -> int:
    """Freeze the embeddings and the first half of the blocks.

    Returns:
        The number of trainable parameters.
    """
    half = len(model.blocks) // 2
    for part in (model.tokens, *model.blocks[:half]):
        part.requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _train_new(run: Run, name: str, corpus: Corpus) -> dict[str, Any]:
    """Train a small model with a tokenizer of its own."""
    plan = run.plan
    documents = texts(corpus, "train", plan.characters)
    tokenizer = Tokenizer.train(documents, plan.vocab_size, special_tokens=[END_OF_TEXT])
    model = new_decoder(run, tokenizer.vocab_size)
    windows = _windows(run, corpus, "train", tokenizer)
    result = train_stage(run, name, model, windows, _config(run, plan.base_steps, plan.lr))
    run.save(f"models/{name}", model, tokenizer)
    return loss_curve(result.history)


def _continue(run: Run, variant: str) -> dict[str, Any]:
    plan = run.plan
    if variant == "from nothing" and plan.lora_rank:
        return _train_new(run, variant, domain(plan))
    base, tokenizer = open_pretrained(_base(run.output, plan))
    torch.manual_seed(run.seed)
    model: Any = build(base.config) if variant == "from nothing" else deepcopy(base)
    if variant == "domain, half frozen":
        say(f"{variant}: {freeze_lower_half(model):,} trainable parameters")
    windows: Sequences = _windows(run, domain(plan), "train", tokenizer)
    if variant == "domain + replay":
        other = _windows(run, general(plan), "train", tokenizer)
        windows = Mixture([windows, other], [1 - plan.replay, plan.replay], seed=run.seed)
    peak = plan.lr if variant == "from nothing" else plan.continued_rate
    if plan.lora_rank:  # on one core, evaluations on the way would take as long as the training
        adapt(model, plan.lora_rank)
        config, options = _config(run, plan.n_steps, peak, **ADAPTER_TRAINING), {}
    else:
        config = _config(run, plan.n_steps, peak)
        options = {"validation": _windows(run, domain(plan), "validation", tokenizer)}
    result = train_stage(run, variant, model, windows, config, **options)
    run.save(f"models/{variant}", merged(model), tokenizer)
    return loss_curve(result.history)


def _config(run: Run, n_steps: int, lr: float, **changes: Any) -> TrainConfig:
    return stage_config(
        run,
        n_steps,
        lr,
        gradient_accumulation_steps=run.plan.gradient_accumulation_steps,
        warmup_ratio=run.plan.warmup_ratio,
        eval_every=max(1, n_steps // 6),
        eval_batches=20,
        **changes,
    )


def _windows(run: Run, corpus: Corpus, side: Split, tokenizer: Any) -> Windows:
    end = separator(tokenizer)
    documents = texts(corpus, side, run.plan.characters if side == "train" else 5 * HELD_OUT_CHARACTERS)
    ids = torch.tensor([i for text in documents for i in (end, *tokenizer.encode(text))])
    return Windows(ids, run.plan.context_length, seed=run.seed)


def _held_out(corpus: Corpus, plan: Plan) -> list[str]:
    documents = texts(corpus, "validation", POOL if plan.excerpt else HELD_OUT_CHARACTERS)
    return cut(excerpts(documents, plan.excerpt), HELD_OUT_CHARACTERS)


def _base(folder: Path, plan: Plan) -> str | Path:
    return folder / "models" / "base" if plan.base is None else plan.base
