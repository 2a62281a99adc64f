r"""Rollouts: a policy answers prompts, and what reinforcement learning needs later is kept, not recomputed.

While an answer is drawn, the log-probability of each token and the hidden state it was drawn from are at
hand; `rollout` keeps both. PPO and GRPO compare later policies with those log-probabilities, and a value head
on the policy's own trunk reads its values off those states, so neither costs another forward pass.

$$\log \pi(y_t \mid x, y_{<t}) = \log \operatorname{softmax}(W h_t / \tau)_{y_t}$$

The temperature $\tau$ is part of the policy. Filters such as top-k are not offered: a token that the filter
removes has probability 0 under the distribution that was drawn from and not under the one that is trained,
and importance ratios between them mean nothing.

A decoder's tokens never see what comes after them. Padding behind an answer therefore needs no mask, and
attention takes its fast causal path unless prompts are padded on the left.

References: Stiennon et al. 2020, arXiv:2009.01325 (the loop); Huang et al. 2024, arXiv:2403.17031 (details).

Leaves out: engines of their own for generation (vLLM, SGLang), whose log-probabilities differ from the
trainer's; several turns, tools.

Glossary: ``B`` answers, ``T_p`` tokens of the padded prompts, ``T`` of the longest answer, ``T_all`` of both,
``D`` model width, ``n`` answers to each prompt.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.generation.generate import check_request, new_cache
from llmguide.generation.sampling import sample
from llmguide.models.inputs import AttentionMask
from llmguide.training import distributed
from llmguide.training.distributed import SINGLE_PROCESS, ProcessGroup
from llmguide.training.losses import head_weight, token_logprobs_and_entropy


class Rollout(NamedTuple):
    """Answers to prompts, one row each.

    Attributes:
        ids: Prompts, padded on the left, and answers, padded on the right ``(B, T_all)``.
        attention_mask: True for the tokens of prompts and answers, False for padding ``(B, T_all)``.
        mask: True for the tokens of the answer, the end-of-text token included ``(B, T)``.
        logprobs: Log-probability of each token when it was drawn, 0 for padding ``(B, T)``.
        states: Last hidden state before each token, the one it was drawn from ``(B, T, D)``.
        ended: Whether the answer ended by itself, and not at the limit of tokens ``(B,)``.
    """

    ids: Tensor
    attention_mask: Tensor
    mask: Tensor
    logprobs: Tensor
    states: Tensor
    ended: Tensor

    @property
    def prompt_length(self) -> int:
        """Tokens of the padded prompts, T_p."""
        return self.ids.shape[1] - self.mask.shape[1]

    @property
    def answers(self) -> Int[Tensor, "B T"]:
        """Ids of the answers."""
        return self.ids[:, self.prompt_length :]

    def take(self, rows: Int[Tensor, " n"]) -> "Rollout":
        """Return some of the rows, as a minibatch does."""
        return Rollout(*(tensor[rows] for tensor in self))

    def prompt(self, row: int) -> list[int]:
        """Ids of one prompt, without padding."""
        T_p = self.prompt_length
        return cast("list[int]", self.ids[row, :T_p][self.attention_mask[row, :T_p]].tolist())

    def answer(self, row: int) -> list[int]:
        """Ids of one answer, without padding and with the end-of-text token if there is one."""
        return cast("list[int]", self.answers[row][self.mask[row]].tolist())


def rollout(
    policy: Any,
    prompts: Int[Tensor, "B_p T_p"],
    max_new_tokens: int,
    *,
    attention_mask: AttentionMask | None = None,
    n_answers: int = 1,
    temperature: float = 1.0,
    eos_id: int | None = None,
    generator: torch.Generator | None = None,
    world: ProcessGroup = SINGLE_PROCESS,
) -> Rollout:
    """Let a policy answer each prompt, and keep the log-probabilities of what it draws.

    Args:
        policy: A decoder of `llmguide.models`, in evaluation mode if it has dropout.
        prompts: Ids, padded on the left if their lengths differ.
        max_new_tokens: Longest answer, at least 1.
        attention_mask: 1 for the tokens of the prompts and 0 for padding; needed if there is any.
        n_answers: Answers to each prompt; they stand in adjacent rows, and the prompt is run once.
        temperature: Above 0.
        eos_id: Token that ends an answer; None: all have the full length.
        generator: Source of randomness; torch's global one if it is left out.
        world: In which of several processes this is, each with as many prompts and with random numbers in the
            same state: the answers are those that one process would give to all prompts.

    Returns:
        ``B_p * n_answers`` rows.

    Raises:
        ValueError: A number is too small, or the request is one that `llmguide.generation.generate.generate`
            refuses.

    >>> from llmguide.config import ModelConfig
    >>> from llmguide.models import build
    >>> policy = build(ModelConfig(vocab_size=7, context_length=8, n_layers=1, d_model=12, n_heads=2))
    >>> drawn = rollout(policy, torch.tensor([[1, 2], [3, 4]]), 5, n_answers=3)
    >>> drawn.ids.shape, drawn.logprobs.shape, drawn.prompt(2), drawn.prompt(3)
    (torch.Size([6, 7]), torch.Size([6, 5]), [1, 2], [3, 4])
    """
    if max_new_tokens < 1 or n_answers < 1 or not temperature > 0:
        raise ValueError(
            f"max_new_tokens={max_new_tokens} and n_answers={n_answers} must be at least 1 and "
            f"temperature={temperature} above 0; a greedy policy explores nothing"
        )
    check_request(policy, prompts, max_new_tokens, attention_mask)
    mask = torch.ones_like(prompts, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    parents = torch.arange(len(prompts), device=prompts.device).repeat_interleave(n_answers)
    seen = left_padded(mask)
    tokens, logprobs, states, alive = [], [], [], [torch.ones_like(parents, dtype=torch.bool)]
    with torch.inference_mode():
        cache = new_cache(policy, prompts.shape[1] + max_new_tokens)
        state = policy.hidden(prompts, attention_mask=seen, cache=cache)[:, -1]
        if n_answers > 1:
            state, seen = state[parents], None if seen is None else seen[parents]
            cache.reorder(parents)
        for n_drawn in range(1, max_new_tokens + 1):
            log_p = (policy.unembed(state).float() / temperature).log_softmax(dim=-1)
            token = sample(log_p, generator) if world.size == 1 else _sample_share(log_p, generator, world)
            states.append(state)
            logprobs.append(log_p.gather(1, token[:, None]).squeeze(1))
            if eos_id is not None:
                token = token.masked_fill(~alive[-1], eos_id)
                alive.append(alive[-1] & (token != eos_id))
            else:
                alive.append(alive[-1])
            tokens.append(token)
            if n_drawn == max_new_tokens or (eos_id is not None and _all_ended(alive[-1], world)):
                break
            if seen is not None:
                seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
            state = policy.hidden(token[:, None], attention_mask=seen, cache=cache)[:, -1]
    # stacked outside of inference mode: autograd may not save the tensors made inside
    answered = torch.stack(alive[:-1], dim=1)
    return Rollout(
        ids=torch.cat([prompts[parents], torch.stack(tokens, dim=1)], dim=1),
        attention_mask=torch.cat([mask[parents], answered], dim=1),
        mask=answered,
        logprobs=torch.stack(logprobs, dim=1).masked_fill(~answered, 0.0),
        states=torch.stack(states, dim=1),
        ended=~torch.stack(alive, dim=1)[:, -1],
    )


def _sample_share(log_p: Tensor, generator: torch.Generator | None, world: ProcessGroup) -> Int[Tensor, " B"]:
    """Draw what `sample` would draw for these rows among those of all processes.

    Of exponential variables divided by p the smallest is token y with probability p_y; torch's multinomial
    draws one token that way, too. On the CPU: there all processes draw the same numbers.
    """
    B, V = log_p.shape
    noise = torch.empty(B * world.size, V).exponential_(generator=generator)
    own = noise[B * world.rank : B * (world.rank + 1)].to(log_p.device)
    return (log_p.softmax(dim=-1) / own).argmax(dim=-1)


def _all_ended(alive: Bool[Tensor, " B"], world: ProcessGroup) -> bool:
    """Whether no answer goes on, in any process: they draw their random numbers together."""
    if world.size == 1:
        return not alive.any()
    [n_alive] = distributed.all_reduce_sum(float(alive.sum()), device=alive.device)
    return n_alive == 0


def join(rollouts: Sequence[Rollout]) -> Rollout:
    """Put rollouts of different lengths into one, with more padding where one is shorter.

    >>> one = torch.ones(1, 1, dtype=torch.bool)
    >>> rest = one, one * 0.5, one[..., None], one[0]
    >>> short = Rollout(torch.tensor([[5, 6]]), torch.ones(1, 2).bool(), *rest)
    >>> longer = Rollout(torch.tensor([[3, 5, 6]]), torch.ones(1, 3).bool(), *rest)
    >>> joined = join([short, longer])
    >>> joined.ids.tolist(), joined.prompt(0), joined.answer(0)
    ([[0, 5, 6], [3, 5, 6]], [5], [6])
    """
    T_p = max(part.prompt_length for part in rollouts)
    T = max(part.mask.shape[1] for part in rollouts)
    padded = []
    for part in rollouts:
        left, right = T_p - part.prompt_length, T - part.mask.shape[1]
        padded.append(
            Rollout(
                ids=F.pad(part.ids, (left, right)),
                attention_mask=F.pad(part.attention_mask, (left, right)),
                mask=F.pad(part.mask, (0, right)),
                logprobs=F.pad(part.logprobs, (0, right)),
                states=F.pad(part.states, (0, 0, 0, right)),
                ended=part.ended,
            )
        )
    return Rollout(*(torch.cat(tensors) for tensors in zip(*padded, strict=True)))


def answer_states(model: Any, answers: Rollout) -> Float[Tensor, "B T D"]:
    """Compute the hidden state before each token of the answers with another model, or with gradients.

    Args:
        model: A decoder of `llmguide.models`.
        answers: What to run it on; the last token, which predicts nothing that counts, is not run.

    Returns:
        States; those of padding mean nothing.
    """
    seen = left_padded(answers.attention_mask)
    hidden: Tensor = model.hidden(answers.ids[:, :-1], attention_mask=None if seen is None else seen[:, :-1])
    return hidden[:, answers.prompt_length - 1 :]


def answer_logprobs(
    model: Any,
    answers: Rollout,
    *,
    temperature: float = 1.0,
    states: Float[Tensor, "B T D"] | None = None,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Log-probability of each token of the answers, and the entropy of the distribution it came from.

    Only the tokens that count meet the output head, so that padding and prompts cost no logits.

    Args:
        model: A decoder of `llmguide.models`.
        answers: Tokens and masks.
        temperature: Of the policy.
        states: Those of `answer_states`, if they are at hand.

    Returns:
        Log-probabilities and entropies in nats, in float32, 0 for padding; both carry gradients.
    """
    states = answer_states(model, answers) if states is None else states
    targets = answers.answers.masked_fill(~answers.mask, IGNORE_INDEX)
    return token_logprobs_and_entropy(states, head_weight(model), targets, temperature=temperature)


def left_padded(attention_mask: Bool[Tensor, "B T_all"]) -> Bool[Tensor, "B T_all"] | None:
    """Return the mask if some row begins with padding, and None if a decoder can do without it.

    >>> left_padded(torch.tensor([[True, True, False]])) is None
    True
    """
    return None if attention_mask[:, 0].all() else attention_mask
