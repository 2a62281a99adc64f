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

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmguide.data.corpora import Corpus
from llmguide.data.tokens.mixture import Mixture
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Sequences
from llmguide.models import build
from llmguide.projects.acceptance import Criterion, above, at_least, below
from llmguide.projects.continued_pretraining.data import HELD_OUT, Plan, domain, general, texts, windows
from llmguide.projects.continued_pretraining.evaluation import base_of, measure, variants
from llmguide.projects.pretrained import ADAPTER_TRAINING, adapt, open_pretrained
from llmguide.projects.run import Run, require_both_sides
from llmguide.projects.training import loss_curve, new_decoder, stage_config, train_stage
from llmguide.runs.chat_model import merged
from llmguide.runs.folder import n_params, say
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig


def project(run: Run) -> None:
    """Continue pre-training on a domain, in four variants, and measure both kinds of text."""
    plan: Plan = run.plan
    for text in (general(plan), domain(plan)):
        say(f"corpus: {text.name} ({text.attribution}; license: {text.license})")
        require_both_sides(text.name, text, HELD_OUT)
    if plan.base is None:
        run.stage("base", lambda: _train_new(run, "base", general(plan)))
    base, _ = open_pretrained(base_of(run.output, plan))
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
    data = windows(run, corpus, "train", tokenizer)
    result = train_stage(run, name, model, data, _config(run, plan.base_steps, plan.lr))
    run.save(f"models/{name}", model, tokenizer)
    return loss_curve(result.history)


def _continue(run: Run, variant: str) -> dict[str, Any]:
    plan = run.plan
    if variant == "from nothing" and plan.lora_rank:
        return _train_new(run, variant, domain(plan))
    base, tokenizer = open_pretrained(base_of(run.output, plan))
    torch.manual_seed(run.seed)
    model: Any = build(base.config) if variant == "from nothing" else deepcopy(base)
    if variant == "domain, half frozen":
        say(f"{variant}: {freeze_lower_half(model):,} trainable parameters")
    data: Sequences = windows(run, domain(plan), "train", tokenizer)
    if variant == "domain + replay":
        other = windows(run, general(plan), "train", tokenizer)
        data = Mixture([data, other], [1 - plan.replay, plan.replay], seed=run.seed)
    peak = plan.lr if variant == "from nothing" else plan.continued_rate
    if plan.lora_rank:  # on one core, evaluations on the way would take as long as the training
        adapt(model, plan.lora_rank)
        config, options = _config(run, plan.n_steps, peak, **ADAPTER_TRAINING), {}
    else:
        config = _config(run, plan.n_steps, peak)
        options = {"validation": windows(run, domain(plan), "validation", tokenizer)}
    result = train_stage(run, variant, model, data, config, **options)
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
