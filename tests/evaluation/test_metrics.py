import sys
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import sacrebleu
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from tests.parity import assert_parity

from llmguide.evaluation import metrics
from llmguide.evaluation.metrics import (
    bleu,
    bootstrap_interval,
    expected_calibration_error,
    pass_at_k,
    rouge,
    wilson_interval,
    win_rate,
)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_pass_at_k_counts_the_choices_of_k_with_a_right_one(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            chosen = list(combinations(range(n), k))
            share = Fraction(sum(min(choice) < c for choice in chosen), len(chosen))
            assert pass_at_k(n, c, k) == pytest.approx(float(share), abs=1e-15)


def test_pass_at_k_is_the_papers_numpy_version():
    def paper(n, c, k):  # Chen et al. 2021, figure 3
        return 1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))

    for n, c, k in [(200, 3, 1), (200, 3, 100), (200, 150, 10), (200, 0, 10), (200, 200, 1)]:
        assert pass_at_k(n, c, k) == pytest.approx(paper(n, c, k), abs=1e-12)


@given(st.integers(1, 60), st.data())
def test_pass_at_k_grows_with_k_and_with_c(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)
    if k < n:
        assert pass_at_k(n, c, k) <= pass_at_k(n, c, k + 1) + 1e-12
    if c < n:
        assert pass_at_k(n, c, k) <= pass_at_k(n, c + 1, k) + 1e-12


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_rejects_impossible_counts(n, c, k):
    with pytest.raises(ValueError, match=f"n={n}, c={c}, k={k}"):
        pass_at_k(n, c, k)


@pytest.mark.parity
@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (1, 1), (70, 100), (3, 1000)])
def test_wilson_is_scipys(k, n):
    for confidence in (0.8, 0.95, 0.99):
        peer = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
        assert_parity(
            list(wilson_interval(k, n, confidence=confidence))[1:],
            [peer.low, peer.high],
            of="llmguide.evaluation.metrics.wilson_interval",
            against="scipy.stats.binomtest",
            atol=1e-12,
        )


def test_wilson_holds_the_true_share_about_as_often_as_promised():
    n, p = 50, 0.3
    held = sum(
        scipy.stats.binom.pmf(k, n, p)
        for k in range(n + 1)
        if wilson_interval(k, n).low <= p <= wilson_interval(k, n).high
    )
    assert 0.93 < held < 0.97


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_win_rate_of_the_other_side_is_the_rest(wins, losses, ties):
    if wins + losses + ties == 0:
        with pytest.raises(ValueError, match="n at least 1"):
            win_rate(wins, losses, ties)
        return
    ours, theirs = win_rate(wins, losses, ties), win_rate(losses, wins, ties)
    assert ours.score + theirs.score == pytest.approx(1)
    assert ours.low + theirs.high == pytest.approx(1)
    assert 0 <= ours.low <= ours.score <= ours.high <= 1


@pytest.mark.parity
def test_bootstrap_is_scipys_percentile_interval():
    values = np.random.default_rng(1).normal(3, 2, 80)
    peer = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=2)
    assert_parity(
        list(bootstrap_interval(values.tolist()))[1:],
        list(peer.confidence_interval),
        of="llmguide.evaluation.metrics.bootstrap_interval",
        against="scipy.stats.bootstrap",
        atol=0.02,  # two drawings; the width is 0.85
    )


def test_bootstrap_repeats_itself_and_rejects_nothing():
    assert bootstrap_interval([0.0, 1.0, 1.0], n_resamples=50) == bootstrap_interval(
        [0.0, 1.0, 1.0], n_resamples=50
    )
    with pytest.raises(ValueError, match="0 values"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="confidence=95"):
        bootstrap_interval([1.0], confidence=95)


def test_calibration_error_by_hand():
    # bins of 0.25: (0.25, 0.5] holds 0.5 and 0.4: one right of two, mean 0.45; (0.75, 1] holds 1.0: wrong
    assert expected_calibration_error([0.5, 0.4, 1.0], [True, False, False], n_bins=4) == pytest.approx(
        2 / 3 * 0.05 + 1 / 3 * 1.0
    )
    assert expected_calibration_error([0.0, 1.0], [False, True]) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_calibration_error_with_one_bin_is_the_gap_of_the_means(answers):
    p, hit = zip(*answers, strict=True)
    gap = abs(np.mean(p) - np.mean(hit))
    assert expected_calibration_error(p, hit, n_bins=1) == pytest.approx(gap, abs=1e-12)
    assert gap - 1e-12 <= expected_calibration_error(p, hit) <= 1


def test_calibration_error_rejects_what_is_no_probability():
    with pytest.raises(ValueError, match=r"1\.5"):
        expected_calibration_error([1.5], [True])
    with pytest.raises(ValueError, match="2 confidences, 1 predictions"):
        expected_calibration_error([0.5, 0.5], [True])


def test_rouge_of_lins_example():
    # Lin 2004, section 3.1: of 4 words, "police the gunman" is a common subsequence, "the gunman" the other
    found = [
        rouge([text], ["police ended the gunman"])["rougeL"]
        for text in ("police shot the gunman", "the gunman shot police")
    ]
    assert found == pytest.approx([3 / 4, 2 / 4])


@pytest.mark.parity
def test_rouge_and_bleu_are_the_libraries_own():
    texts, targets = ["a b c d e f", "the cat is on the mat"], ["a b c d f e", "there is a cat on the mat"]
    scorer = rouge_scorer.RougeScorer(["rouge2"], use_stemmer=True)
    peer = np.mean([scorer.score(t, p)["rouge2"].fmeasure for p, t in zip(texts, targets, strict=True)])
    assert_parity(
        [rouge(texts, targets)["rouge2"]],
        [peer],
        of="llmguide.evaluation.metrics.rouge",
        against="rouge_score.rouge_scorer.RougeScorer",
        atol=1e-12,
    )
    peer = sacrebleu.BLEU().corpus_score(texts, [targets]).score
    assert_parity(
        [bleu(texts, targets)],
        [peer],
        of="llmguide.evaluation.metrics.bleu",
        against="sacrebleu.BLEU",
        atol=1e-12,
    )


def test_overlap_scores_reject_what_does_not_pair(monkeypatch):
    with pytest.raises(ValueError, match="2 predictions and 1 references"):
        bleu(["a", "b"], ["a"])
    with pytest.raises(TypeError, match="list"):
        rouge("a", "a")
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "llmguide\[evaluate\]"'):
        metrics.bleu(["a"], ["a"])
