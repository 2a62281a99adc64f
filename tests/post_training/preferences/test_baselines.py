from itertools import pairwise

import numpy as np
import pytest
import torch

from llmguide.evaluation.metrics import wilson_interval
from llmguide.post_training.datasets import TextPair
from llmguide.post_training.preferences.baselines import accuracy_interval, bag_of_words, verdicts


def pair(chosen, rejected):
    return TextPair([], chosen, rejected, (chosen, rejected))


def test_a_tie_counts_half():
    pairs = [pair("long text", "text"), pair("text", "long text"), pair("text", "word")]
    assert verdicts(pairs, len) == [1.0, 0.0, 0.5]


def test_two_words_have_the_weights_of_logistic_regression():
    # "good" won 3 of 4 times: each word's weight is half the margin m, and the gradient vanishes where
    # 3 (1 - s) - s = m / 2 with s = sigmoid(m)
    pairs = [pair("good", "bad")] * 3 + [pair("bad", "good")]
    score = bag_of_words(pairs, min_count=1)
    margin = score("good") - score("bad")
    right = 1 / (1 + np.exp(-margin))
    assert 3 * (1 - right) - right == pytest.approx(margin / 2, abs=1e-4)
    assert score("unknown") == 0.0


def test_words_that_occur_once_have_no_weight():
    assert bag_of_words([pair("good", "bad")])("good") == 0.0


def test_weights_are_those_of_an_independent_solver():
    generator = np.random.default_rng(0)
    words = ["a", "b", "c", "d"]
    texts = [" ".join(generator.permutation(words)[: generator.integers(1, 4)]) for _ in range(40)]
    pairs = [pair(*texts[i : i + 2]) for i in range(0, 40, 2)]
    score = bag_of_words(pairs, min_count=1, penalty=2.0)

    def features(text):
        tokens = text.split()
        return {*tokens, *(" ".join(two) for two in pairwise(tokens))}

    known = sorted({feature for text in texts for feature in features(text)})
    rows = [[float(f in features(p.chosen)) - float(f in features(p.rejected)) for f in known] for p in pairs]
    X, theta = torch.tensor(rows, dtype=torch.float64), torch.zeros(len(known), dtype=torch.float64)
    for _ in range(50):  # Newton's method
        p = torch.sigmoid(X @ theta)
        gradient = X.T @ (p - 1) + 2.0 * theta
        hessian = (X * (p * (1 - p))[:, None]).T @ X + 2.0 * torch.eye(len(known), dtype=torch.float64)
        theta = theta - torch.linalg.solve(hessian, gradient)
    for text in texts:
        expected = sum(theta[known.index(feature)].item() for feature in features(text))
        assert score(text) == pytest.approx(expected, abs=1e-3)


def test_of_pairs_that_share_nothing_the_interval_is_about_wilsons():
    generator = np.random.default_rng(0)
    right = (generator.random(400) < 0.7).astype(float).tolist()
    found = accuracy_interval(right, [(f"{i}",) for i in range(400)])
    peer = wilson_interval(sum(right), 400)
    assert found.score == peer.score
    assert found.low == pytest.approx(peer.low, abs=0.01)
    assert found.high == pytest.approx(peer.high, abs=0.01)


@pytest.mark.nightly
def test_the_interval_holds_the_truth_where_pairs_share_texts_and_wilsons_does_not():
    # a model places each text with an error; pairs of texts with a large one go wrong together
    generator = np.random.default_rng(1)
    held = {"texts": 0, "pairs": 0}
    n_worlds = 60
    for _ in range(n_worlds):
        n = 40
        error = generator.normal(size=n)
        a, b = generator.integers(n, size=(2, 2000))
        a, b = a[a != b], b[a != b]
        right = (error[a] + error[b] > -1.0).astype(float).tolist()
        truth = 0.760  # normal distribution of variance 2 at 1 / sqrt 2
        ours = accuracy_interval(
            right, [(str(i), str(j)) for i, j in zip(a, b, strict=True)], n_resamples=200
        )
        naive = wilson_interval(sum(right), len(right))
        held["texts"] += ours.low <= truth <= ours.high
        held["pairs"] += naive.low <= truth <= naive.high
    assert held["texts"] > 0.85 * n_worlds > 0.7 * n_worlds > held["pairs"]


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 verdicts and 0 units"):
        accuracy_interval([1.0], [])
    with pytest.raises(ValueError, match="0 verdicts"):
        accuracy_interval([], [])
