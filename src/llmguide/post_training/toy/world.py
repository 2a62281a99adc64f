r"""A tiny world in which post-training can be checked exactly, because all completions can be enumerated.

It has eight words, four prompts and completions of at most four words: 2,801 completions, so that no quantity
has to be estimated. One forward pass gives the probability of each completion under a model, and from it
follow the exact expected reward, the exact KL divergence from the reference model, and the optimal policy:

$$\max_\pi \; \mathbb{E}_{y \sim \pi}[r(x, y)] - \beta\, \mathrm{KL}(\pi \,\|\, \pi_\text{ref})
\quad\Rightarrow\quad \pi^*(y \mid x) \propto \pi_\text{ref}(y \mid x)\, e^{r(x, y) / \beta}$$

For every β there is one such policy; together they form the frontier, the most reward at each divergence.

A prompt names an animal or what it does; a good completion is ``the cat sleeps .``, which the *gold* reward
scores highest. The *proxy* has a typical flaw of reward models: it rewards each ``wow`` and does not penalize
repetition. On typical completions the two agree; a policy that is optimized far enough generates ``wow wow
wow wow``.

References: the closed form (Rafailov et al. 2023, arXiv:2305.18290, appendix A.1); Bradley-Terry preferences
(same, section 3); best-of-n and its divergence (Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; Beirami
et al. 2024, arXiv:2401.01879, who show that the usual formula is an upper bound); gold and proxy, and
over-optimization (Gao et al. 2022, arXiv:2210.10760).

Leaves out: anything with more tokens than can be listed, which is the point.
`llmguide.post_training.toy.methods` runs every method of the guide in it.

Glossary: ``P`` prompts, ``N`` completions, ``T`` longest completion, ``V`` words, ``B`` rows of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from llmguide.config import ModelConfig

EOS = 0
WORDS = (".", "the", "cat", "dog", "sleeps", "barks", "softly", "wow")  # "." ends a completion
PROMPTS = (2, 3, 4, 5)  # the animals and what they do
FACTS = ((2, 4), (3, 5))  # the animal and its action that are facts
WOW = 7


@dataclass(frozen=True)
class World:
    """All completions in a fixed order, and the reward of each after each prompt.

    Attributes:
        prompts: Token id of each one-word prompt ``(P,)``.
        completions: Token ids of each completion, padded with EOS ``(N, T)``.
        mask: True for the tokens of the completion, its EOS included if there was room for one ``(N, T)``.
        gold: True reward of each completion after each prompt ``(P, N)``.
        proxy: Flawed reward of each completion after each prompt ``(P, N)``.
    """

    prompts: Tensor
    completions: Tensor
    mask: Tensor
    gold: Tensor
    proxy: Tensor

    @property
    def config(self) -> ModelConfig:
        """Configuration of a model that learns this world in seconds: two layers, 25,888 parameters."""
        T = self.completions.shape[1]
        return ModelConfig(
            vocab_size=int(self.completions.max()) + 1,
            context_length=T + 1,
            n_layers=2,
            d_model=32,
            n_heads=4,
        )

    def text(self, completion: int) -> str:
        """Write a completion in words.

        >>> tiny_world().text(0), tiny_world().text(8)
        ('.', 'the the .')
        """
        return " ".join(WORDS[i] for i in self.completions[completion][self.mask[completion]].tolist())

    def find(self, completions: Int[Tensor, "B T_any"]) -> Int[Tensor, " B"]:
        """Return the number of each completion; tokens after its EOS are ignored.

        >>> world = tiny_world()
        >>> world.text(world.find(torch.tensor([[1, 2, 0, 5]])).item())
        'the cat .'
        """
        V, T = int(self.completions.max()) + 1, self.completions.shape[1]
        ended = (completions == EOS).cumsum(dim=1) > 0
        padded = completions.new_full((len(completions), T), EOS)
        padded[:, : completions.shape[1]] = completions.masked_fill(ended, EOS)
        place_value = V ** torch.arange(T - 1, -1, -1)
        codes, order = (self.completions @ place_value).sort()
        return order[torch.searchsorted(codes, padded @ place_value)]

    def token_ids(self, completions: Int[Tensor, " B"]) -> list[list[int]]:
        """Return the token ids of completions given by number, without padding.

        >>> tiny_world().token_ids(torch.tensor([8]))  # the the .
        [[1, 1, 0]]
        """
        rows = zip(self.completions[completions], self.mask[completions], strict=True)
        return [ids[is_token].tolist() for ids, is_token in rows]

    def rows(self, prompts: Int[Tensor, " B"], completions: Int[Tensor, " B"]) -> Int[Tensor, "B T_all"]:
        """Return token ids of prompts followed by completions, both given by number."""
        return torch.cat([self.prompts[prompts, None], self.completions[completions]], dim=1)


def list_completions(n_words: int, length: int) -> tuple[Int[Tensor, "N T"], Bool[Tensor, "N T"]]:
    """List all completions: those that end with EOS, word 0, within the length, and those that fill it.

    Args:
        n_words: Vocabulary size, EOS included.
        length: Maximum tokens of a completion, EOS included.

    Returns:
        Token ids, padded with EOS, and the mask of the tokens that are not padding; short completions first.

    >>> completions, mask = list_completions(2, 2)
    >>> completions.tolist()  # ".", "a .", "a a"
    [[0, 0], [1, 0], [1, 1]]
    >>> mask.sum(dim=1).tolist()
    [1, 2, 2]
    """
    completions = []
    for n in range(length + 1):
        words = torch.cartesian_prod(*[torch.arange(1, n_words)] * n).view(-1, n) if n else torch.empty(1, 0)
        completions.append(torch.nn.functional.pad(words.long(), (0, length - n), value=EOS))
    all_completions = torch.cat(completions)
    n_words_used = (all_completions != EOS).sum(dim=1, keepdim=True)
    return all_completions, torch.arange(length) <= n_words_used


def tiny_world() -> World:
    """Make the tiny world of cats and dogs.

    Gold reward: 1 each for beginning with *the*, for naming the prompt's word, for stating a fact, and for
    ending; minus 1 for each repetition and each *wow*. Proxy reward: no penalty for repetition, and plus 1.5
    for each *wow*.

    >>> world = tiny_world()
    >>> best = world.gold[0].argmax().item()
    >>> world.text(best), world.gold[0, best].item(), world.proxy[0, best].item()
    ('the cat sleeps .', 4.0, 4.0)
    >>> hacked = world.proxy[0].argmax().item()
    >>> world.text(hacked), world.gold[0, hacked].item(), world.proxy[0, hacked].item()
    ('wow wow wow wow', -7.0, 6.0)
    """
    completions, mask = list_completions(len(WORDS), 4)
    prompts = torch.tensor(PROMPTS)
    counts = (completions[:, None] == torch.arange(len(WORDS))[:, None]).sum(
        dim=2
    )  # (N, V) how often each word occurs
    states_fact = torch.zeros(len(completions), dtype=torch.bool)
    for animal, action in FACTS:
        states_fact |= ((completions[:, :-1] == animal) & (completions[:, 1:] == action)).any(dim=1)
    good = (completions[:, 0] == 1).float() + states_fact.float() + (completions[:, -1] == EOS).float()
    good = good + (counts[:, prompts] > 0).float().T
    repeated = (counts[:, 1:] - 1).clamp(min=0).sum(dim=1)
    wow = counts[:, WOW]
    return World(prompts, completions, mask, gold=good - repeated - wow, proxy=good + 1.5 * wow)


def completion_logprobs(model: Any, world: World) -> Float[Tensor, "P N"]:
    """Compute the log-probability of every completion to every prompt, in one forward pass, with gradients.

    Completions share prefixes: it is enough to run each prompt with each of the longest prefixes, because a
    decoder's positions do not attend to later ones.

    Args:
        model: A decoder over the world's words.
        world: Prompts and completions of the world.

    Returns:
        Log-probabilities, whose exponentials sum to 1 over N.

    >>> world = tiny_world()
    >>> completion_logprobs(lambda ids: torch.zeros(*ids.shape, 8), world)[0, :2].exp().tolist()  # 1/8, 1/64
    [0.125, 0.015625]
    """
    P, T, n_words = len(world.prompts), world.completions.shape[1], int(world.completions.max())
    n_full = n_words**T  # the last ones have full length; each prefix occurs n_words times
    prefixes = world.completions[-n_full::n_words, : T - 1]
    ids = torch.cat([world.prompts.repeat_interleave(len(prefixes))[:, None], prefixes.repeat(P, 1)], dim=1)
    log_p = model(ids).float().log_softmax(dim=-1).view(P, len(prefixes), T, -1)
    # the row whose first t tokens are the prefix of token t; its later tokens do not matter
    place = n_words ** torch.arange(T - 2, -1, -1)
    digits = (world.completions[:, : T - 1] - 1).clamp(min=0) * place
    row = torch.cat([torch.zeros(len(digits), 1, dtype=torch.long), digits.cumsum(dim=1)], dim=1)
    each = log_p[:, row, torch.arange(T), world.completions]  # (P, N, T)
    total: Tensor = each.where(world.mask, 0.0).sum(dim=2)
    return total


def expected(logprobs: Float[Tensor, "P N"], reward: Float[Tensor, "P N"]) -> Float[Tensor, ""]:
    """Compute the expected reward of a policy, averaged over prompts.

    >>> expected(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[4.0, 0.0]])).item()
    1.0
    """
    return (logprobs.exp() * reward).sum(dim=1).mean()


def divergence(logprobs: Float[Tensor, "P N"], reference: Float[Tensor, "P N"]) -> Float[Tensor, ""]:
    r"""Compute the KL divergence of a policy from the reference model, in nats, averaged over prompts.

    >>> divergence(torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.25, 0.75]]).log()).item()  # log 4
    1.3863
    """
    p = logprobs.exp()
    return torch.where(p > 0, p * (logprobs - reference), 0.0).sum(dim=1).mean()


def optimum(
    reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], beta: float
) -> Float[Tensor, "P N"]:
    r"""Compute the log-probabilities of the optimal policy, $\pi^* \propto \pi_\text{ref}\, e^{r / \beta}$.

    >>> reference = torch.tensor([[0.5, 0.5]]).log()
    >>> optimum(reference, torch.tensor([[1.0986123, 0.0]]), beta=1.0).exp().tolist()  # 3 to 1
    [[0.75, 0.25]]
    """
    return (reference + reward / beta).log_softmax(dim=1)


class Point(NamedTuple):
    """KL divergence and expected rewards of a policy.

    Attributes:
        kl: KL divergence from the reference model, in nats.
        gold: Expected true reward.
        proxy: Expected proxy reward, or expected reward by a reward model.
    """

    kl: float
    gold: float
    proxy: float


def point(
    logprobs: Float[Tensor, "P N"],
    reference: Float[Tensor, "P N"],
    world: World,
    proxy: Float[Tensor, "P N"] | None = None,
) -> Point:
    """Measure a policy exactly; ``proxy`` defaults to the world's own proxy reward."""
    measured = world.proxy if proxy is None else proxy
    return Point(
        divergence(logprobs, reference).item(),
        expected(logprobs, world.gold).item(),
        expected(logprobs, measured).item(),
    )


