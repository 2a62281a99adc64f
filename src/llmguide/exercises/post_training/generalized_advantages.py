"""Exercises of advantages with a value model: of a batch of completions, and of a stream of episodes."""

from functools import partial
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.post_training.rl.ppo_losses import gae


def _advantages(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    return gae(rewards, values, gamma=gamma, lam=lam)[0]


def _backwards(rewards: Tensor, following: Tensor, values: Tensor, gamma: float, decay: float) -> Tensor:
    """Compute advantages with any definition of the next value and any factor of the next advantage."""
    deltas = (rewards + gamma * following - values).flip(1).unbind(1)
    found = list(accumulate(deltas, lambda advantage, delta: delta + decay * advantage))
    return torch.stack(found, dim=1).flip(1)


def _next(values: Tensor) -> Tensor:
    return F.pad(values[:, 1:], (0, 1))


def _normalized(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    advantages = _advantages(rewards, values, gamma, lam)
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)


def _gae_probes() -> list[Arguments]:
    return [
        (noise(6, 2, 4), noise(7, 2, 4), 0.9, 0.8),
        (torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.5, 0.6]]), 0.95, 0.5),
    ]


def episode_advantages(  # noqa: PLR0917 (the arguments of the answer)
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
    *,
    cut: bool = True,
    bootstrap: bool = True,
    zero: bool = True,
    shifted: bool = False,
    last: bool = True,
) -> Tensor:
    """Compute GAE of a stream of episodes, with switches for the mistakes.

    >>> rewards, values, next_values = torch.tensor([[0.0, 4.0], [1.0, 2.0], [2.0, 9.0]])
    >>> ends = torch.tensor([False, True]), torch.tensor([False, False])
    >>> episode_advantages(rewards, values, next_values, *ends, 1.0, 0.5)
    tensor([2., 2.])
    """
    following = next_values
    if shifted:
        following = torch.cat([values[1:], next_values[-1:]])
    following = following.where(~terminated, 0.0) if zero else following
    if not bootstrap:
        following = following.where(~truncated, 0.0)
    if not last:
        following = torch.cat([following[:-1], following[:0].new_zeros(1)])
    deltas = rewards + gamma * following - values
    advantages, advantage = [], torch.zeros(())
    for delta, ends in reversed([*zip(deltas, terminated | truncated, strict=True)]):
        advantage = delta + gamma * lam * (0.0 if cut and ends else 1.0) * advantage
        advantages.append(advantage)
    return torch.stack(advantages[::-1])


def _episode_probes() -> list[Arguments]:
    terminated = torch.tensor([False, False, True, False, False, False, False])
    truncated = torch.tensor([False, False, False, False, True, False, False])
    values, next_values = noise(32, 7), noise(33, 7)
    inside = ~(terminated | truncated)[:-1]
    next_values[:-1] = values[1:].where(inside, next_values[:-1])
    return [(noise(34, 7), values, next_values, terminated, truncated, 0.9, 0.8)]


