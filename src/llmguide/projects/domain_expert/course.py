"""The fine-tuning data of each condition: which conversations, in which order, and what is replayed."""

from collections.abc import Sequence

import torch

from llmguide.data.tokens.windows import Windows
from llmguide.post_training.chat import Message, TokenizedChat
from llmguide.projects.curriculum import paced
from llmguide.projects.domain_expert.base import Plan
from llmguide.projects.domain_expert.templates import Pair
from llmguide.projects.generation import log_likelihoods
from llmguide.projects.mixing_rates import mixed
from llmguide.runs.chat_model import Chat
from llmguide.runs.lifecycle import drop_too_long

RANDOM_ORDER, CURRICULUM, NO_REFUSAL = "random order", "easy first", "nothing turned down"
CONDITIONS = (RANDOM_ORDER, CURRICULUM, NO_REFUSAL)
MIXTURE = {"known": 0.45, "unknown": 0.38, "other topics": 0.09, "other languages": 0.08}  # fractions
FIRST = 0.2  # fraction of the conversations, the easiest, that a curriculum starts with
REPLAY_LENGTH = 40  # tokens of a replayed window


def conditions(plan: Plan) -> tuple[str, ...]:
    """Return the fine-tuning runs of a plan; the first is the expert."""
    return CONDITIONS if plan.ablations else CONDITIONS[:1]


def course(
    chat: Chat, plan: Plan, pairs: dict[str, list[Pair]], condition: str, seed: int
) -> list[tuple[Pair, TokenizedChat]]:
    """Sample the conversations of a condition, in order of training; easy ones are likely under the base."""
    weights = {"known": 1.0} if condition == NO_REFUSAL else MIXTURE
    n, length = plan.n_steps * plan.batch_size, plan.context_length + 1
    pool = mixed({kind: pairs[kind] for kind in weights}, weights, n, seed)
    rendered = {pair: chat.rendered(conversation(pair), length) for pair in dict.fromkeys(pool)}
    drop_too_long(list(rendered.values()), "conversations", length)
    fitting = {pair: example for pair, example in rendered.items() if example is not None}
    pool = [pair for pair in pool if pair in fitting]
    if condition == CURRICULUM:
        easy = dict(zip(fitting, log_likelihoods(chat, list(fitting.values())), strict=True))
        pool.sort(key=lambda pair: -easy[pair])
    order = paced(pool, n, seed=seed, start=FIRST if condition == CURRICULUM else 1.0)
    return [(pair, fitting[pair]) for pair in order]


def with_replay(
    conversations: Sequence[TokenizedChat], base_text: torch.Tensor, plan: Plan, seed: int
) -> list[TokenizedChat]:
    """Add to the conversations of each step windows of the base's text, with every token a target."""
    windows, examples = Windows(base_text, REPLAY_LENGTH, seed=seed), list[TokenizedChat]()
    for step in range(plan.n_steps):
        examples += conversations[step * plan.batch_size : (step + 1) * plan.batch_size]
        inputs, targets, _ = windows.batch(step * plan.n_windows, plan.n_windows)
        for ids in torch.cat([inputs, targets[:, -1:]], 1).tolist():
            examples.append(TokenizedChat(ids, [True] * len(ids)))
    return examples


def conversation(pair: Pair) -> list[Message]:
    """Return a question and its answer as messages."""
    return [{"role": "user", "content": pair.question}, {"role": "assistant", "content": pair.answer}]
