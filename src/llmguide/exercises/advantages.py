"""Exercises of advantages: with a value model, and within a group of completions."""

from functools import partial
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.post_training.rl.grpo_losses import group_advantages
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


def _in_groups(
    rewards: Tensor, group_size: int, *, correction: int = 1, eps: float = 1e-4, centered: bool = True
) -> Tensor:
    grouped = rewards.view(-1, group_size)
    mean = grouped.mean(dim=1, keepdim=True) if centered else 0.0
    return ((grouped - mean) / (grouped.std(dim=1, keepdim=True, correction=correction) + eps)).flatten()


def leave_one_out(
    rewards: Tensor,
    prompts: Tensor,
    *,
    included: bool = False,
    scaled: bool = False,
    whole_batch: bool = False,
    lonely: bool = True,
) -> Tensor:
    """Compute leave-one-out advantages for groups of any size, with switches for the mistakes.

    >>> leave_one_out(torch.tensor([4.0, 7.0, 1.0, 1.0]), torch.tensor([5, 3, 5, 5])).tolist()
    [3.0, 0.0, -1.5, -1.5]
    """
    advantages = []
    for i, prompt in enumerate(prompts):
        group = torch.ones_like(prompts, dtype=torch.bool) if whole_batch else prompts == prompt
        others = group.clone()
        others[i] = included
        alone = group.sum() == 1
        baseline = rewards[others].mean() if others.any() and not alone else torch.zeros(())
        advantage = rewards[i] - baseline
        if scaled and not alone:
            advantage = advantage / (rewards[group].std() + 1e-4)
        advantages.append(advantage * 0 if alone and lonely else advantage)
    return torch.stack(advantages)


def _group_probes() -> list[Arguments]:
    return [
        (torch.tensor([1.0, 0.0, 4.0, 1.0, 2.5, 0.0, 3.0]), torch.tensor([7, 2, 7, 2, 9, 2, 7])),
        (noise(37, 6), torch.tensor([1, 1, 0, 0, 1, 0])),
    ]


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
    Exercise(
        "group-advantages",
        "group_advantages(rewards, group_size): the advantages of GRPO, one for each reward: by how many "
        "standard deviations it is above the mean of its group. A group is `group_size` neighboring "
        "completions. The standard deviation has Bessel's correction, and 1e-4 is added to it.",
        group_advantages,
        lambda: [
            (torch.tensor([1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 5.0, 2.0, 3.0, 7.0, 1.0]), 4),
            (noise(16, 6), 3),
        ],
        (
            Mistake(
                "advantage not normalized",
                "the mean is subtracted and nothing is divided (this is Dr. GRPO)",
                "Divide by the standard deviation of the group.",
                partial(group_advantages, scale=False),
            ),
            Mistake(
                "normalized over the batch",
                "mean and standard deviation are those of all completions together",
                "The completions of an easy prompt would all look good. Compare within a group: "
                "view(-1, group_size).",
                lambda rewards, group_size: _in_groups(rewards, len(rewards)),
            ),
            Mistake(
                "deviation without Bessel's correction",
                "the variance is divided by G instead of G - 1",
                "torch.std divides by G - 1 by default; numpy's does not.",
                partial(_in_groups, correction=0),
            ),
            Mistake(
                "division by zero",
                "nothing keeps the division finite in a group of equal rewards",
                "Add 1e-4 to the standard deviation. Such a group teaches nothing: its advantages are 0.",
                partial(_in_groups, eps=0.0),
            ),
            Mistake(
                "mean not subtracted",
                "the rewards are only divided",
                "Without a baseline every completion with a positive reward is reinforced.",
                partial(_in_groups, centered=False),
            ),
        ),
        (
            "Bring the rewards into a matrix with a group in each row.",
            "rewards.view(-1, group_size), then mean and standard deviation over dim 1, with keepdim=True.",
            "torch.std has Bessel's correction by default. Flatten the result.",
        ),
        level="medium",
        minutes=10,
    ),
    Exercise(
        "leave-one-out",
        "leave_one_out(rewards, prompts) returns the advantages (B,) of RLOO for completions with `rewards` "
        "(B,). `prompts` (B,) holds the number of the prompt that each completion answers. The numbers are "
        "arbitrary ints in any order, and prompts can have different numbers of completions. The baseline of "
        "a completion is the mean reward of the other completions of its prompt. A completion without others "
        "has the advantage 0.",
        leave_one_out,
        _group_probes,
        (
            Mistake(
                "own reward in the baseline",
                "the baseline is the mean of the whole group, with the completion itself",
                "Leave the completion out of its own baseline: (sum of the group - own reward) / (size - 1).",
                partial(leave_one_out, included=True),
            ),
            Mistake(
                "divided by the deviation",
                "the advantages are divided by the standard deviation of the group, as in GRPO",
                "RLOO only subtracts a baseline.",
                partial(leave_one_out, scaled=True),
            ),
            Mistake(
                "prompts ignored",
                "the baseline is the mean of all other completions of the batch",
                "Completions of an easy prompt would all look good. Compare within a prompt.",
                partial(leave_one_out, whole_batch=True),
            ),
            Mistake(
                "reward of a completion without others",
                "a completion that is alone keeps its reward as the advantage",
                "There is nothing to compare it with. Its advantage is 0.",
                partial(leave_one_out, lonely=False),
            ),
            Mistake(
                "sign",
                "the reward is subtracted from the baseline",
                "A completion that is better than the others has a positive advantage.",
                lambda rewards, prompts: -leave_one_out(rewards, prompts),
            ),
        ),
        (
            "Which completions belong to the same prompt? A comparison of each with each gives a matrix.",
            "From the sum of the rewards of a group you get the sum of the others by a subtraction.",
            "same = prompts[:, None] == prompts[None, :] has the shape (B, B). Sums are same @ rewards, and "
            "sizes same.sum(dim=1). Take care not to divide by 0.",
        ),
        level="medium",
        minutes=15,
        after="A baseline that does not depend on the completion leaves the expected gradient unchanged and "
        "lowers its variance. For groups of G completions, the result is G / (G - 1) times the centered "
        "reward, so RLOO and Dr. GRPO differ by a constant factor.",
    ),
)
