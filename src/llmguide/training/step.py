r"""One training step (gradient accumulation, clipping, update), and evaluation.

A step minimizes the mean loss over the targets of all its micro-batches,

$$L = \frac{1}{\sum_i n_i} \sum_i n_i L_i$$

with $n_i$ targets and mean loss $L_i$ in micro-batch $i$. The plain mean of the $L_i$ is a different loss if
the $n_i$ differ.

References: accumulation weighted by tokens (Unsloth 2024, https://unsloth.ai/blog/gradient); bfloat16
(Kalamkar et al. 2019, arXiv:1905.12322).

Leaves out: float16 with loss scaling.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from llmguide.data.tokens.windows import Sequences, to_device
from llmguide.training import distributed
from llmguide.training.config import Precision
from llmguide.training.distributed import Loss
from llmguide.training.losses import batch_loss
from llmguide.training.update_rules import clip_grad_norm_


class StepMetrics(NamedTuple):
    """Metrics of one optimizer step.

    Attributes:
        loss: Mean loss over the targets of the step, before the update.
        grad_norm: Norm of the gradient before clipping.
        n_targets: Number of targets.
    """

    loss: float
    grad_norm: float
    n_targets: int


def train_step(
    model: nn.Module,
    batches: Sequence[tuple[Tensor | None, ...]],
    optimizer: torch.optim.Optimizer,
    lr: float,
    *,
    loss: Loss = batch_loss,
    max_grad_norm: float = 1.0,
    precision: Precision = "float32",
    check: Callable[[float, float], None] | None = None,
) -> StepMetrics:
    """Take one training step: accumulate gradients over micro-batches, clip them, update the weights.

    Args:
        model: Model to train, in training mode.
        batches: Micro-batches of the step, at least one, of the kind that `loss` takes.
        optimizer: Optimizer of the model's parameters.
        lr: Learning rate of this step.
        loss: Function from the model and a batch to the mean loss and the number of targets.
        max_grad_norm: Largest global norm of the gradient; a larger one is clipped.
        precision: Number format of the matrix products in the forward and backward pass.
        check: Function that is called with the loss and the gradient norm before the update; it raises an
            error to prevent the update.

    Returns:
        The metrics of the step.

    >>> from llmguide.data.tokens.windows import Batch
    >>> from llmguide.training.optimizers import AdamW
    >>> model = nn.Embedding(2, 2)  # a bigram model: row i holds the logits after token i
    >>> batch = Batch(torch.tensor([[0, 1, 0]]), torch.tensor([[1, 0, 1]]))
    >>> optimizer = AdamW(model.parameters())
    >>> losses = [train_step(model, [batch], optimizer, lr=0.1).loss for _ in range(20)]
    >>> losses[-1] < losses[0]
    True
    """
    optimizer.zero_grad()
    mean_loss, n_targets = accumulate_gradients(model, batches, loss=loss, precision=precision)
    grad_norm = clip_grad_norm_(model.parameters(), max_grad_norm).item()
    if check is not None:
        check(mean_loss, grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return StepMetrics(mean_loss, grad_norm, n_targets)


def accumulate_gradients(
    model: nn.Module,
    batches: Sequence[tuple[Tensor | None, ...]],
    *,
    loss: Loss = batch_loss,
    precision: Precision = "float32",
) -> tuple[float, int]:
    """Compute the gradient of the mean loss over all targets of all batches, one batch at a time.

    The result equals the gradient of one batch that holds them all.

    Args:
        model: Model to train; its gradients are None at the start.
        batches: Micro-batches, at least one, of the kind that `loss` takes.
        loss: Function from the model and a batch to the mean loss and the number of targets.
        precision: Number format of the matrix products in the forward and backward pass.

    Returns:
        The mean loss over all targets, and the number of targets.

    Raises:
        ValueError: All targets are masked.
    """
    device = next(model.parameters()).device
    n_processes = distributed.world().size
    is_whole = len(batches) == n_processes == 1
    ddp = model if isinstance(model, DistributedDataParallel) else None
    sums, total = torch.zeros((), device=device), 0.0
    for i, batch in enumerate(batches):
        is_last = i == len(batches) - 1
        # DDP all-reduces after the last micro-batch only
        with ddp.no_sync() if ddp is not None and not is_last else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                mean, n = loss(model, to_device(batch, device))
            if n or n_processes > 1:  # collective: all processes or none
                # the total number of targets is known only at the end, except for a single batch
                part = mean if is_whole else mean * n
                part.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        sums = sums + mean.detach() * n  # not in place, which would round double precision
        total += n
    summed, total = distributed.all_reduce_sum(sums.item(), total, device=device)
    if total == 0:
        raise ValueError(f"all targets of {len(batches)} batches are -100, so there is no loss")
    if not is_whole:
        for p in model.parameters():
            if p.grad is not None:
                p.grad.mul_(n_processes / total)  # undo the division in DDP and FSDP
    return summed / total, int(total)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    sequences: Sequences,
    *,
    loss: Loss = batch_loss,
    batch_size: int = 16,
    n_batches: int | None = None,
    precision: Precision = "float32",
) -> float:
    """Compute the mean loss over the targets of one epoch, with dropout off.

    Args:
        model: Model to evaluate; its mode (training or evaluation) is restored.
        sequences: Held-out data; each sequence is used once.
        loss: Function from the model and a batch to the mean loss and the number of targets.
        batch_size: Number of sequences per batch, at least 1; it changes the result only by rounding.
        n_batches: Number of batches to use, always the first ones; None: all.
        precision: Number format of the matrix products.

    Returns:
        The mean loss. For the default loss it is in nats per token, and its exponential is the perplexity.

    Raises:
        ValueError: All targets are masked.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    summed, total = 0.0, 0.0
    end = len(sequences) if n_batches is None else min(len(sequences), n_batches * batch_size)
    for first in range(0, end, batch_size):
        size = min(batch_size, end - first)
        # slices may differ in size; a process without rows runs a sequence that is ignored
        own = distributed.rank_slice(size)
        n_own = own.stop - own.start
        batch = to_device(sequences.batch(first + own.start, max(n_own, 1)), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            mean, n = loss(model, batch)
        if n and n_own:
            summed += mean.item() * n
            total += n
    model.train(was_training)
    summed, total = distributed.all_reduce_sum(summed, total, device=device)
    if total == 0:
        raise ValueError(f"all targets of {len(sequences)} sequences are -100, so there is no loss")
    return summed / total