def frontier(
    reference: Float[Tensor, "P N"],
    reward: Float[Tensor, "P N"],
    betas: Sequence[float],
    world: World,
    proxy: Float[Tensor, "P N"] | None = None,
) -> list[Point]:
    """Measure the optimal policy of a reward for each beta: the curve that methods are compared with."""
    return [point(optimum(reference, reward, beta), reference, world, proxy) for beta in betas]


def best_of_n(
    reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], n: int
) -> Float64[Tensor, "P N"]:
    r"""Compute the log-probabilities of best-of-n sampling, with ties broken at random.

    If a sample has at most reward $r$ with probability $F(r)$, the best of n has at most reward $r$ with
    probability $F(r)^n$. Completions of equal reward share that probability in the proportions of the
    reference model.

    Args:
        reference: Log-probabilities of the policy that is sampled from.
        reward: Reward by which the best sample is chosen.
        n: Number of samples.

    Returns:
        Log-probabilities in float64, since powers of numbers close to 1 are subtracted.

    >>> reference = torch.tensor([[0.5, 0.5]]).log()
    >>> best_of_n(reference, torch.tensor([[1.0, 0.0]]), 3).exp().tolist()  # 1 - 1/8
    [[0.875, 0.125]]
    """
    rows = []
    for log_p, r in zip(reference.double(), reward, strict=True):
        levels, level = r.unique(return_inverse=True)
        mass = torch.zeros(len(levels), dtype=torch.float64).index_add(0, level, log_p.exp())
        at_most = mass.cumsum(0) / mass.sum()
        below = torch.cat([at_most.new_zeros(1), at_most[:-1]])
        rows.append(log_p - mass.log()[level] + (at_most**n - below**n).log()[level])
    return torch.stack(rows)


