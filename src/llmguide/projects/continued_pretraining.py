r"""Project: go on pre-training a model on another domain, and see what it learns and what it forgets.

A base model reads general text: the speeches. The domain is the source of Python's standard library. Four
continuations see the same number of tokens: of the domain alone; with general text mixed in, against
forgetting; of the domain with the lower half frozen; and, for comparison, a new model on the domain alone.
Each is measured before and after on held-out text of both kinds, in bits per byte, and by what a writer of
the domain would notice: how much of the text its likeliest next tokens complete.

References: Gururangan et al. 2020, arXiv:2004.10964 (adapting to a domain); Ibrahim et al. 2024,
arXiv:2403.08763 (warming up again, and replay).

Leaves out: a tokenizer of the domain. The base's is kept, as one does with a model that others trained.
"""

import random
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmguide.data.corpora import Corpus, Split, load_corpus, standard_library
from llmguide.data.tokens.packing import Mixture
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Sequences, Windows
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.models import build
from llmguide.projects.pretrained import open_pretrained, sizes
from llmguide.projects.run import (
    Criterion,
    Run,
    plan_of,
    require_both_sides,
    require_finished,
    small_decoder,
    thinned,
)
from llmguide.runs.folder import n_params, say
from llmguide.runs.post_training import loggers, resumable
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.train import train

