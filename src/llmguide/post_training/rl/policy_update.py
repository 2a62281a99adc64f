"""The update of PPO and GRPO: epochs of minibatches over one rollout.

Under `torchrun` every process has the whole rollout. Each computes the gradients of its slice of a minibatch,
and the gradients are all-reduced.

Glossary: ``B`` completions, ``T`` tokens of the longest completion, ``n`` completions of a minibatch.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.training import distributed
from llmguide.training.activation_checkpointing import training_blocks
from llmguide.training.divergence import DivergenceError
from llmguide.training.schedules import warmup_cosine
from llmguide.training.update_rules import clip_grad_norm_

MinibatchLoss = Callable[[Int[Tensor, " n"]], tuple[Tensor, dict[str, Tensor]]]


def update_policy(
    trained: nn.Module,
    optimizer: Optimizer,
    mask: Bool[Tensor, "B T"],
    minibatch_loss: MinibatchLoss,
    config: PolicyTrainerConfig,
    *,
    step: int,
    per_token: bool,
) -> dict[str, float]:
    """Take the optimizer steps of one rollout; every epoch covers all rows in a new random order.

    Args:
        trained: Module that holds every module to update.
        optimizer: Optimizer of its parameters.
        mask: True for the tokens of the completions.
        minibatch_loss: Function from the row numbers of a minibatch to its loss, a mean over tokens or over
            completions, and metrics: ``policy_loss``, averaged like the loss, and means over tokens.
        config: Training hyperparameters.
        step: Number of the rollout, from 1, which sets the learning rate.
        per_token: Whether the loss is a mean over tokens.

    Returns:
        The metrics and the gradient norm, averaged over the optimizer steps.

    Raises:
        DivergenceError: The loss or the gradient is not finite; the weights are left as they were.
    """

    def backward(part: Tensor, rows: Tensor) -> dict[str, Tensor]:
        # weights with which the means of the parts of all processes sum to the mean of the minibatch
        token_weight = mask[part].sum() / mask[rows].sum().clamp(min=1)
        completion_weight = token_weight.new_tensor(len(part) / len(rows))
        weight = token_weight if per_token else completion_weight
        autocast = torch.autocast(mask.device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
        with autocast, training_blocks(trained, activation_checkpointing=config.activation_checkpointing):
            # a process without rows computes the loss of one, with weight 0
            loss, metrics = minibatch_loss(part if len(part) else rows[:1])
        loss = loss * weight
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return {"loss": loss.detach()} | {
            name: value.detach() * (weight if name == "policy_loss" else token_weight)
            for name, value in metrics.items()
        }

    for group in optimizer.param_groups:
        group["lr"] = config.lr * warmup_cosine(step, n_steps=config.n_steps, floor=config.min_lr_ratio)
    history: list[dict[str, Tensor]] = []
    for _ in range(config.n_epochs):
        for rows in torch.randperm(len(mask)).to(mask.device).chunk(config.n_minibatches):
            own = rows[distributed.rank_slice(len(rows))]
            optimizer.zero_grad()
            parts = [backward(part, rows) for part in own.chunk(config.gradient_accumulation_steps)]
            metrics = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
            norm = _optimizer_step(trained, optimizer, metrics, config, step)
            del metrics["loss"]
            history.append(metrics | {"grad_norm": norm})
    return {name: torch.stack([row[name] for row in history]).mean().item() for name in history[0]}


def _optimizer_step(
    trained: nn.Module,
    optimizer: Optimizer,
    metrics: dict[str, Tensor],
    config: PolicyTrainerConfig,
    step: int,
) -> Float[Tensor, ""]:
    """Sum gradients and metrics over the processes, in place, and update; return the norm before clipping."""
    grads = [p.grad for p in trained.parameters() if p.grad is not None]
    distributed.all_reduce_([*metrics.values(), *grads])
    norm, loss = clip_grad_norm_(trained.parameters(), config.max_grad_norm), metrics["loss"]
    if not (loss.isfinite() and norm.isfinite()):
        raise DivergenceError(
            f"step {step}: loss {loss.item():.4g}, gradient norm {norm.item():.4g}; "
            f"lower lr={config.lr:g}, or resume from an earlier checkpoint"
        )
    optimizer.step()
    return norm
