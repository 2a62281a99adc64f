"""Measure what a training step costs: throughput, utilization and activation memory."""

from time import perf_counter
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from llmguide.projects.run import Run
from llmguide.projects.small_lm.evaluation import windows_of
from llmguide.projects.small_lm.scaling import flops_per_token
from llmguide.runs.folder import load_run
from llmguide.training.activation_checkpointing import training_blocks
from llmguide.training.config import Precision
from llmguide.training.step import accumulate_gradients
from llmguide.training.utilization import measure_peak_flops

N_TIMED = 5  # optimizer steps


def measure_speed(run: Run) -> dict[str, Any]:
    """Measure throughput, MFU and stored activations of the largest model, in two precisions.

    With activation checkpointing, the activations are computed twice instead of stored.
    """
    plan, i = run.plan, len(run.plan.n_layers) - 1
    model, tokenizer = load_run(run.output / f"size-{i}")
    model.to(run.device).train()
    batch = windows_of(run.output, plan, "train", tokenizer).batch(0, plan.batch_size)
    peak, results = measure_peak_flops(run.device), {}
    settings: list[tuple[Precision, bool]] = [("float32", False), ("float32", True), ("bfloat16", False)]
    for precision, recompute in settings:
        stored: dict[int, int] = {}  # bytes that are stored for the backward pass, by address

        def record(tensor: torch.Tensor, stored: dict[int, int] = stored) -> torch.Tensor:
            storage = tensor.untyped_storage()
            stored[storage.data_ptr()] = storage.nbytes()
            return tensor

        with (
            training_blocks(model, activation_checkpointing=recompute),
            saved_tensors_hooks(record, lambda tensor: tensor),
        ):
            loss, _ = accumulate_gradients(model, [batch], precision=precision)  # warms up
        with training_blocks(model, activation_checkpointing=recompute):
            start = perf_counter()
            for _ in range(N_TIMED):
                accumulate_gradients(model, [batch], precision=precision)
            speed = N_TIMED * batch.targets.numel() / (perf_counter() - start)
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        results[precision + (", recomputed" if recompute else "")] = {
            "loss": loss,
            "tokens_per_s": speed,
            "mfu": speed * flops_per_token(plan, i) / peak,
            "kept_mb": sum(size for address, size in stored.items() if address not in weights) / 1e6,
        }
    return {"peak_gflops": peak / 1e9, "settings": results}
