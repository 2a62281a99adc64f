"""Shared parts of ``llmguide ppo`` and ``llmguide grpo`` on prompts of your own."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from llmguide.evaluation.metrics import Interval, wilson_interval
from llmguide.post_training.datasets import Problem
from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.post_training.rl.prompts import PromptDataset
from llmguide.post_training.rl.rollout import rollout
from llmguide.post_training.rl.trainer import Metrics, Reward
from llmguide.runs.chat_model import Chat
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import drop_too_long, write_report

BATCH_SIZE = 32
LAST = 10  # number of steps whose mean is reported


def answerable(
    chat: Chat, asked: Sequence[Problem], max_new_tokens: int, max_length: int | None
) -> list[tuple[list[int], Problem]]:
    """Encode prompts, and drop those that leave no room for a completion of full length."""
    context: int = chat.model.config.context_length
    longest = context if max_length is None else min(max_length, context)
    room = longest - max_new_tokens
    if room < 1:
        raise ValueError(f"--max-new-tokens {max_new_tokens} leaves no room for a prompt in {longest} tokens")
    written = [(chat.prompt(problem.prompt), problem) for problem in asked]
    return drop_too_long([item if len(item[0]) <= room else None for item in written], "prompts", room)


def fraction_correct(
    policy: Any, prompts: Sequence[list[int]], reward: Reward, config: PolicyTrainerConfig
) -> Interval | None:
    """Sample a completion of each prompt, and return the fraction that is correct; None without prompts."""
    if not prompts:
        return None
    device = next(policy.parameters()).device
    right = 0.0
    data = PromptDataset(prompts)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for first in range(0, len(prompts), BATCH_SIZE):
            size = min(BATCH_SIZE, len(prompts) - first)
            ids, attention_mask = (part.to(device) for part in data.batch(first, size))
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                rollouts = rollout(
                    policy.eval(),
                    ids,
                    config.max_new_tokens,
                    attention_mask=attention_mask,
                    temperature=config.temperature,
                    eos_id=config.eos_id,
                )
            right += torch.as_tensor(reward(rollouts)).sum().item()
    return wilson_interval(right, len(prompts))


def summarize(output: Path, history: Sequence[Metrics], **more: Any) -> None:
    """Print and save the metrics of the first and last steps of a run."""
    first, last = (
        {name: fmean(metrics[name] for metrics in part) for name in ("reward", "kl", "length", "ended")}
        for part in (history[:LAST], history[-LAST:])
    )
    for when, found in (("first", first), ("last", last)):
        say(
            f"{when} {min(LAST, len(history))} rollouts: reward {found['reward']:.3f}, divergence "
            f"{found['kl']:.2f} nats, {found['length']:.0f} tokens, {found['ended']:.0%} ended"
        )
    write_report(output, {"first": first, "last": last, **more})
    say(f"\nsee the curves:  tensorboard --logdir {output / 'logs'}")
