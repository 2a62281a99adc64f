"""Parts of the assignments on reward models and RLHF."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.differentiation import cut_off, with_gradient


def _reward(hidden: Tensor, mask: Tensor, w: Tensor) -> Tensor:
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    return hidden[torch.arange(len(hidden)), last] @ w


def _reward_at(hidden: Tensor, mask: Tensor, w: Tensor, *, offset: int) -> Tensor:
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    return hidden[torch.arange(len(hidden)), (last + offset).clamp(max=mask.shape[1] - 1)] @ w


def _reward_probes() -> list[Arguments]:
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0]]).bool()
    return [(noise(1, 3, 5, 4), mask, noise(2, 4))]


def _accuracy(chosen: Sequence[float], rejected: Sequence[float], tie: float = 0.5) -> float:
    points = [tie if a == b else float(a > b) for a, b in zip(chosen, rejected, strict=True)]
    return sum(points) / len(points)


def _accuracy_without_ties(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    untied = [a > b for a, b in zip(chosen, rejected, strict=True) if a != b]
    return sum(untied) / len(untied)


PREFERENCE_PARTS = (
    Exercise(
        "last-token-reward",
        "last_token_reward(hidden, mask, w) returns the rewards (B,) of a batch of texts. The reward of a "
        "text is the dot product of the hidden state of its last token with the reward head w (D,). `hidden` "
        "is (B, T, D). `mask` (B, T) is True for tokens and False for padding, which can be on the left, on "
        "the right or on both sides.",
        _reward,
        _reward_probes,
        (
            Mistake(
                "last position instead of last token",
                "the reward is read at the last position, which may be padding",
                "Find the last True of each row of the mask.",
                lambda hidden, mask, w: hidden[:, -1] @ w,
            ),
            Mistake(
                "number of tokens for position",
                "the position of the last token is taken to be the number of tokens minus 1, which is wrong "
                "if there is padding on the left",
                "Search from the right: mask.flip(1).int().argmax(1) is the distance from the end.",
                lambda hidden, mask, w: hidden[torch.arange(len(hidden)), mask.sum(1) - 1] @ w,
            ),
            Mistake(
                "mean of the tokens",
                "the dot products of all tokens are averaged",
                "Only the last token has attended to the whole text.",
                lambda hidden, mask, w: (hidden @ w * mask).sum(1) / mask.sum(1),
            ),
            Mistake(
                "first token",
                "the reward is read at the first position",
                "With causal attention, the hidden state of the first token depends on no other token.",
                lambda hidden, mask, w: hidden[:, 0] @ w,
            ),
            Mistake(
                "before the first padding",
                "the reward is read before the first padding, which is wrong if there is padding on the left",
                "Search from the right: mask.flip(1).int().argmax(1) is the distance from the end.",
                lambda hidden, mask, w: (
                    hidden[torch.arange(len(hidden)), (~mask).int().argmax(dim=1) - 1] @ w
                ),
            ),
            Mistake(
                "one position early",
                "the reward is read at the second to last token",
                "In a row without padding, the position is T - 1.",
                partial(_reward_at, offset=-1),
            ),
            Mistake(
                "one position late",
                "the reward is read at the position after the last token, where there is one",
                "In a row without padding, the position is T - 1.",
                partial(_reward_at, offset=1),
            ),
            Mistake(
                "largest of the tokens",
                "the largest dot product of all tokens is returned",
                "Only the last token has attended to the whole text.",
                lambda hidden, mask, w: (hidden @ w).masked_fill(~mask, -torch.inf).amax(dim=1),
            ),
            cut_off(_reward),
        ),
        ("hidden[torch.arange(B), last] selects one position in each row.",),
        observe=with_gradient(_reward, 0, 2),
    ),
    Exercise(
        "pair-accuracy",
        "pair_accuracy(chosen, rejected) returns the fraction of pairs in which the chosen text has the "
        "higher reward; a tie counts as one half. chosen[i] and rejected[i] are the rewards of the two texts "
        "of pair i, as floats.",
        _accuracy,
        lambda: [
            ([1.0, 2.0, 0.0, 3.0, 5.0], [0.0, 2.0, 1.0, 1.0, 1.0]),
            ([2.0, -1.0, 0.5], [1.0, -2.0, 0.5]),
        ],
        (
            Mistake(
                "ties count as right",
                "a tie counts as right",
                "A model that gives every text the same reward would have 100% accuracy.",
                partial(_accuracy, tie=1.0),
            ),
            Mistake(
                "ties count as wrong",
                "a tie counts as wrong",
                "A model that guesses is right half the time, so a tie counts as one half.",
                partial(_accuracy, tie=0.0),
            ),
            Mistake(
                "ties left out",
                "pairs with a tie are left out",
                "A tie counts as one half, in a fraction of all pairs.",
                _accuracy_without_ties,
            ),
            Mistake(
                "pair swapped",
                "pairs in which the rejected text has the higher reward are counted",
                "A pair is right if chosen > rejected.",
                lambda chosen, rejected: _accuracy(rejected, chosen),
            ),
            Mistake(
                "all chosen with all rejected texts",
                "every chosen text is compared with every rejected one",
                "People compared chosen[i] with rejected[i] only.",
                lambda chosen, rejected: _accuracy(
                    [a for a in chosen for _ in rejected], [b for _ in chosen for b in rejected]
                ),
            ),
            Mistake(
                "sign of the chosen reward",
                "a pair is right if the chosen reward is above zero",
                "Only differences of rewards have a meaning: compare the two rewards of the pair.",
                lambda chosen, rejected: _accuracy(chosen, [0.0] * len(rejected)),
            ),
        ),
        ("Average over the pairs: 1 if the chosen reward is higher, 0.5 for a tie, else 0.",),
    ),
)
