"""Answers to exercises of rewards and ratings, as a reader would write them; the tests grade each."""

import math

import torch.nn.functional as F


def bradley_terry(chosen, rejected):
    return -F.logsigmoid(chosen - rejected).mean()


def ranking_loss(rewards, ranks):
    losses = -F.logsigmoid(rewards[:, :, None] - rewards[:, None, :])
    counted = ranks[:, :, None] < ranks[:, None, :]
    n_pairs = counted.sum(dim=(1, 2))
    sums = (losses * counted).sum(dim=(1, 2))
    has_pair = n_pairs > 0
    return (sums[has_pair] / n_pairs[has_pair]).mean()


def ratings(wins):
    n = len(wins)
    strengths = [1.0] * n
    for _ in range(300):
        new = []
        for i in range(n):
            others = [j for j in range(n) if j != i]
            expected = sum((wins[i][j] + wins[j][i]) / (strengths[i] + strengths[j]) for j in others)
            new.append(sum(wins[i]) / expected)
        strengths = [strength / sum(new) for strength in new]
    found = [400 * math.log10(strength) for strength in strengths]
    return [rating - sum(found) / n for rating in found]
