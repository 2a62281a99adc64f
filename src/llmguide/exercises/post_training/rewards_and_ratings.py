"""Exercises on the Bradley-Terry model: the losses of reward models, and ratings of a tournament."""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.comparing import same
from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.differentiation import cut_off, with_gradient
from llmguide.post_training.preferences.reward_model import bradley_terry_loss


def ranking_loss(
    rewards: Tensor,
    ranks: Tensor,
    *,
    sign: int = 1,
    ties: bool = False,
    neighbors: bool = False,
    best: bool = False,
    pooled: bool = False,
    empty: bool = False,
) -> Tensor:
    """Compute the loss of a reward model on rankings, with switches for the mistakes."""
    losses = []
    for row, order in zip(rewards, ranks.tolist(), strict=True):
        pairs = [
            (i, j)
            for i, a in enumerate(order)
            for j, b in enumerate(order)
            if a < b or (ties and a == b and i < j)
        ]
        levels = sorted(set(order))
        if neighbors:
            pairs = [(i, j) for i, j in pairs if levels.index(order[j]) - levels.index(order[i]) == 1]
        if best:
            pairs = [(i, j) for i, j in pairs if order[i] == levels[0]]
        if pairs:
            better, worse = (row[[pair[side] for pair in pairs]] for side in (0, 1))
            losses.append(-F.logsigmoid(sign * (better - worse)))
        elif empty:
            losses.append(row[:1] * 0)
    return torch.cat(losses).mean() if pooled else torch.stack([part.mean() for part in losses]).mean()


def _ranking_probes() -> list[Arguments]:
    ranks = [[1, 3, 2, 4], [2, 1, 1, 2], [1, 1, 1, 1]]
    return [(noise(30, 3, 4), torch.tensor(ranks)), (2 * noise(31, 1, 5), torch.tensor([[5, 1, 3, 2, 4]]))]


def ratings(wins: list[list[int]]) -> list[float]:
    """Fit the Bradley-Terry model by minorization-maximization (Hunter 2004, doi:10.1214/aos/1079120141).

    >>> [round(rating, 1) for rating in ratings([[0, 10], [1, 0]])]  # odds of 10 to 1
    [200.0, -200.0]
    """
    n = len(wins)
    strengths = [1.0] * n
    for _ in range(300):
        strengths = [
            sum(wins[i])
            / sum((wins[i][j] + wins[j][i]) / (strengths[i] + strengths[j]) for j in range(n) if j != i)
            for i in range(n)
        ]
        total = sum(strengths)
        strengths = [strength / total for strength in strengths]
    return _centered([400 * math.log10(strength) for strength in strengths])


def _centered(numbers: list[float]) -> list[float]:
    mean = sum(numbers) / len(numbers)
    return [number - mean for number in numbers]


def _overall(wins: list[list[int]]) -> list[float]:
    won, lost = [sum(row) for row in wins], [sum(column) for column in zip(*wins, strict=True)]
    return _centered([400 * math.log10(w / n) for w, n in zip(won, lost, strict=True)])


def _transposed(wins: list[list[int]]) -> list[float]:
    return ratings([list(column) for column in zip(*wins, strict=True)])


def _within_a_tenth(got: Any, wanted: Any) -> bool:
    """Accept ratings that differ by less than 0.1, since any method of fitting will do."""
    return same(got, wanted) or (
        isinstance(got, list)
        and len(got) == len(wanted)
        and all(isinstance(number, float) for number in got)
        and all(abs(number - other) < 0.1 for number, other in zip(got, wanted, strict=True))
    )


def _rating_probes() -> list[Arguments]:
    return [
        ([[0, 8, 3], [2, 0, 6], [1, 4, 0]],),
        ([[0, 30, 2, 1], [10, 0, 1, 5], [1, 1, 0, 20], [1, 2, 10, 0]],),
        ([[0, 3], [1, 0]],),
    ]


