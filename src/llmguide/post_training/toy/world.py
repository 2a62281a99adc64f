r"""One tiny world in which post-training can be checked: every answer to every prompt can be listed.

Eight words, four prompts, answers of at most four words: 2,801 answers, so that no quantity has to be
estimated. The probability of each answer under a model takes one forward pass, and from it follow the exact
expected reward, the exact divergence from the reference, and the policy that no method can beat:

$$\max_\pi \; \mathbb{E}_{y \sim \pi}[r(x, y)] - \beta\, \mathrm{KL}(\pi \,\|\, \pi_\text{ref})
\quad\Rightarrow\quad \pi^*(y \mid x) \propto \pi_\text{ref}(y \mid x)\, e^{r(x, y) / \beta}$$

For every β there is one such policy; together they are the frontier, the most reward at each divergence.

A prompt names an animal or what it does; a good answer is ``the cat sleeps .``. The *gold* reward knows that.
The *proxy* has a flaw that reward models have, a weakness for enthusiasm: it likes each ``wow``, and does not
mind repetition. On answers that people write the two agree; a policy that is pushed far enough says ``wow wow
wow wow``.

References: the closed form (Rafailov et al. 2023, arXiv:2305.18290, appendix A.1); Bradley-Terry preferences
(same, section 3); best-of-n and its divergence (Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; Beirami
et al. 2024, arXiv:2401.01879, who show that the usual formula is an upper bound); gold and proxy, and
over-optimization (Gao et al. 2022, arXiv:2210.10760).

Leaves out: anything with more tokens than can be listed, which is the point.
`llmguide.post_training.toy.methods` runs every method of the guide in it.

Glossary: ``P`` prompts, ``N`` answers, ``T`` longest answer, ``V`` words, ``B`` rows of a batch.
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
WORDS = (".", "the", "cat", "dog", "sleeps", "barks", "softly", "wow")  # "." ends an answer
PROMPTS = (2, 3, 4, 5)  # the animals and what they do
FACTS = ((2, 4), (3, 5))  # the cat sleeps, the dog barks
WOW = 7


@dataclass(frozen=True)
class World:
    """All answers, in an order that stays, and what each is worth as the answer to each prompt.

    Attributes:
        prompts: Id of each one-word prompt ``(P,)``.
        answers: Ids, with EOS from the end on ``(N, T)``.
        mask: True for the tokens of the answer, its EOS included if there was room for one ``(N, T)``.
        gold: True reward ``(P, N)``.
        proxy: Reward with a flaw ``(P, N)``.
    """

    prompts: Tensor
    answers: Tensor
    mask: Tensor
    gold: Tensor
    proxy: Tensor

    @property
    def config(self) -> ModelConfig:
        """A model that learns this world in seconds: two layers, 25,888 parameters with eight words."""
        T = self.answers.shape[1]
        return ModelConfig(
            vocab_size=int(self.answers.max()) + 1, context_length=T + 1, n_layers=2, d_model=32, n_heads=4
        )

    def text(self, answer: int) -> str:
        """Write an answer in words.

        >>> tiny_world().text(0), tiny_world().text(8)
        ('.', 'the the .')
        """
        return " ".join(WORDS[i] for i in self.answers[answer][self.mask[answer]].tolist())

    def find(self, answers: Int[Tensor, "B T_any"]) -> Int[Tensor, " B"]:
        """Return the number of each answer; what stands behind its EOS does not count.

        >>> world = tiny_world()
        >>> world.text(world.find(torch.tensor([[1, 2, 0, 5]])).item())
        'the cat .'
        """
        V, T = int(self.answers.max()) + 1, self.answers.shape[1]
        ended = (answers == EOS).cumsum(dim=1) > 0
        padded = answers.new_full((len(answers), T), EOS)
        padded[:, : answers.shape[1]] = answers.masked_fill(ended, EOS)
        place = V ** torch.arange(T - 1, -1, -1)
        codes, order = (self.answers @ place).sort()
        return order[torch.searchsorted(codes, padded @ place)]

    def rows(self, prompts: Int[Tensor, " B"], answers: Int[Tensor, " B"]) -> Int[Tensor, "B T_all"]:
        """Return ids of prompts followed by answers, both given by number."""
        return torch.cat([self.prompts[prompts, None], self.answers[answers]], dim=1)


def list_answers(n_words: int, length: int) -> tuple[Int[Tensor, "N T"], Bool[Tensor, "N T"]]:
    """List all answers: those that end with EOS, word 0, within the length, and those that fill it.

    Args:
        n_words: Words, EOS included.
        length: Most tokens of an answer, EOS included.

    Returns:
        Ids, filled up with EOS, and the mask of the tokens that count. Short answers come first.

    >>> answers, mask = list_answers(2, 2)
    >>> answers.tolist()  # ".", "a .", "a a"
    [[0, 0], [1, 0], [1, 1]]
    >>> mask.sum(dim=1).tolist()
    [1, 2, 2]
    """
    answers = []
    for n in range(length + 1):
        words = torch.cartesian_prod(*[torch.arange(1, n_words)] * n).view(-1, n) if n else torch.empty(1, 0)
        answers.append(torch.nn.functional.pad(words.long(), (0, length - n), value=EOS))
    all_answers = torch.cat(answers)
    n_words_said = (all_answers != EOS).sum(dim=1, keepdim=True)
    return all_answers, torch.arange(length) <= n_words_said


def tiny_world() -> World:
    """Make the world of cats and dogs.

    Gold: 1 each for beginning with *the*, for naming the prompt's word, for stating a fact, and for ending;
    minus 1 for each repetition and each *wow*. Proxy: the same without the minus for repetition, and plus 1.5
    for each *wow*.

    >>> world = tiny_world()
    >>> best = world.gold[0].argmax().item()
    >>> world.text(best), world.gold[0, best].item(), world.proxy[0, best].item()
    ('the cat sleeps .', 4.0, 4.0)
    >>> hacked = world.proxy[0].argmax().item()
    >>> world.text(hacked), world.gold[0, hacked].item(), world.proxy[0, hacked].item()
    ('wow wow wow wow', -7.0, 6.0)
    """
    answers, mask = list_answers(len(WORDS), 4)
    prompts = torch.tensor(PROMPTS)
    says = (answers[:, None] == torch.arange(len(WORDS))[:, None]).sum(dim=2)  # (N, V) times each is said
    states_fact = torch.zeros(len(answers), dtype=torch.bool)
    for animal, action in FACTS:
        states_fact |= ((answers[:, :-1] == animal) & (answers[:, 1:] == action)).any(dim=1)
    good = (answers[:, 0] == 1).float() + states_fact.float() + (answers[:, -1] == EOS).float()
    good = good + (says[:, prompts] > 0).float().T
    repeated = (says[:, 1:] - 1).clamp(min=0).sum(dim=1)
    wow = says[:, WOW]
    return World(prompts, answers, mask, gold=good - repeated - wow, proxy=good + 1.5 * wow)


def answer_logprobs(model: Any, world: World) -> Float[Tensor, "P N"]:
    """Compute the log-probability of every answer to every prompt, in one forward pass, with gradients.

    Answers share their beginnings: it is enough to run each prompt with each of the longest beginnings, since
    a decoder's earlier positions do not see the later ones.

    Args:
        model: A decoder over the world's words.
        world: Prompts and answers.

    Returns:
        Log-probabilities, whose exponentials sum to 1 over N.

    >>> world = tiny_world()
    >>> answer_logprobs(lambda ids: torch.zeros(*ids.shape, 8), world)[0, :2].exp().tolist()  # 1/8, 1/8 x 1/8
    [0.125, 0.015625]
    """
    P, T, n_words = len(world.prompts), world.answers.shape[1], int(world.answers.max())
    n_full = n_words**T  # the last answers fill all of the length; each beginning comes n_words times
    begun = world.answers[-n_full::n_words, : T - 1]
    ids = torch.cat([world.prompts.repeat_interleave(len(begun))[:, None], begun.repeat(P, 1)], dim=1)
    log_p = model(ids).float().log_softmax(dim=-1).view(P, len(begun), T, -1)
    # row in which token t of an answer follows its own beginning; what comes later there is of no interest
    place = n_words ** torch.arange(T - 2, -1, -1)
    digits = (world.answers[:, : T - 1] - 1).clamp(min=0) * place
    row = torch.cat([torch.zeros(len(digits), 1, dtype=torch.long), digits.cumsum(dim=1)], dim=1)
    each = log_p[:, row, torch.arange(T), world.answers]  # (P, N, T)
    total: Tensor = each.where(world.mask, 0.0).sum(dim=2)
    return total


def expected(logprobs: Float[Tensor, "P N"], reward: Float[Tensor, "P N"]) -> Float[Tensor, ""]:
    """Mean reward of a policy, each prompt counting the same.

    >>> expected(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([[4.0, 0.0]])).item()
    1.0
    """
    return (logprobs.exp() * reward).sum(dim=1).mean()


def divergence(logprobs: Float[Tensor, "P N"], reference: Float[Tensor, "P N"]) -> Float[Tensor, ""]:
    r"""KL divergence of a policy from the reference, in nats, mean over prompts.

    >>> divergence(torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.25, 0.75]]).log()).item()  # log 4
    1.3863
    """
    p = logprobs.exp()
    return torch.where(p > 0, p * (logprobs - reference), 0.0).sum(dim=1).mean()


def optimum(
    reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], beta: float
) -> Float[Tensor, "P N"]:
    r"""Log-probabilities of the best policy: $\pi^* \propto \pi_\text{ref}\, e^{r / \beta}$.

    >>> reference = torch.tensor([[0.5, 0.5]]).log()
    >>> optimum(reference, torch.tensor([[1.0986123, 0.0]]), beta=1.0).exp().tolist()  # 3 to 1
    [[0.75, 0.25]]
    """
    return (reference + reward / beta).log_softmax(dim=1)


class Point(NamedTuple):
    """Where a policy stands.

    Attributes:
        kl: Divergence from the reference, in nats.
        gold: Expected true reward.
        proxy: Expected reward by the flawed measure, or by the reward model.
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
    """Measure a policy exactly; without ``proxy``, by the world's own."""
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
    """Measure the best policies for a reward, one for each beta: the curve that methods are compared with."""
    return [point(optimum(reference, reward, beta), reference, world, proxy) for beta in betas]