NAME = "continued-pretraining"
HELD_OUT = 0.1  # of the documents of each corpus
HELD_OUT_CHARACTERS = 30_000  # of each kind
POOL = 50_000_000  # characters that are shuffled, if there are so many
ARMS = ("domain", "domain + replay", "domain, half frozen", "from nothing")


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    base: str | None = None  # run or transformers folder, packaged or hub name; None: train a small one first
    general: str | None = None  # file, folder or data set; None: the speeches that come along
    domain: str | None = None  # file, folder or data set; None: the source of Python's standard library
    characters: int = 4_000_000  # read of each
    vocab_size: int = 1024  # of the tokenizer of a new base
    n_layers: int = 2  # blocks of a new base
    d_model: int = 96  # its width
    n_heads: int = 3  # its attention heads
    context_length: int = 128  # tokens
    base_steps: int = 200  # updates of a new base
    n_steps: int = 100  # updates of each continuation
    batch_size: int = 8  # windows in memory at a time
    gradient_accumulation_steps: int = 2  # batches of an update
    lr: float = 3e-3  # the peak of a new base
    continued_rate: float = 1e-3  # the peak of the continuations: lower, since there is something to lose
    warmup_ratio: float = 0.1  # share of the steps; the optimizer starts without a memory
    replay: float = 0.25  # share of general text in the arm with replay

    def __post_init__(self) -> None:
        """Refuse what would show only after the base is trained."""
        if not 0 < self.replay < 1:
            raise ValueError(f"--replay {self.replay} is a share and must be between 0 and 1")
        if self.characters < 1:
            raise ValueError(f"--characters {self.characters} must be at least 1")


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Continue a pre-training on a domain, in four ways, and measure both kinds of text.

    Args:
        plan: Texts, model and training.
        seed: Of weights and order.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    for text in (general(plan), domain(plan)):
        say(f"corpus: {text.name} ({text.attribution}; license: {text.license})")
        require_both_sides(text.name, text, HELD_OUT)
    if plan.base is None:
        run.stage("base", lambda: _train_base(run))
    base, _ = open_pretrained(_base(output, plan))
    say(f"{n_params(base):,} parameters")
    curves = {}
    for arm in ARMS:
        curves[arm] = run.stage(arm.replace(" ", "-"), partial(_continue, run, arm))
    scores = run.stage("scores", lambda: measure(output))
    for name, found in scores.items():
        say(
            f"{name:20} {found['domain']:.3f} bits per byte of domain, {found['general']:.3f} of general text"
        )
    run.finish({"n_params": n_params(base), "scores": scores}, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run anew: the domain is learned, and replay keeps more of the rest."""
    require_finished(NAME, folder)
    scores = measure(folder)
    before, after, replayed = (scores[name] for name in ("base", "domain", "domain + replay"))
    gain = 1 - after["domain"] / before["domain"]
    kept = after["general"] - replayed["general"]
    typed = after["completed"] - before["completed"]
    return [
        Criterion("bits per byte of the domain, share that is gone", gain, "0.1 or more", gain >= 0.1),
        Criterion("bits per byte of general text that replay keeps", kept, "above 0", kept > 0),
        Criterion("bytes of the domain completed, gain in share", typed, "0.05 or more", typed >= 0.05),
    ]


def general(plan: Plan) -> Corpus:
    """Return what the base has read."""
    return load_corpus(plan.general)


def domain(plan: Plan) -> Corpus:
    """Return what it goes on with."""
    return load_corpus(plan.domain) if plan.domain else standard_library()


def texts(corpus: Corpus, side: Split, n: int) -> list[str]:
    """Read documents of one side in an order that does not follow their names, up to so many characters."""
    documents, total = [], 0
    for document in corpus.part(side, validation=HELD_OUT):
        documents.append(document.text)
        total += len(document.text)
        if total >= max(n, POOL):
            break
    random.Random(0).shuffle(documents)
    kept = []
    for text in documents:
        if n > 0:
            kept.append(text[:n])
            n -= len(text)
    return kept


def measure(folder: Path) -> dict[str, Any]:
    """Measure the base and every continuation on held-out text of both kinds."""
    plan = plan_of(Plan, folder)
    held_out = {
        name: texts(corpus, "validation", HELD_OUT_CHARACTERS)
        for name, corpus in (("domain", domain(plan)), ("general", general(plan)))
    }
    places = {"base": _base(folder, plan)} | {arm: folder / "models" / arm for arm in ARMS}
    found: dict[str, Any] = {}
    for name, place in places.items():
        model, tokenizer = open_pretrained(place)
        bos_id, length = tokenizer.special_tokens[END_OF_TEXT], plan.context_length
        found[name] = {
            kind: bits_per_byte(model, tokenizer, part, bos_id=bos_id, context=length, stride=length // 2)
            for kind, part in held_out.items()
        } | {"completed": completed(model, tokenizer, held_out["domain"], length)}
    return found


@torch.inference_mode()
def completed(model: Any, tokenizer: Any, held_out: list[str], length: int) -> float:
    """Share of the bytes of texts that need not be typed: the likeliest next token is the right one.

    Args:
        model: Completes.
        tokenizer: Of the model.
        held_out: Texts.
        length: Tokens of the windows in which they are read.

    Returns:
        The share, a token counting by its bytes.
    """
    begin = tokenizer.special_tokens[END_OF_TEXT]
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
    """Stop the gradients of the embeddings and of the first half of the blocks.

    Returns:
        How many parameters still learn.
    """
    half = len(model.blocks) // 2
    for part in (model.tokens, *model.blocks[:half]):
        part.requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _train_base(run: Run) -> dict[str, Any]:
    plan = run.plan
    read = texts(general(plan), "train", plan.characters)
    tokenizer = Tokenizer.train(read, plan.vocab_size, special_tokens=[END_OF_TEXT])
    torch.manual_seed(run.seed)
    sizes = {"n_layers": plan.n_layers, "d_model": plan.d_model, "n_heads": plan.n_heads}
    model: Any = build(small_decoder(tokenizer.vocab_size, plan.context_length, **sizes)).to(run.device)
    windows = _windows(run, general(plan), "train", tokenizer)
    result = _train(run, "base", model, windows, _settings(run, plan.base_steps, plan.lr))
    run.keep("models/base", model, tokenizer)
    return result


def _continue(run: Run, arm: str) -> dict[str, Any]:
    plan = run.plan
    base, tokenizer = open_pretrained(_base(run.output, plan))
    torch.manual_seed(run.seed)
    model: Any = build(base.config) if arm == "from nothing" else deepcopy(base)
    model.to(run.device)
    if arm == "domain, half frozen":
        say(f"{arm}: {freeze_lower_half(model):,} parameters learn")
    windows: Sequences = _windows(run, domain(plan), "train", tokenizer)
    if arm == "domain + replay":
        other = _windows(run, general(plan), "train", tokenizer)
        windows = Mixture([windows, other], [1 - plan.replay, plan.replay], seed=run.seed)
    held_out = _windows(run, domain(plan), "validation", tokenizer)
    rate = plan.lr if arm == "from nothing" else plan.continued_rate
    result = _train(run, arm, model, windows, _settings(run, plan.n_steps, rate), validation=held_out)
    run.keep(f"models/{arm}", model, tokenizer)
    return result


def _settings(run: Run, n_steps: int, rate: float) -> TrainConfig:
    plan = run.plan
    return TrainConfig(
        n_steps=n_steps,
        context_length=plan.context_length,
        batch_size=plan.batch_size,
        gradient_accumulation_steps=plan.gradient_accumulation_steps,
        lr=rate,
        warmup_ratio=plan.warmup_ratio,
        optimizer="muon",
        eval_every=max(1, n_steps // 6),
        eval_batches=20,
        log_every=max(1, n_steps // 10),
        checkpoint_every=max(1, n_steps // 10),
        seed=run.seed,
    )


def _train(run: Run, name: str, model: Any, *data: Any, **options: Any) -> dict[str, Any]:
    folder = run.output / "checkpoints" / name
    with resumable(run.output):
        result = train(model, *data, folder=folder, logger=loggers(run.output / "logs" / name), **options)
    return thinned(result.history)


def _windows(run: Run, corpus: Corpus, side: Split, tokenizer: Any) -> Windows:
    end = tokenizer.special_tokens[END_OF_TEXT]
    read = texts(corpus, side, run.plan.characters if side == "train" else 5 * HELD_OUT_CHARACTERS)
    ids = torch.tensor([i for text in read for i in (end, *tokenizer.encode(text))])
    return Windows(ids, run.plan.context_length, seed=run.seed)


def _base(folder: Path, plan: Plan) -> str | Path:
    return folder / "models" / "base" if plan.base is None else plan.base