def best_of_n_kl(n: int) -> float:
    r"""Compute the KL divergence of best-of-n if no two rewards are equal: $\log n - (n - 1) / n$.

    It is the limit for many completions, and an upper bound for few, or where rewards tie.

    >>> best_of_n_kl(1), round(best_of_n_kl(4), 4)  # log 4 - 3/4
    (0.0, 0.6363)
    """
    return log(n) - (n - 1) / n


class PairIndices(NamedTuple):
    """Preference pairs by number, for measurements that look rewards up in a table.

    Attributes:
        prompts: Number of each pair's prompt ``(B,)``.
        chosen: Number of each preferred completion ``(B,)``.
        rejected: Number of each other completion ``(B,)``.
    """

    prompts: Int[Tensor, " B"]
    chosen: Int[Tensor, " B"]
    rejected: Int[Tensor, " B"]


def sample_completions(
    logprobs: Float[Tensor, "P N"], prompts: Int[Tensor, " B"], generator: torch.Generator
) -> Int[Tensor, " B"]:
    """Sample one completion for each prompt; prompts and completions are given by number.

    By the inverse of the cumulative distribution in float64, so that the samples do not depend on the
    processor: float32 rounds differently, and torch.multinomial has another generator on Intel.
    """
    completions = torch.empty_like(prompts)
    for prompt in sorted(set(prompts.tolist())):
        rows = prompts == prompt
        cumulative = logprobs[prompt].double().exp().cumsum(dim=0)
        uniform = torch.rand(int(rows.sum()), dtype=torch.float64, generator=generator)
        completions[rows] = torch.searchsorted(cumulative, uniform * cumulative[-1])
    return completions


