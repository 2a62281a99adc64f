r"""Project: small language models from scratch, with their own tokenizer, at several sizes for a scaling law.

From text to a tokenizer, shards of tokens, and decoders of increasing size, each trained on the same number
of tokens with warmup, a constant learning rate and a cooldown. Before the cooldown every evaluation is a
point of loss against compute that can be compared with all others. The law

$$L(C) = L_0 + \left(\frac{C_c}{C}\right)^{\alpha}$$

is fitted to the final losses of all sizes but the largest, and has to predict that of the largest. $L_0$ is
the loss that more compute per token cannot reduce: all sizes see the same few tokens.

References: Kaplan et al. 2020, arXiv:2001.08361 (the law); Hoffmann et al. 2022, arXiv:2203.15556 (compare
losses only at the same points of their schedules); Hu et al. 2024, arXiv:2404.06395 (the schedule).

Leaves out: sizes trained on different numbers of tokens, which would separate the two limits.
"""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import torch

from llmguide.data.corpora import load_corpus
from llmguide.data.tokens.token_files import Shards
from llmguide.models import build
from llmguide.projects.acceptance import Criterion, above, at_most, below
from llmguide.projects.run import Run, plan_of
from llmguide.projects.small_lm.evaluation import EVAL_BATCHES, HELD_OUT, held_out_loss, measure, windows_of
from llmguide.projects.small_lm.scaling import Plan, extrapolate, flops_per_token, shape
from llmguide.projects.small_lm.speed import measure_speed
from llmguide.projects.training import loss_curve, stage_config, train_stage
from llmguide.runs.corpus_tokens import prepare
from llmguide.runs.folder import n_params, say
from llmguide.runs.lifecycle import barrier
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import distributed
from llmguide.training.config import TrainConfig
from llmguide.training.divergence import DivergenceError
from llmguide.training.train import train

MAX_ERROR = 0.03  # relative error of the extrapolated loss


def project(run: Run) -> None:
    """Train language models of several sizes, fit a scaling law, and evaluate the largest."""
    plan = run.plan
    text = load_corpus(plan.corpus)
    say(f"corpus: {text.name} ({text.attribution}; license: {text.license})")
    run.stage("tokens", lambda: _prepare(run))
    sizes = {}
    for i, (n_layers, d_model) in enumerate(zip(plan.n_layers, plan.d_model, strict=True)):
        size = run.stage(f"size-{i}", partial(_train, run, i))
        sizes[f"{n_layers} x {d_model}"] = size
        say(f"{n_layers} layers of {d_model}: {size['n_params']:,} parameters, loss {size['loss']:.3f}")
    law = run.stage("law", lambda: extrapolate(plan, [size["loss"] for size in sizes.values()]))
    say(f"the law predicts {law['foretold']:.3f} for the largest, whose loss is {law['found']:.3f}")
    speed = run.stage("speed", lambda: measure_speed(run))
    stability = run.stage("stability", lambda: _too_fast(run))
    scores = run.stage("scores", lambda: measure(run.output))
    best = scores["best n-gram"]
    say(
        f"bits per byte: {scores['bits_per_byte']:.3f}; the best n-gram model of as much text, of order "
        f"{best['order']}: {best['score']:.3f}"
    )
    curves = {name: size.pop("curve") for name, size in sizes.items()}
    results = {"sizes": sizes, "law": law, "speed": speed, "stability": stability, "scores": scores}
    run.finish(results, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run again: tokenizer, losses of all sizes, the law, and the largest model."""
    plan = plan_of(Plan, folder)
    losses = [held_out_loss(folder, plan, i) for i in range(len(plan.n_layers))]
    scores, law = measure(folder), extrapolate(plan, losses)
    reduction = min(smaller - larger for smaller, larger in pairwise(losses))
    bits, ngram = scores["bits_per_byte"], scores["counts"]["4-gram"]
    return [
        lossless(scores["lost"]),
        above("smallest reduction of the loss from size to size", reduction, 0),
        predicted(law["foretold"] / law["found"]),
        below("bits per held-out byte", bits, ngram, "4-gram model of as much text"),
    ]


def lossless(n_lost: int) -> Criterion:
    """Require a tokenizer that gives back every text."""
    return Criterion("texts that the tokenizer does not give back", n_lost, "0", n_lost == 0)


def predicted(ratio: float) -> Criterion:
    """Require a predicted loss near the measured one, given their ratio."""
    return at_most("relative error of the extrapolated loss", abs(ratio - 1), MAX_ERROR)


def _prepare(run: Run) -> dict[str, int]:
    text = load_corpus(run.plan.corpus)
    if distributed.world().rank == 0:
        prepare(
            text,
            run.output,
            tokenizer=None,
            vocab_size=run.plan.vocab_size,
            validation=HELD_OUT,
            workers=1,
        )
    barrier()
    return {side: len(Shards(run.output / "tokens" / side, verify=False)) for side in ("train", "validation")}


def _train(run: Run, i: int) -> dict[str, Any]:
    plan, tokenizer = run.plan, Tokenizer.load(run.output / "tokenizer.json")
    torch.manual_seed(run.seed)
    model: Any = build(shape(plan, i, tokenizer.vocab_size))
    train_side, held_out = (
        windows_of(run.output, plan, side, tokenizer, seed=run.seed) for side in ("train", "validation")
    )
    name = f"size-{i}"
    result = train_stage(run, name, model, train_side, _config(run), validation=held_out)
    run.save(name, model, tokenizer)
    return {
        "n_params": n_params(model),
        "flops_per_token": flops_per_token(plan, i),
        "n_tokens": result.n_tokens,
        "loss": result.history[-1].val_loss,
        "curve": loss_curve(result.history),
    }


def _config(run: Run) -> TrainConfig:
    n_steps = run.plan.n_steps
    return stage_config(
        run,
        n_steps,
        run.plan.lr,
        schedule="warmup_stable_decay",
        eval_every=max(1, n_steps // 10),
        eval_batches=EVAL_BATCHES,
    )


def _too_fast(run: Run) -> dict[str, Any]:
    """Train the smallest model with learning rates that are too high, to see it diverge and be stopped."""
    plan, tokenizer = run.plan, Tokenizer.load(run.output / "tokenizer.json")
    results = {}
    for factor in (1, 30, 1000):
        torch.manual_seed(run.seed)
        model: Any = build(shape(plan, 0, tokenizer.vocab_size)).to(run.device)
        config = replace(
            _config(run),
            n_steps=60,
            optimizer="adamw",
            lr=plan.lr * factor,
            max_grad_norm=inf,
            log_every=1,
        )
        logger = _Losses()
        try:
            train(model, windows_of(run.output, plan, "train", tokenizer), config, logger=logger)
            stopped = ""
        except DivergenceError as error:
            stopped = str(error)
        results[f"{config.lr:g}"] = {"losses": logger.losses, "stopped": stopped}
    return results


class _Losses:
    """A logger that collects the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def log(self, _: int, values: dict[str, float]) -> None:
        self.losses.append(round(values["loss"], 3))

    def text(self, _: int, __: str) -> None:
        """Ignore samples; none are asked for."""
