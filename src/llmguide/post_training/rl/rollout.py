r"""Rollouts: completions sampled from a policy, with their log-probabilities and hidden states.

While a completion is sampled, the log-probability of each token and the hidden state that predicted it are
available. PPO and GRPO compare later policies with those log-probabilities, and PPO's value head on the
policy's own trunk computes its values from those states, so neither costs another forward pass. States
take ``D`` numbers per token, so a rollout keeps them only on request.

$$\log \pi(y_t \mid x, y_{<t}) = \log \operatorname{softmax}(W h_t / \tau)_{y_t}$$

The temperature $\tau$ is part of the policy. Filters such as top-k are not offered: a token that the filter
removes has probability 0 under the distribution that was sampled from but not under the one that is trained,
so importance ratios between the two are meaningless.

Attention in a decoder is causal, so padding after a completion needs no mask, and attention takes its fast
causal path unless prompts are padded on the left.

References: Stiennon et al. 2020, arXiv:2009.01325 (the loop); Huang et al. 2024, arXiv:2403.17031 (details).

Leaves out: separate inference engines (vLLM, SGLang), whose log-probabilities differ from the trainer's;
multi-turn rollouts and tool calls.

Glossary: ``B`` completions, ``B_p`` prompts, ``T_p`` tokens of the padded prompts, ``T`` tokens of the
longest completion, ``T_all`` of both, ``D`` model width.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmguide.data.tokens.windows import IGNORE_INDEX
from llmguide.generation.checks import check_request
from llmguide.generation.sampling import sample
from llmguide.generation.steps import new_cache
from llmguide.models.inputs import AttentionMask
from llmguide.training import distributed
from llmguide.training.distributed import SINGLE_PROCESS, ProcessGroup
from llmguide.training.losses import head_logprobs_and_entropy


class Rollout(NamedTuple):
    """Sampled completions with their prompts, one row each.

    Attributes:
        ids: Prompts, padded on the left, and completions, padded on the right ``(B, T_all)``.
        attention_mask: True for the tokens of prompts and completions, False for padding ``(B, T_all)``.
        mask: True for the tokens of the completion, the token that ends it included ``(B, T)``.
        logprobs: Log-probability of each token when it was sampled, 0 for padding ``(B, T)``.
        states: Last hidden state before each token, which predicted it ``(B, T, D)``; ``(B, T, 0)`` if the
            rollout did not keep them.
        ended: Whether the completion ended with a token of `eos_id`, not at the token limit ``(B,)``.
    """

    ids: Tensor
    attention_mask: Tensor
    mask: Tensor
    logprobs: Tensor
    states: Tensor
    ended: Tensor

    @property
    def prompt_length(self) -> int:
        """Number of tokens of the padded prompts, T_p."""
        return self.ids.shape[1] - self.mask.shape[1]

    @property
    def completions(self) -> Int[Tensor, "B T"]:
        """Token ids of the completions, padded on the right."""
        return self.ids[:, self.prompt_length :]

    def take(self, rows: Int[Tensor, " n"]) -> "Rollout":
        """Select rows, for a minibatch."""
        return Rollout(*(tensor[rows] for tensor in self))

    def prompt(self, row: int) -> list[int]:
        """Return the token ids of one prompt, without padding."""
        T_p = self.prompt_length
        return cast("list[int]", self.ids[row, :T_p][self.attention_mask[row, :T_p]].tolist())

    def completion(self, row: int) -> list[int]:
        """Return the token ids of one completion, without padding, with the token that ends it if present."""
        return cast("list[int]", self.completions[row][self.mask[row]].tolist())


def rollout(
    policy: Any,
    prompts: Int[Tensor, "B_p T_p"],
    max_new_tokens: int,
    *,
    attention_mask: AttentionMask | None = None,
    n_completions: int = 1,
    temperature: float = 1.0,
    eos_id: int | Collection[int] | None = None,
    generator: torch.Generator | None = None,
    keep_states: bool = False,
    world: ProcessGroup = SINGLE_PROCESS,
) -> Rollout:
    """Sample completions for each prompt and record their token log-probabilities.

    Args:
        policy: A decoder of `llmguide.models`, in evaluation mode if it has dropout.
        prompts: Token ids of the prompts, padded on the left if their lengths differ.
        max_new_tokens: Token limit of a completion, at least 1.
        attention_mask: 1 for the tokens of the prompts and 0 for padding; needed if there is any.
        n_completions: Completions per prompt, in adjacent rows; the prompt itself is run once.
        temperature: Softmax temperature of the policy, above 0.
        eos_id: Token that ends a completion, or several; None: all have the full length.
        generator: Random number generator; None: torch's global one.
        keep_states: Whether to return the hidden states, from which a value head can predict.
        world: Rank and number of the processes. If all have equally many prompts and the same random state,
            the completions are those that one process would sample for all prompts.

    Returns:
        ``B_p * n_completions`` rows.

    Raises:
        ValueError: An argument is out of range, or `llmguide.generation.generate.generate` would refuse the
            request.

    >>> from llmguide.config.model_config import ModelConfig
    >>> from llmguide.models import build
    >>> policy = build(ModelConfig(vocab_size=7, context_length=8, n_layers=1, d_model=12, n_heads=2))
    >>> rollouts = rollout(policy, torch.tensor([[1, 2], [3, 4]]), 5, n_completions=3)
    >>> rollouts.ids.shape, rollouts.logprobs.shape, rollouts.prompt(2), rollouts.prompt(3)
    (torch.Size([6, 7]), torch.Size([6, 5]), [1, 2], [3, 4])
    """
    if max_new_tokens < 1 or n_completions < 1 or not temperature > 0:
        raise ValueError(
            f"max_new_tokens={max_new_tokens} and n_completions={n_completions} must be at least 1 and "
            f"temperature={temperature} above 0; a greedy policy explores nothing"
        )
    check_request(policy, prompts, max_new_tokens, attention_mask)
    mask = torch.ones_like(prompts, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    parents = torch.arange(len(prompts), device=prompts.device).repeat_interleave(n_completions)
    padding_mask = left_padded(mask)
    stops = stop_ids(eos_id)
    ends = prompts.new_tensor(stops)
    tokens, logprobs, states, alive = [], [], [], [torch.ones_like(parents, dtype=torch.bool)]
    with torch.inference_mode():
        cache = new_cache(policy, prompts.shape[1] + max_new_tokens)
        state = policy.hidden(prompts, attention_mask=padding_mask, cache=cache)[:, -1]
        if n_completions > 1:
            state = state[parents]
            padding_mask = None if padding_mask is None else padding_mask[parents]
            cache.reorder(parents)
        for n_sampled in range(1, max_new_tokens + 1):
            log_p = (policy.unembed(state).float() / temperature).log_softmax(dim=-1)
            token = sample(log_p, generator) if world.size == 1 else _sample_share(log_p, generator, world)
            states.append(state if keep_states else state.new_empty(len(state), 0))
            logprobs.append(log_p.gather(1, token[:, None]).squeeze(1))
            if stops:
                token = token.masked_fill(~alive[-1], stops[0])
            alive.append(alive[-1] & ~torch.isin(token, ends))
            tokens.append(token)
            if n_sampled == max_new_tokens or (stops and _all_ended(alive[-1], world)):
                break
            if padding_mask is not None:
                padding_mask = F.pad(padding_mask, (0, 1), value=True)
            state = policy.hidden(token[:, None], attention_mask=padding_mask, cache=cache)[:, -1]
    # stacked outside of inference mode, because autograd cannot save inference tensors
    completion_mask = torch.stack(alive[:-1], dim=1)
    return Rollout(
        ids=torch.cat([prompts[parents], torch.stack(tokens, dim=1)], dim=1),
        attention_mask=torch.cat([mask[parents], completion_mask], dim=1),
        mask=completion_mask,
        logprobs=torch.stack(logprobs, dim=1).masked_fill(~completion_mask, 0.0),
        states=torch.stack(states, dim=1),
        ended=~torch.stack(alive, dim=1)[:, -1],
    )


def stop_ids(eos_id: int | Collection[int] | None) -> list[int]:
    """Return the ids of the tokens that end a completion.

    >>> stop_ids(None), stop_ids(2), stop_ids((2, 5))
    ([], [2], [2, 5])
    """
    if eos_id is None:
        return []
    return [eos_id] if isinstance(eos_id, int) else list(eos_id)


def _sample_share(log_p: Tensor, generator: torch.Generator | None, world: ProcessGroup) -> Int[Tensor, " B"]:
    """Sample the tokens that `sample` would give these rows if one process had the rows of all.

    Among exponential random numbers divided by p, the smallest belongs to token y with probability p_y, which
    is also how torch's multinomial samples one token. The noise is made on the CPU, where all processes
    generate the same numbers.
    """
    B, V = log_p.shape
    noise = torch.empty(B * world.size, V).exponential_(generator=generator)
    own = noise[B * world.rank : B * (world.rank + 1)].to(log_p.device)
    return (log_p.softmax(dim=-1) / own).argmax(dim=-1)


def _all_ended(alive: Bool[Tensor, " B"], world: ProcessGroup) -> bool:
    """Return whether every completion of every process has ended: they share their random numbers."""
    if world.size == 1:
        return not alive.any()
    [n_alive] = distributed.all_reduce_sum(float(alive.sum()), device=alive.device)
    return n_alive == 0


def join(rollouts: Sequence[Rollout]) -> Rollout:
    """Concatenate rollouts of different lengths, with more padding where one is shorter.

    >>> one = torch.ones(1, 1, dtype=torch.bool)
    >>> rest = one, one * 0.5, one[..., None], one[0]
    >>> short = Rollout(torch.tensor([[5, 6]]), torch.ones(1, 2).bool(), *rest)
    >>> longer = Rollout(torch.tensor([[3, 5, 6]]), torch.ones(1, 3).bool(), *rest)
    >>> joined = join([short, longer])
    >>> joined.ids.tolist(), joined.prompt(0), joined.completion(0)
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