EXERCISES = (
    Exercise(
        "bradley-terry",
        "bradley_terry(chosen, rejected): the mean Bradley-Terry loss of a reward model, from the rewards "
        "(B,) of the chosen and of the rejected texts of B pairs.",
        bradley_terry_loss,
        lambda: [
            (torch.tensor([2.0, 0.5]), torch.tensor([1.0, 1.5])),
            (noise(8, 4), noise(9, 4)),
            (torch.tensor([-80.0, 3.0]), torch.tensor([70.0, 2.0])),
        ],
        (
            Mistake(
                "pair swapped",
                "the loss falls when the rejected completion gets the higher reward",
                "chosen - rejected: the loss falls as the chosen reward rises.",
                lambda chosen, rejected: bradley_terry_loss(rejected, chosen),
            ),
            Mistake(
                "logarithm forgotten",
                "the probability is averaged instead of its logarithm",
                "The loss is -log sigmoid. Use logsigmoid, which does not underflow.",
                lambda chosen, rejected: -torch.sigmoid(chosen - rejected).mean(),
            ),
            Mistake(
                "sum instead of mean",
                "the losses are summed",
                "Divide by the number of pairs.",
                lambda chosen, rejected: -F.logsigmoid(chosen - rejected).sum(),
            ),
            Mistake(
                "logarithm of the mean",
                "the mean is taken before the logarithm",
                "The likelihood of all pairs is a product, so take the logarithm of each pair first.",
                lambda chosen, rejected: -torch.sigmoid(chosen - rejected).mean().log(),
            ),
            Mistake(
                "underflow",
                "sigmoid rounds to 0 before its logarithm is taken, so that the loss of a very wrong pair is "
                "infinite",
                "Use logsigmoid, which computes both in one step.",
                lambda chosen, rejected: -torch.sigmoid(chosen - rejected).log().mean(),
            ),
            Mistake(
                "log-likelihood instead of loss",
                "the minus sign is missing",
                "The optimizer minimizes, so the loss is the negative log-likelihood.",
                lambda chosen, rejected: -bradley_terry_loss(chosen, rejected),
            ),
            cut_off(bradley_terry_loss),
        ),
        (
            "In this model, the probability of a preference depends on the difference of the two rewards.",
            "The chosen completion is preferred with probability sigmoid(difference). The loss is the "
            "negative log-likelihood.",
            "-logsigmoid(chosen - rejected), averaged over the pairs.",
        ),
        level="warm-up",
        minutes=5,
        observe=with_gradient(bradley_terry_loss, 0, 1),
    ),
    Exercise(
        "ranking-loss",
        "ranking_loss(rewards, ranks) returns the loss of a reward model on rankings of K completions, as a "
        "scalar tensor. `rewards` (B, K) are the rewards that the model gives to K completions of each of B "
        "prompts. `ranks` (B, K) are the ranks that a labeler gave them: ints, 1 for the best, and equal "
        "ranks for completions that the labeler finds equally good. Each two completions of a prompt with "
        "different ranks are a pair, as in the Bradley-Terry model; equal ones are not compared. Average the "
        "losses of the pairs of each prompt first, so that each prompt has the same weight, and then average "
        "over the prompts that have a pair. At least one has.",
        ranking_loss,
        _ranking_probes,
        (
            Mistake(
                "order reversed",
                "the completion with the larger rank is treated as the better one",
                "Rank 1 is the best.",
                partial(ranking_loss, sign=-1),
            ),
            Mistake(
                "pairs of all prompts pooled",
                "the mean is over all pairs of the batch at once",
                "A prompt without ties has more pairs and would count more. Average within each prompt "
                "first.",
                partial(ranking_loss, pooled=True),
            ),
            Mistake(
                "equal ranks compared",
                "completions of equal rank are a pair, too, the first of them as the better one",
                "The labeler does not say which one is better. Leave these pairs out.",
                partial(ranking_loss, ties=True),
            ),
            Mistake(
                "neighboring ranks only",
                "only completions of neighboring ranks are compared",
                "The best is better than the third as well: K completions give up to K (K - 1) / 2 pairs.",
                partial(ranking_loss, neighbors=True),
            ),
            Mistake(
                "best against the rest",
                "only pairs with a completion of the best rank count",
                "The order of the others holds information, too.",
                partial(ranking_loss, best=True),
            ),
            Mistake(
                "prompts without a pair counted",
                "a prompt whose completions are all equal counts as a loss of 0",
                "Divide by the number of prompts that have a pair.",
                partial(ranking_loss, empty=True),
            ),
        ),
        (
            "First solve it for a single prompt: which pairs (i, j) of completions are there?",
            "All differences of rewards at once are rewards[:, :, None] - rewards[:, None, :], and a "
            "comparison of the ranks says which of them count. A loop over pairs works as well.",
            "The loss of a pair is -logsigmoid(reward of the better - reward of the worse). Sum over the "
            "pairs of a prompt, divide by their number, and leave out prompts whose number is 0.",
        ),
        level="medium",
        minutes=20,
        after="InstructGPT had labelers rank 4 to 9 completions of a prompt and put all pairs of a prompt "
        "into one batch element. Shuffled as single pairs, each completion took part in several updates of "
        "an epoch, and the reward model overfitted.",
    ),
    Exercise(
        "ratings",
        "ratings(wins) fits the Bradley-Terry model to a tournament of models, as chat leaderboards do. "
        "`wins[i][j]` is how often model i was preferred to model j. Return the list of ratings that make "
        "these results most likely, on the scale of Elo: a model that is rated 400 points higher wins with "
        "odds of 10 to 1, and the mean of all ratings is 0. Every model has won and lost against every "
        "other. Use any method; errors below 0.1 points are accepted.",
        ratings,
        _rating_probes,
        (
            Mistake(
                "strength of the opponents ignored",
                "a rating is the logarithm of a model's wins over its losses",
                "A win against a strong model is worth more. Fit all ratings together.",
                _overall,
            ),
            Mistake(
                "natural logarithm",
                "a factor of e in the odds is worth 400 points",
                "400 points are a factor of 10: multiply the natural logarithm by 400 / ln 10.",
                lambda wins: [rating * math.log(10) for rating in ratings(wins)],
            ),
            Mistake(
                "wins and losses swapped",
                "wins[i][j] is read as the wins of j",
                "Row i holds the wins of model i.",
                _transposed,
            ),
            Mistake(
                "first model at 0",
                "the first model is the zero point of the scale",
                "Only differences are determined by the data. Subtract the mean of all ratings.",
                lambda wins: [rating - ratings(wins)[0] for rating in ratings(wins)],
            ),
            Mistake(
                "not on Elo's scale",
                "the ratings are natural logarithms of the strengths",
                "Multiply by 400 / ln 10.",
                lambda wins: [rating * math.log(10) / 400 for rating in ratings(wins)],
            ),
        ),
        (
            "With strengths s, model i beats model j with probability s_i / (s_i + s_j). The rating is a "
            "multiple of the logarithm of the strength.",
            "At the maximum, each model's expected number of wins is equal to its real number. That suggests "
            "an iteration.",
            "Repeat: s_i = wins of i / sum over j of (games of i and j) / (s_i + s_j), with the old "
            "strengths on the right, until nothing changes. Gradient ascent on the ratings works as well.",
        ),
        level="hard",
        minutes=30,
        after="Elo's online rule is one step of stochastic gradient ascent on the same likelihood after each "
        "game, so its ratings depend on the order of the games. The fit does not.",
        accept=_within_a_tenth,
    ),
)