def best_of_n(
    reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], n: int
) -> Float64[Tensor, "P N"]:
    r"""Log-probabilities of the best of n draws, ties broken at random.

    With $F(r)$ the probability that a draw has at most reward $r$, the best of n has reward at most $r$ with
    probability $F(r)^n$. What lies between two neighboring rewards is shared by the answers of that reward
    as the reference shares it.

    Args:
        reference: Policy that is drawn from.
        reward: Judge of the draws.
        n: Draws.

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
    r"""Divergence of the best of n from the reference if no two rewards are equal: $\log n - (n - 1) / n$.

    It is the limit for many answers, and an upper bound for few, or where rewards tie.

    >>> best_of_n_kl(1), round(best_of_n_kl(4), 4)  # log 4 - 3/4
    (0.0, 0.6363)
    """
    return log(n) - (n - 1) / n


class Judgments(NamedTuple):
    """Preferences: numbers of the prompt and of two answers, one row a pair.

    Attributes:
        prompts: Numbers of prompts ``(B,)``.
        chosen: Numbers of the preferred answers ``(B,)``.
        rejected: Numbers of the others ``(B,)``.
    """

    prompts: Int[Tensor, " B"]
    chosen: Int[Tensor, " B"]
    rejected: Int[Tensor, " B"]


def draw_answers(
    logprobs: Float[Tensor, "P N"], prompts: Int[Tensor, " B"], generator: torch.Generator
) -> Int[Tensor, " B"]:
    """Draw one answer to each prompt, by number."""
    answers = torch.empty_like(prompts)
    for prompt in sorted(set(prompts.tolist())):
        rows = prompts == prompt
        answers[rows] = torch.multinomial(
            logprobs[prompt].exp(), int(rows.sum()), replacement=True, generator=generator
        )
    return answers


def demonstrations(
    world: World, n: int, generator: torch.Generator, *, temperature: float = 0.7
) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
    """Draw prompts and answers as people would write them: better ones more often, few of them perfect.

    Args:
        world: What is good.
        n: Demonstrations.
        generator: Source of randomness.
        temperature: Answers are drawn in proportion to exp(gold / temperature).

    Returns:
        Numbers of prompts and answers.
    """
    prompts = torch.randint(len(world.prompts), (n,), generator=generator)
    return prompts, draw_answers((world.gold / temperature).log_softmax(dim=1), prompts, generator)


def preferences(
    world: World,
    reward: Float[Tensor, "P N"],
    policy: Float[Tensor, "P N"],
    n: int,
    generator: torch.Generator,
) -> Judgments:
    r"""Draw pairs of answers of a policy, and let a noisy judge prefer one: Bradley-Terry.

    $$p(a \succ b) = \sigma(r(x, a) - r(x, b))$$

    Args:
        world: The prompts.
        reward: What the judge goes by.
        policy: Log-probabilities of the policy that both answers come from.
        n: Judgments.
        generator: Source of randomness.

    Returns:
        The pairs.
    """
    prompts = torch.randint(len(world.prompts), (n,), generator=generator)
    a, b = (draw_answers(policy, prompts, generator) for _ in range(2))
    prefers_a = torch.rand(n, generator=generator) < torch.sigmoid(reward[prompts, a] - reward[prompts, b])
    return Judgments(prompts, torch.where(prefers_a, a, b), torch.where(prefers_a, b, a))
