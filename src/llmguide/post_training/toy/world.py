r"""A tiny world in which post-training can be checked exactly, because all completions can be enumerated.

It has eight words, four prompts and completions of at most four words: 2,801 completions, so that no quantity
has to be estimated. One forward pass gives the probability of each completion under a model. From it follow
the exact expected reward and KL divergence (`llmguide.post_training.toy.frontier`).

A prompt names an animal or what it does; a good completion is ``the cat sleeps .``, which the *gold* reward
scores highest. The *proxy* has a typical flaw of reward models: it rewards each ``wow`` and does not penalize
repetition. On typical completions the two agree; a policy that is optimized far enough generates ``wow wow
wow wow``.

References: Bradley-Terry preferences (Rafailov et al. 2023, arXiv:2305.18290, section 3); gold and proxy, and
over-optimization (Gao et al. 2022, arXiv:2210.10760).

Leaves out: anything with more tokens than can be listed, which is the point.
`llmguide.post_training.toy.methods` runs every method of the guide in it.

Glossary: ``P`` prompts, ``N`` completions, ``T`` longest completion, ``V`` words, ``B`` rows of a batch.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmguide.config.model_config import ModelConfig

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
    processor: float32 rounds differently, and torch.multinomial of earlier versions has another
    generator on Intel.
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
