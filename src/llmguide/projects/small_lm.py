r"""Project: a language model from nothing, with its own tokenizer, at several sizes that give a scaling law.

From text to a tokenizer, shards of tokens, and decoders of rising size, each trained on the same number of
tokens with warm-up, a constant learning rate and a cool-down. Before the cool-down every evaluation is a
point of loss against compute that can be compared with all others. The law

$$L(C) = L_0 + \left(\frac{C_c}{C}\right)^{\alpha}$$

is fitted to the final losses of all sizes but the largest, and has to foretell that of the largest. $L_0$ is
what more compute for each token cannot lower: the tokens are the same for all sizes, and few.

References: Kaplan et al. 2020, arXiv:2001.08361 (the law); Hoffmann et al. 2022, arXiv:2203.15556 (compare
losses only at like points of their schedules); Hu et al. 2024, arXiv:2404.06395 (the schedule).

Leaves out: sizes trained on different numbers of tokens, which would tell the two limits apart.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import exp, inf, log
from pathlib import Path
from statistics import linear_regression
from time import perf_counter
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from llmguide.config import ModelConfig
from llmguide.costs.scaling_laws import PowerLaw, forward_flops_per_token
from llmguide.data.corpora import Split, load_corpus
from llmguide.data.tokens.token_files import END_OF_TEXT, Shards
from llmguide.data.tokens.windows import Windows
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.evaluation.metrics import wilson_interval
from llmguide.evaluation.multiple_choice import Question, last_word, multiple_choice
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.models import build
from llmguide.projects.run import Criterion, Run, plan_of, require_finished, small_decoder, thinned
from llmguide.runs.corpus_tokens import prepare
from llmguide.runs.folder import load_run, n_params, say
from llmguide.runs.post_training import loggers, resumable, wait
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import distributed
from llmguide.training.activation_checkpointing import training_blocks
from llmguide.training.config import Precision, TrainConfig
from llmguide.training.divergence import DivergenceError
from llmguide.training.step import accumulate_gradients, evaluate
from llmguide.training.train import train
from llmguide.training.utilization import measure_peak_flops

NAME = "small-lm"
HELD_OUT = 0.05  # of the documents
HELD_OUT_CHARACTERS = 60_000
N_QUESTIONS = 200
EVAL_BATCHES = 40  # of each evaluation
N_TIMED = 5  # updates
N_FLOORS = 3000  # tried in a fit
BAR = 0.03  # of the loss that the law foretells


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    corpus: str | None = None  # file, folder or data set of the hub; None: the speeches that come along
    vocab_size: int = 1024  # of the tokenizer
    n_layers: tuple[int, ...] = (2, 2, 2, 3)  # blocks of each model, from small to large
    d_model: tuple[int, ...] = (32, 48, 64, 96)  # width of each
    head_dim: int = 16  # width of an attention head
    context_length: int = 128  # tokens
    n_steps: int = 300  # updates of each model
    batch_size: int = 16  # windows of an update
    lr: float = 3e-3  # the peak

    def __post_init__(self) -> None:
        """Refuse sizes that no law can be fitted to."""
        if len(self.n_layers) != len(self.d_model) or len(self.n_layers) < 4:
            raise ValueError(
                f"--n-layers {self.n_layers} and --d-model {self.d_model} must name as many sizes, four or "
                "more: a law of three numbers needs three sizes, and the largest tests it"
            )
        if self.head_dim < 1:
            raise ValueError(f"--head-dim {self.head_dim} must be at least 1")


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Train language models of several sizes, fit a scaling law, and evaluate the largest.

    Args:
        plan: Text, sizes and training.
        seed: Of weights and order.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    text = load_corpus(plan.corpus)
    say(f"corpus: {text.name} ({text.attribution}; license: {text.license})")
    run.stage("tokens", lambda: _prepare(run))
    runs = {}
    for i, (n_layers, d_model) in enumerate(zip(plan.n_layers, plan.d_model, strict=True)):
        size = run.stage(f"size-{i}", partial(_train, run, i))
        runs[f"{n_layers} x {d_model}"] = size
        say(f"{n_layers} layers of {d_model}: {size['n_params']:,} parameters, loss {size['loss']:.3f}")
    law = run.stage("law", lambda: foretell(plan, [size["loss"] for size in runs.values()]))
    say(f"the law foretells {law['foretold']:.3f} for the largest, which has {law['found']:.3f}")
    speed = run.stage("speed", lambda: _speeds(run))
    stability = run.stage("stability", lambda: _too_fast(run))
    scores = run.stage("scores", lambda: measure(output))
    say(f"bits per byte: {scores['bits_per_byte']:.3f}, and of counts of as much text {scores['counts']}")
    curves = {name: size.pop("curve") for name, size in runs.items()}
    results = {"sizes": runs, "law": law, "speed": speed, "stability": stability, "scores": scores}
    run.finish(results, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run anew: tokenizer, losses of all sizes, the law, and the largest model."""
    require_finished(NAME, folder)
    plan = plan_of(Plan, folder)
    losses = [held_out_loss(folder, plan, i) for i in range(len(plan.n_layers))]
    scores, law = measure(folder), foretell(plan, losses)
    error = abs(law["foretold"] / law["found"] - 1)
    falls = min(before - after for before, after in pairwise(losses))
    return [
        Criterion(
            "characters that the tokenizer does not give back", scores["lost"], "0", scores["lost"] == 0
        ),
        Criterion("least fall of the loss from size to size", falls, "above 0", falls > 0),
        Criterion("error of the loss that the law foretells", error, f"at most {BAR}", error <= BAR),
        Criterion(
            "bits per held-out byte",
            scores["bits_per_byte"],
            f"below a 4-gram of as much text, {scores['counts']['4-gram']:.3f}",
            scores["bits_per_byte"] < scores["counts"]["4-gram"],
        ),
    ]