def demonstrations(
    world: World, n: int, generator: torch.Generator, *, temperature: float = 0.7
) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
    """Sample demonstrations: prompts with completions, the better ones more often, few of them perfect.

    Args:
        world: World whose gold reward is used.
        n: Number of demonstrations.
        generator: Random number generator.
        temperature: Completions are sampled in proportion to exp(gold / temperature).

    Returns:
        Numbers of prompts and completions.
    """
    prompts = torch.randint(len(world.prompts), (n,), generator=generator)
    logprobs = (world.gold.double() / temperature).log_softmax(dim=1)
    return prompts, sample_completions(logprobs, prompts, generator)


def preferences(
    world: World,
    reward: Float[Tensor, "P N"],
    policy: Float[Tensor, "P N"],
    n: int,
    generator: torch.Generator,
) -> PairIndices:
    r"""Sample pairs of completions from a policy, and let a noisy rater prefer one (Bradley-Terry).

    $$p(a \succ b) = \sigma(r(x, a) - r(x, b))$$

    Args:
        world: World whose prompts are used.
        reward: Reward by which the rater compares completions.
        policy: Log-probabilities of the policy that both completions are sampled from.
        n: Number of pairs.
        generator: Random number generator.

    Returns:
        The pairs.
    """
    prompts = torch.randint(len(world.prompts), (n,), generator=generator)
    a, b = (sample_completions(policy, prompts, generator) for _ in range(2))
    prefers_a = torch.rand(n, generator=generator) < torch.sigmoid(reward[prompts, a] - reward[prompts, b])
    return PairIndices(prompts, torch.where(prefers_a, a, b), torch.where(prefers_a, b, a))