def completion_states(model: Any, rollouts: Rollout) -> Float[Tensor, "B T D"]:
    """Compute the hidden state before each completion token, with another model or with gradients.

    Args:
        model: A decoder of `llmguide.models`.
        rollouts: Prompts and completions; the last token predicts nothing and is not run.

    Returns:
        Hidden states; those of padding are meaningless.
    """
    mask = left_padded(rollouts.attention_mask)
    hidden: Tensor = model.hidden(rollouts.ids[:, :-1], attention_mask=None if mask is None else mask[:, :-1])
    return hidden[:, rollouts.prompt_length - 1 :]


def completion_logprobs(
    model: Any,
    rollouts: Rollout,
    *,
    temperature: float = 1.0,
    states: Float[Tensor, "B T D"] | None = None,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Compute the log-probability of each completion token and the entropy of its predictive distribution.

    Logits are computed for completion tokens only, not for prompts and padding.

    Args:
        model: A decoder of `llmguide.models`.
        rollouts: Prompts, completions and masks.
        temperature: Softmax temperature of the policy.
        states: Hidden states of `completion_states`; None: they are computed here.

    Returns:
        Log-probabilities and entropies in nats, in float32, 0 for padding; both carry gradients.
    """
    states = completion_states(model, rollouts) if states is None else states
    targets = rollouts.completions.masked_fill(~rollouts.mask, IGNORE_INDEX)
    return head_logprobs_and_entropy(model, states, targets, temperature=temperature)


def left_padded(attention_mask: Bool[Tensor, "B T_all"]) -> Bool[Tensor, "B T_all"] | None:
    """Return the mask if some row begins with padding, and None if a causal decoder needs no mask.

    >>> left_padded(torch.tensor([[True, True, False]])) is None
    True
    """
    return None if attention_mask[:, 0].all() else attention_mask