def shape(plan: Plan, i: int, vocab_size: int) -> ModelConfig:
    """Shape of a size."""
    width = plan.d_model[i]
    sizes = {"n_layers": plan.n_layers[i], "d_model": width, "n_heads": max(1, width // plan.head_dim)}
    return small_decoder(vocab_size, plan.context_length, **sizes)


def flops_per_token(plan: Plan, i: int) -> float:
    """Training FLOPs of a token: three times those of the forward pass."""
    forward = forward_flops_per_token(shape(plan, i, plan.vocab_size), plan.context_length)
    return 3.0 * sum(forward.values())


def fit(compute: Sequence[float], losses: Sequence[float]) -> tuple[float, PowerLaw]:
    """Fit a power law above a floor: the floor for which the logarithms lie best on a straight line.

    Args:
        compute: Of each size; at least three.
        losses: Of each.

    Returns:
        The floor, and the law of what is above it.

    >>> floor, law = fit([1.0, 4.0, 16.0], [3.0, 2.0, 1.5])
    >>> round(floor, 2), round(law.exponent, 2), round(floor + law(64.0), 2)
    (1.0, 0.5, 1.25)
    """
    x = [log(c) for c in compute]

    def line(floor: float) -> tuple[float, float]:
        slope, intercept = linear_regression(x, [log(loss - floor) for loss in losses])
        return slope, intercept

    def miss(floor: float) -> float:
        slope, intercept = line(floor)
        return sum(
            (floor + exp(intercept + slope * c) - loss) ** 2 for c, loss in zip(x, losses, strict=True)
        )

    floor = min((min(losses) * i / N_FLOORS for i in range(N_FLOORS)), key=miss)
    slope, intercept = line(floor)
    return floor, PowerLaw(scale=exp(-intercept / slope), exponent=-slope)


def foretell(plan: Plan, losses: Sequence[float]) -> dict[str, float]:
    """Fit the law to all sizes but the largest, and compare what it says of that with what was found."""
    compute = [flops_per_token(plan, i) * _n_tokens(plan) for i in range(len(plan.n_layers))]
    floor, law = fit(compute[:-1], losses[:-1])
    return {
        "floor": floor,
        "exponent": law.exponent,
        "scale": law.scale,
        "foretold": floor + law(compute[-1]),
        "found": losses[-1],
    }


def measure(folder: Path) -> dict[str, Any]:
    """Measure the largest model of a run, and its tokenizer, on held-out text."""
    plan = plan_of(Plan, folder)
    model, tokenizer = load_run(folder / f"size-{len(plan.n_layers) - 1}")
    bos_id = tokenizer.special_tokens[END_OF_TEXT]
    held_out = _at_most(plan.corpus, "validation", HELD_OUT_CHARACTERS)
    read = _n_tokens(plan) * Shards(folder / "tokens" / "train", tokenizer, verify=False).bytes_per_token
    seen, unseen = "\n".join(_at_most(plan.corpus, "train", round(read))), "\n".join(held_out)
    stride = plan.context_length // 2
    words = last_word(model, tokenizer, endings(held_out, N_QUESTIONS), bos_id=bos_id)
    chosen = multiple_choice(model, tokenizer, continuations(held_out, N_QUESTIONS), bos_id=bos_id)
    return {
        "bits_per_byte": bits_per_byte(model, tokenizer, held_out, bos_id=bos_id, stride=stride),
        "counts": {f"{k}-gram": ngram_bits_per_byte(seen.encode(), unseen.encode(), k) for k in (3, 4, 5)},
        "lost": sum(tokenizer.decode(tokenizer.encode(text)) != text for text in held_out),
        "last_word": {**words._asdict(), **_interval(words.acc, words.n)},
        "continuation": {**chosen._asdict(), **_interval(chosen.acc_norm, chosen.n)},
    }


def held_out_loss(folder: Path, plan: Plan, i: int) -> float:
    """Mean loss of a token, of one of the sizes, on held-out text."""
    model, tokenizer = load_run(folder / f"size-{i}")
    windows = _windows(folder, plan, "validation", tokenizer)
    return evaluate(model, windows, batch_size=plan.batch_size, n_batches=EVAL_BATCHES)


def endings(texts: list[str], n: int) -> list[str]:
    """Cut passages that end with a word of some length, which is to be foretold, as in LAMBADA.

    >>> endings(["One two three four. Five six seven eight nine."], 1)
    ['One two three four. Five six seven eight nine']
    """
    sentences = (re.split(r"(?<=[.?!]) +", " ".join(text.split())) for text in texts)
    found = [f"{a} {b}".rstrip(" .?!") for part in sentences for a, b in pairwise(part) if len(b.split()) > 4]
    return random.Random(0).sample(found, min(n, len(found)))


def continuations(texts: list[str], n: int) -> list[Question]:
    """Ask which of four halves of sentences follows a passage, as in HellaSwag; three are from elsewhere.

    >>> [question] = continuations(["a b c d e f g h i j. " * 4], 1)
    >>> question.context, question.choices[question.answer]
    ('a b c d e', 'f g h i j.')
    """
    sentences = [s.split() for text in texts for s in re.split(r"(?<=[.?!]) +", " ".join(text.split()))]
    halves = [(s[: len(s) // 2], s[len(s) // 2 :]) for s in sentences if 10 <= len(s) <= 40]
    draw = random.Random(0)
    found = []
    for first, second in draw.sample(halves, min(n, len(halves))):
        others = [" ".join(draw.choice(halves)[1]) for _ in range(3)]
        answer = draw.randrange(4)
        choices = [*others[:answer], " ".join(second), *others[answer:]]
        found.append(Question(" ".join(first), choices, answer))
    return found


def _prepare(run: Run) -> dict[str, int]:
    text = load_corpus(run.plan.corpus)
    if distributed.world().rank == 0:
        prepare(text, run.output, vocab_size=run.plan.vocab_size, validation=HELD_OUT, workers=1)
    wait()
    return {side: len(Shards(run.output / "tokens" / side, verify=False)) for side in ("train", "validation")}


def _train(run: Run, i: int) -> dict[str, Any]:
    plan, tokenizer = run.plan, Tokenizer.load(run.output / "tokenizer.json")
    torch.manual_seed(run.seed)
    model: Any = build(shape(plan, i, tokenizer.vocab_size)).to(run.device)
    sides = {
        side: _windows(run.output, plan, side, tokenizer, seed=run.seed) for side in ("train", "validation")
    }
    with resumable(run.output):
        result = train(
            model,
            sides["train"],
            _settings(run),
            validation=sides["validation"],
            folder=run.output / "checkpoints" / f"size-{i}",
            logger=loggers(run.output / "logs" / f"size-{i}"),
        )
    run.keep(f"size-{i}", model, tokenizer)
    return {
        "n_params": n_params(model),
        "flops_per_token": flops_per_token(plan, i),
        "n_tokens": result.n_tokens,
        "loss": result.history[-1].val_loss,
        "curve": thinned(result.history),
    }


def _settings(run: Run) -> TrainConfig:
    n_steps = run.plan.n_steps
    return TrainConfig(
        n_steps=n_steps,
        context_length=run.plan.context_length,
        batch_size=run.plan.batch_size,
        lr=run.plan.lr,
        schedule="warmup_stable_decay",
        optimizer="muon",
        eval_every=max(1, n_steps // 10),
        eval_batches=EVAL_BATCHES,
        log_every=max(1, n_steps // 10),
        checkpoint_every=max(1, n_steps // 10),
        seed=run.seed,
    )


def _speeds(run: Run) -> dict[str, Any]:
    """Compare the largest model's speed in two precisions, and with activations computed twice."""
    plan, i = run.plan, len(run.plan.n_layers) - 1
    model, tokenizer = load_run(run.output / f"size-{i}")
    model.to(run.device).train()
    batch = _windows(run.output, plan, "train", tokenizer).batch(0, plan.batch_size)
    peak, found = measure_peak_flops(run.device), {}
    settings: list[tuple[Precision, bool]] = [("float32", False), ("float32", True), ("bfloat16", False)]
    for precision, recompute in settings:
        kept: dict[int, int] = {}  # bytes that are stored for the backward pass

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with (
            training_blocks(model, activation_checkpointing=recompute),
            saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            loss, _ = accumulate_gradients(model, [batch], precision=precision)  # warms up
        with training_blocks(model, activation_checkpointing=recompute):
            began = perf_counter()
            for _ in range(N_TIMED):
                accumulate_gradients(model, [batch], precision=precision)
            speed = N_TIMED * batch.targets.numel() / (perf_counter() - began)
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        found[precision + (", recomputed" if recompute else "")] = {
            "loss": loss,
            "tokens_per_s": speed,
            "mfu": speed * flops_per_token(plan, i) / peak,
            "kept_mb": sum(size for place, size in kept.items() if place not in weights) / 1e6,
        }
    return {"peak_gflops": peak / 1e9, "settings": found}


def _too_fast(run: Run) -> dict[str, Any]:
    """Train the smallest model with learning rates that are too high, to see it go wrong and be stopped."""
    plan, tokenizer = run.plan, Tokenizer.load(run.output / "tokenizer.json")
    found = {}
    for factor in (1, 30, 1000):
        torch.manual_seed(run.seed)
        model: Any = build(shape(plan, 0, tokenizer.vocab_size)).to(run.device)
        settings = replace(
            _settings(run),
            n_steps=60,
            optimizer="adamw",
            lr=plan.lr * factor,
            max_grad_norm=inf,
            log_every=1,
        )
        logger = _Losses()
        try:
            train(model, _windows(run.output, plan, "train", tokenizer), settings, logger=logger)
            stopped = ""
        except DivergenceError as error:
            stopped = str(error)
        found[f"{settings.lr:g}"] = {"losses": logger.losses, "stopped": stopped}
    return found


class _Losses:
    """A logger that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def log(self, _: int, values: dict[str, float]) -> None:
        self.losses.append(round(values["loss"], 3))

    def text(self, _: int, __: str) -> None:
        """Samples are not asked for."""


def _windows(folder: Path, plan: Plan, side: str, tokenizer: Tokenizer, *, seed: int = 0) -> Windows:
    return Windows(Shards(folder / "tokens" / side, tokenizer, verify=False), plan.context_length, seed=seed)


def _n_tokens(plan: Plan) -> int:
    """Tokens that each size is trained on."""
    return plan.n_steps * plan.batch_size * plan.context_length


def _at_most(corpus: str | None, side: Split, n: int) -> list[str]:
    """Read documents of one side up to so many characters; the last is cut."""
    kept = []
    for document in load_corpus(corpus, split=side, validation=HELD_OUT):
        if n <= 0:
            break
        kept.append(document.text[:n])
        n -= len(document.text)
    return kept


def _interval(share: float, n: int) -> dict[str, float]:
    _, low, high = wilson_interval(share * n, n)
    return {"low": low, "high": high}