EXERCISES = (
    Exercise(
        "gae",
        "gae(rewards, values, gamma, lam): the generalized advantage estimates (B, T) of the tokens of B "
        "completions. `rewards` (B, T) are the rewards of the tokens, and `values` (B, T) the returns that "
        "the value model predicted before each of them. `gamma` discounts what comes later, and `lam` "
        "weights the errors of later predictions. All completions end after T tokens; the value after the "
        "end is 0.",
        _advantages,
        _gae_probes,
        (
            Mistake(
                "next value off by one",
                "the value of the same token is used instead of that of the next token",
                "delta compares V_t with what came: r_t and the value one token later.",
                lambda r, v, gamma, lam: _backwards(r, v, v, gamma, gamma * lam),
            ),
            Mistake(
                "value after the end",
                "the last value is used again after the last token",
                "The completion is over, so the next value is 0.",
                lambda r, v, gamma, lam: _backwards(
                    r, torch.cat([v[:, 1:], v[:, -1:]], dim=1), v, gamma, gamma * lam
                ),
            ),
            Mistake(
                "lambda forgotten",
                "the next advantage is multiplied by gamma alone",
                "Multiply it by gamma * lam.",
                lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, gamma),
            ),
            Mistake(
                "gamma forgotten in the sum",
                "the next advantage is multiplied by lambda alone",
                "Multiply it by gamma * lam.",
                lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, lam),
            ),
            Mistake(
                "one step only",
                "the deltas are returned, as with lambda 0",
                "Add gamma lam times the advantage of the next token, from the end to the start.",
                lambda r, v, gamma, lam: _backwards(r, _next(v), v, gamma, 0.0),
            ),
            Mistake(
                "returns instead of advantages",
                "the values are added: these are the returns",
                "Returns train the value model, advantages the policy.",
                lambda r, v, gamma, lam: _advantages(r, v, gamma, lam) + v,
            ),
            Mistake(
                "forward instead of backward",
                "the sum runs from the first token to the last",
                "A token is responsible for what comes after it.",
                lambda r, v, gamma, lam: _backwards(
                    r.flip(1), _next(v).flip(1), v.flip(1), gamma, gamma * lam
                ).flip(1),
            ),
            Mistake(
                "loop from the first token",
                "the whole loop runs forward, so that the value of the token before takes the place of the "
                "next value",
                "Start at the last token: its advantage needs nothing that comes later.",
                lambda r, v, gamma, lam: _backwards(
                    r.flip(1), F.pad(v[:, :-1], (1, 0)).flip(1), v.flip(1), gamma, gamma * lam
                ).flip(1),
            ),
            Mistake(
                "next value forgotten",
                "the error of a step is its reward minus its value",
                "delta_t = r_t + gamma * V_(t+1) - V_t: the value of the next token counts, too.",
                lambda r, v, gamma, lam: _backwards(r, 0 * v, v, gamma, gamma * lam),
            ),
            Mistake(
                "value of the first token at the end",
                "the value of the first token follows the last one, as with roll",
                "The completion is over, so the next value is 0.",
                lambda r, v, gamma, lam: _backwards(r, v.roll(-1, 1), v, gamma, gamma * lam),
            ),
            Mistake(
                "gamma forgotten",
                "nothing is discounted by gamma",
                "The next value is multiplied by gamma, and the next advantage by gamma * lam.",
                lambda r, v, gamma, lam: _advantages(r, v, 1.0, lam),
            ),
            Mistake(
                "sign",
                "the advantages have the opposite sign",
                "A token that did better than predicted has a positive advantage.",
                lambda r, v, gamma, lam: -_advantages(r, v, gamma, lam),
            ),
            Mistake(
                "returns as well",
                "a tuple of advantages and returns is returned",
                "Return the advantages only.",
                lambda r, v, gamma, lam: gae(r, v, gamma=gamma, lam=lam),
            ),
            Mistake(
                "next value not discounted",
                "the next value counts in full in the error of a step",
                "delta_t = r_t + gamma * V_(t+1) - V_t: what comes one step later is discounted once.",
                lambda r, v, gamma, lam: _backwards(r, _next(v) / gamma, v, gamma, gamma * lam),
            ),
            Mistake(
                "normalized",
                "the advantages are shifted to mean 0 and scaled to deviation 1",
                "PPO often does this afterwards. Here, return the advantages themselves.",
                _normalized,
            ),
        ),
        (
            "How much better was each token than the value model predicted? Compare one step first.",
            "Loop over t from the end, and keep two things: the next value and the next advantage.",
            "delta = reward + gamma * next value - value, and advantage = delta + gamma * lam * next "
            "advantage.",
        ),
        level="medium",
        minutes=15,
    ),
    Exercise(
        "episode-advantages",
        "episode_advantages(rewards, values, next_values, terminated, truncated, gamma, lam) returns the "
        "generalized advantage estimates (T,) of T consecutive steps of an agent. All five tensors have the "
        "shape (T,). `values[t]` is the predicted return of the state before step t, and `next_values[t]` "
        "that of the state which step t leads to. The stream contains several episodes, one after the other, "
        "and the last one may still be running at its end. An episode ends at step t where one of two flags "
        "is true (never both). `terminated`: nothing follows, as after an end-of-text token. `truncated`: it "
        "was cut off at a limit, although more reward would have followed. No reward of one episode counts "
        "for another.",
        episode_advantages,
        _episode_probes,
        (
            Mistake(
                "episodes not separated",
                "the advantage of the next episode flows into the last step of an episode",
                "Where an episode ends, for whatever reason, the sum starts again.",
                partial(episode_advantages, cut=False),
            ),
            Mistake(
                "truncated taken for terminated",
                "the value after a truncated episode is 0",
                "The episode was cut off, and the predicted return of the state it reached stands for the "
                "rewards that would have followed.",
                partial(episode_advantages, bootstrap=False),
            ),
            Mistake(
                "value after the end",
                "the value of the state after a terminated episode is used",
                "Nothing follows, so this value is 0, whatever the model predicts.",
                partial(episode_advantages, zero=False),
            ),
            Mistake(
                "value of the next episode's first state",
                "values[t + 1] is the next value, also at the end of an episode",
                "After an end, values[t + 1] belongs to another episode. Take next_values[t].",
                partial(episode_advantages, shifted=True),
            ),
            Mistake(
                "end of the stream taken for the end of the episode",
                "the value after the last step is 0 although the episode goes on",
                "The last episode is still running: use next_values there, too.",
                partial(episode_advantages, last=False),
            ),
            Mistake(
                "lambda forgotten",
                "later advantages are discounted by gamma alone",
                "Multiply by gamma and by lam.",
                lambda rewards, values, following, ended, cut, gamma, lam: episode_advantages(
                    rewards, values, following, ended, cut, gamma, 1.0
                ),
            ),
        ),
        (
            "There are two questions at each step: what is the value of what follows, and does the advantage "
            "of the next step belong to the same episode?",
            "Termination sets the next value to 0. Truncation does not. Both cut the sum of later deltas.",
            "From the last step to the first: delta = reward + gamma * next value - value, and advantage = "
            "delta + gamma * lam * advantage of the next step, where the last term is dropped at an end.",
        ),
        level="hard",
        minutes=25,
        after="Gym had a single flag `done` until 2022, and many programs treated time limits as failures. "
        "For a language model, the token limit is such a case.",
    ),
)
