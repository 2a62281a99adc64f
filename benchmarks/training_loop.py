"""Compare the training loop with nanoGPT's and Hugging Face's `Trainer` on the same text and model.

Each run reads a memory-mapped text, trains, logs every tenth step, and evaluates; `benchmarks.training` calls
this after it has timed the steps alone.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from math import cos, pi
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from benchmarks.harness import Result, compare
from benchmarks.peers import BATCH, config
from torch import Tensor, nn

from llmguide.cli.pretrain import DEFAULT
from llmguide.data.tokens.windows import Windows
from llmguide.training.config import TrainConfig
from llmguide.training.monitor import JsonLinesLogger
from llmguide.training.step import evaluate
from llmguide.training.train import train

STEPS = {"small": 100, "big": 4}
EVAL_BATCHES = {"small": 4, "big": 1}  # after the last step
LEARNING_RATE = 1e-4


def text(size: str, folder: Path) -> np.memmap:
    """Map random tokens in two bytes each, as nanoGPT stores them."""
    path = folder / f"{config(size).vocab_size}.bin"
    rng = np.random.default_rng(0)
    rng.integers(config(size).vocab_size, size=400_000, dtype=np.uint16).tofile(path)
    return np.memmap(path, dtype=np.uint16, mode="r")


def our_config(size: str) -> TrainConfig:
    return TrainConfig(
        n_steps=STEPS[size],
        context_length=config(size).context_length,
        batch_size=BATCH[size],
        lr=LEARNING_RATE,
        max_spike=float("inf"),
        eval_batches=EVAL_BATCHES[size],
    )


def our_loop(model: nn.Module, size: str, tokens: np.memmap, folder: Path) -> Callable[[], float]:
    logger = JsonLinesLogger(folder / "log.jsonl")
    return lambda: train(model, tokens, our_config(size), validation=tokens, logger=logger).loss


def steps_alone(model: nn.Module, size: str, tokens: np.memmap, folder: Path) -> Result:
    """Compare our loop with itself without loading, logging and evaluation, which are timed one by one.

    Ratios of different runs vary by more than the 2% that these may cost. It evaluates as often as
    ``llmguide pretrain`` does.
    """
    n_steps = EVAL_BATCHES[size] * DEFAULT.eval_every // DEFAULT.eval_batches
    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal spent
            began = perf_counter()
            out = function(*args, **options)
            spent += perf_counter() - began
            return out

        return run

    def run() -> tuple[float, float]:
        nonlocal spent
        spent, began = 0.0, perf_counter()
        train(model, windows, replace(our_config(size), n_steps=n_steps), validation=tokens, logger=logger)
        whole = perf_counter() - began
        return whole, whole - spent

    windows, logger = Windows(tokens, config(size).context_length), JsonLinesLogger(folder / "log.jsonl")
    windows.batch = timed(windows.batch)  # type: ignore[method-assign]
    logger.log = timed(logger.log)  # type: ignore[method-assign]
    with patch("llmguide.training.train.evaluate", timed(evaluate)):
        runs = [run() for _ in range(3)]
    result = Result(f"{size}: loop vs its steps alone", [a for a, _ in runs], [b for _, b in runs], 0.98)
    print(result, flush=True)
    return result


def nanogpt_loop(model: Any, size: str, tokens: np.memmap) -> Callable[[], float]:
    """Train as nanoGPT's train.py does on a CPU: random windows, two decay groups, cosine, clipping."""
    T, n_steps = config(size).context_length, STEPS[size]

    def batch() -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(tokens) - T, (BATCH[size],))
        x, y = (
            torch.stack([torch.from_numpy(tokens[i + d : i + d + T].astype(np.int64)) for i in starts])
            for d in (0, 1)
        )
        return x, y

    @torch.no_grad()
    def evaluate() -> float:
        model.eval()
        losses = [model(*batch())[1].item() for _ in range(EVAL_BATCHES[size])]
        model.train()
        return sum(losses) / len(losses)

    def run() -> float:
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))
        loss = torch.zeros(())
        for step in range(n_steps):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (0.1 + 0.45 * (1 + cos(pi * step / n_steps)))
            _, loss = model(*batch())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % 10 == 0:
                loss.item()
        evaluate()
        return loss.item()

    return run


def trainer_loop(model: Any, size: str, tokens: np.memmap, folder: Path) -> Callable[[], float]:
    """Train with transformers.Trainer."""
    from transformers import Trainer, TrainingArguments  # noqa: PLC0415  # takes seconds to import

    T = config(size).context_length

    class Rows(torch.utils.data.Dataset):
        def __init__(self, n: int):
            self.n = n

        def __len__(self) -> int:
            return self.n

        def __getitem__(self, i: int) -> dict[str, Tensor]:
            ids = torch.from_numpy(tokens[i * T : (i + 1) * T].astype(np.int64))
            return {"input_ids": ids, "labels": ids}

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS[size],
        per_device_train_batch_size=BATCH[size],
        per_device_eval_batch_size=BATCH[size],
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="cosine",
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        logging_steps=10,
        eval_strategy="steps",
        eval_steps=STEPS[size],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        log_level="error",
    )
    made = Trainer(
        model=model,
        args=arguments,
        train_dataset=Rows((len(tokens) - 1) // T),
        eval_dataset=Rows(EVAL_BATCHES[size] * BATCH[size]),
    )
    made.log = lambda logs, *_, **__: logs  # its default prints, which the others do not
    return lambda: made.train().training_loss


def loops(size: str, made: dict[str, Any], name: str, pairs: int) -> list[Result]:
    """Time the loops of one size.

    Args:
        size: Of `benchmarks.peers`.
        made: Models as `benchmarks.training.losses` returns them.
        name: Of the plain peer.
        pairs: Runs of each.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tokens = text(size, folder)
        ours, tanh = (our_loop(made[each][0], size, tokens, folder) for each in ("ours", "ours, tanh"))
        nano = nanogpt_loop(made["nano"][0], size, tokens)
        hf = trainer_loop(made["hf"][0], size, tokens, folder)
        return [
            compare(f"{size}: loop vs {name}'s loop", ours, nano, pairs=pairs, target=1.0),
            compare(f"{size}: loop vs Trainer", tanh, hf, pairs=pairs, target=1.25),
            steps_alone(made["ours"][0], size, tokens, folder),
        ]
