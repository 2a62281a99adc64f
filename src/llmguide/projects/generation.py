"""Generate completions of many prompts in batches, and score given ones.

Leaves out: beam search, and completions that are continued later.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from llmguide.data.tokens.windows import to_device
from llmguide.generation.generate import generate
from llmguide.post_training.chat import TokenizedChat
from llmguide.post_training.rl.rollout import Rollout, rollout
from llmguide.post_training.sft import padded, shifted
from llmguide.runs.chat_model import Chat
from llmguide.training.losses import head_logprobs

BATCH_SIZE = 50


def complete(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    decode: Callable[[list[int]], str],
    end_id: int,
    seed: int | None = None,
    batch_size: int = BATCH_SIZE,
    **sampling: Any,
) -> list[str]:
    """Generate a completion of each prompt, up to the end token.

    Args:
        model: A decoder of `llmguide.models`, in evaluation mode.
        prompts: Token ids of each prompt.
        max_new_tokens: Most tokens of a completion.
        decode: Function from token ids to text.
        end_id: Id of the token that ends a completion, which is left out.
        seed: Seed of the random numbers for sampling; None: torch's global generator.
        batch_size: Prompts in a batch; with sampling, it changes which random numbers a prompt gets.
        sampling: Keyword arguments of `llmguide.generation.generate.generate`, such as ``top_p``.
    """
    device, texts = next(model.parameters()).device, []
    if seed is not None:
        sampling["generator"] = torch.Generator(device).manual_seed(seed)
    for first in range(0, len(prompts), batch_size):
        ids, mask = (part.to(device) for part in pad_left(prompts[first : first + batch_size]))
        options = {"temperature": 0.0, "eos_id": end_id, **sampling}
        rows = generate(model, ids, max_new_tokens, attention_mask=mask, **options)
        new_tokens = rows[:, ids.shape[1] :].tolist()
        texts += [decode(row[: row.index(end_id)] if end_id in row else row) for row in new_tokens]
    return texts


def respond(chat: Chat, prompts: Sequence[Sequence[int]], max_new_tokens: int, **sampling: Any) -> list[str]:
    """Generate the response of a chat model to each prompt, without surrounding spaces; greedy by default."""
    options: dict[str, Any] = {"decode": chat.decode, "end_id": chat.end_id, **sampling}
    return [text.strip() for text in complete(chat.model, prompts, max_new_tokens, **options)]


def sample_rollouts(
    policy: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, end_id: int, seed: int
) -> Iterator[Rollout]:
    """Sample a completion of each prompt at temperature 1, a batch at a time, with its log-probabilities."""
    generator = torch.Generator().manual_seed(seed)
    for first in range(0, len(prompts), BATCH_SIZE):
        ids, mask = pad_left(prompts[first : first + BATCH_SIZE])
        yield rollout(policy, ids, max_new_tokens, attention_mask=mask, eos_id=end_id, generator=generator)


@torch.inference_mode()
def log_likelihoods(chat: Chat, examples: Sequence[TokenizedChat]) -> list[float]:
    """Return the log-probability of the target tokens of each example, in nats."""
    device = next(chat.model.parameters()).device
    logprobs: list[float] = []
    for first in range(0, len(examples), BATCH_SIZE):
        batch = padded([[shifted(example)] for example in examples[first : first + BATCH_SIZE]])
        batch = to_device(batch, device)
        hidden = chat.model.hidden(batch.inputs)
        logprobs += head_logprobs(chat.model, hidden, batch.targets).sum(1).tolist()
    return logprobs


def pad_left(prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad prompts on the left; return their token ids, and the mask of the real ones."""
    rows = [torch.tensor(ids) for ids in prompts]
    masks = [torch.ones_like(row, dtype=torch.bool) for row in rows]
    ids, mask = (pad_sequence(part, batch_first=True, padding_side="left") for part in (rows, masks))
    return ids, mask
