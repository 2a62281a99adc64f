"""Answers of a fine-tuned model, how likely a given one is, and intervals of their scores.

Test examples often come in groups, such as the snippets about one film, and those of a group go right or
wrong together. An interval that takes them for independent is too narrow, so here whole groups are drawn
anew.

Leaves out: beams, and answers to be continued.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from llmguide.data.tokens.windows import to_device
from llmguide.evaluation.metrics import Interval
from llmguide.generation.generate import generate
from llmguide.post_training.chat import Rendered
from llmguide.post_training.sft import padded, shifted
from llmguide.runs.post_training import Chat
from llmguide.training.losses import head_weight, token_logprobs

ROWS = 50  # answered at a time


def write(
    chat: Chat, prompts: Sequence[Sequence[int]], n: int, *, temperature: float = 0.0, **filters: Any
) -> list[str]:
    """Write an answer to each prompt.

    Args:
        chat: The model, in evaluation mode.
        prompts: Ids of each.
        n: Tokens of an answer at most.
        temperature: 0 takes the likeliest token each time; above, torch's global generator draws.
        filters: Of `llmguide.generation.generate.generate`, such as ``top_p``.

    Returns:
        The answers without their end, and without spaces around.
    """
    device, texts = _device(chat), []
    for first in range(0, len(prompts), ROWS):
        rows = prompts[first : first + ROWS]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
        sizes = torch.tensor([[len(row)] for row in rows], device=device)
        mask = torch.arange(width, device=device) >= width - sizes
        options = {"attention_mask": mask, "temperature": temperature, "eos_id": chat.end_id, **filters}
        for row in generate(chat.model, ids, n, **options)[:, width:].tolist():
            end = row.index(chat.end_id) if chat.end_id in row else len(row)
            texts.append(chat.decode(row[:end]).strip())
    return texts


@torch.inference_mode()
def log_likelihoods(chat: Chat, written: Sequence[Rendered]) -> list[float]:
    """Log-probability of what is to be learned of each example, in nats."""
    found: list[float] = []
    for first in range(0, len(written), ROWS):
        batch = padded([[shifted(example)] for example in written[first : first + ROWS]])
        batch = to_device(batch, _device(chat))
        hidden = chat.model.hidden(batch.inputs)
        found += token_logprobs(hidden, head_weight(chat.model), batch.targets).sum(1).tolist()
    return found


def interval_over_groups(
    values: Sequence[float], groups: Sequence[str], *, n_resamples: int = 5000
) -> Interval:
    """Interval of a mean, 95%, by drawing whole groups of values anew.

    To compare two systems, give it the differences of their scores on the same examples.

    Args:
        values: One for each example.
        groups: Which group each belongs to.
        n_resamples: Draws.

    Returns:
        The mean and its bounds.

    Raises:
        ValueError: There are no values, or not as many groups.

    >>> interval_over_groups([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"])  # aa, ab, ba, bb: a quarter each
    Interval(score=0.5, low=0.0, high=1.0)
    """
    if not values or len(values) != len(groups):
        raise ValueError(f"{len(values)} values and {len(groups)} groups: give a group for each value")
    names, where = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(where, weights=values), np.bincount(where)
    drawn = np.random.default_rng(0).integers(0, len(names), (n_resamples, len(names)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high))


def _device(chat: Chat) -> torch.device:
    return next(chat.model.parameters()).device
