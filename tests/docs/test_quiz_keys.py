"""Keys of the quiz derived a second time, from the numbers in the question and without the package."""

import math
import re

import pytest
from site_tools.content.quiz import chapters

QUESTIONS = {q.id: q for chapter in chapters() for q in chapter.questions}


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def kl_controller(beta, target, kl):
    return beta * (1 + 0.1 * max(-0.2, min(0.2, kl / target - 1)))


def accepted(*numbers):
    p, q = numbers[:3], numbers[3:]
    return 100 * (1 - sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2)


def residual(*numbers):
    gains = [max(0, a - b) for a, b in zip(numbers[:3], numbers[3:], strict=True)]
    return gains[0] / sum(gains)


def balance(*numbers):
    return 4 * sum(a * b for a, b in zip(numbers[:4], numbers[4:], strict=True))


def calibration(*numbers):
    bins = [numbers[:3], numbers[3:]]
    return sum(n * abs(confidence - right / 100) for n, confidence, right in bins) / (numbers[0] + numbers[3])


def traffic(devices, n, gathers):
    return gathers * 2 * n * (devices - 1) / devices


# Each formula gets the numbers of the question's text, in order, without those named in DROPPED.
KEYS = {
    "sampling-ratio": lambda gap, t: math.exp(gap) ** (1 / t),
    "sampling-min-p": lambda *n: sum(q >= n[-1] * n[0] for q in n[:-1]),
    "sampling-accept": accepted,
    "sampling-residual": residual,
    "sampling-bandwidth": lambda weights, bandwidth, batch: batch / (weights / bandwidth),
    "positions-angle": lambda E, i, m, n: (m - n) / 10 ** (8 * i / E),
    "positions-interpolation": lambda old, new, at: at * old / new,
    "positions-alibi": lambda h, d: d / 2**h,
    "positions-books": lambda words, ratio, window: words * ratio / (window / 100),
    "experts-weight": lambda a, b, *_: math.exp(a) / (math.exp(a) + math.exp(b)),
    "experts-balance": balance,
    "experts-overflow": lambda T, k, N, factor, load: load - T * k / N * factor,
    "experts-active": lambda shared, experts, k, N: 100 * (shared + experts / N * k) / (shared + experts),
    "experts-touched": lambda k, N, B: 100 * (1 - math.exp(B * math.log(1 - k / N))),
    "at-scale-matrix": lambda H, n: H * n * n * 2 / 1024**3,
    "at-scale-window": lambda w, each, n: min(w, n) * each / 1024,
    "at-scale-latent": lambda latent, rope, H, width: 2 * H * width / (latent + rope),
    "at-scale-conversations": lambda L, H, kv, width, free, n: free * 2**30 // (4 * L * kv * width * n),
    "data-minhash": lambda bands, rows, s: 100 * (1 - (1 - s**rows) ** bands),
    "data-classifier": lambda g, keep, leak: 100 / (1 + (100 - g) * leak / (g * keep)),
    "scale-overtrained": lambda N, D: math.sqrt(N * D * 1000 / 20),
    "scale-lifetime": lambda D, T: 100 / (1 + 3 * D / T),
    "scale-price": lambda C, mfu, price: C / (989e12 * mfu / 100 * 3600) * price / 1000,
    "scale-days": lambda n, N, D, mfu: 6 * N * D * 1e18 / (n * 989e12 * mfu / 100) / 86_400,
    "scale-bubble": lambda p, m: 100 * (1 - m / (m + p - 1)),
    "rl-return": lambda n, score, each, beta: score - n * each * beta,
    "rl-gae": lambda r, v1, v2, lam: (1 - lam) * (v2 - v1) + lam * (r - v1),
    "rl-adaptive": kl_controller,
    "rl-overlong": lambda margin, limit, length: (limit - margin - length) / margin,
    "rl-no-signal": lambda p, G: 100 * (p**G + (1 - p) ** G),
    "rl-leave-one-out": lambda G, first, *others: first - sum(others) / (G - 1),
    "rl-third-estimate": lambda p, q: q / p - 1 + math.log(p / q),
    "interpretability-recovered": lambda model, sae, zero: 1 - (sae - model) / (zero - model),
    "preferences-loss": lambda up, down, beta: -log_sigmoid(beta * (up + down)),
    "preferences-margin": lambda pc, pr, rc, rr, beta: beta * (pc - pr - rc + rr),
    "preferences-optimal": lambda p, gap, beta: 1 / (1 + (1 - p) / p * math.exp(-gap / beta)),
    "preferences-smoothing": lambda eps, m: eps * m - log_sigmoid(m),
    "adapters-fraction": lambda r, rows, columns: 100 * r * (1 / rows + 1 / columns),
    "adapters-quantized-size": lambda linear, rest: (linear * 4.127 + rest * 16) / 8,
    "adapters-code": lambda top, x: round(127 * x / top),
    "evaluation-interval": lambda p, n: 1.96 * math.sqrt(p * (100 - p) / n),
    "evaluation-calibration": calibration,
    "evaluation-wins": lambda total, wins, losses, ties: 50 + 50 * (wins - losses) / total,
    "retrieval-gain": lambda rank: math.log(2) / math.log(rank + 1),
    "retrieval-cosine": lambda a, b, c, d: math.cos(math.atan2(b, a) - math.atan2(d, c)),
    "projects-mixture": lambda a, b: 100 / (1 + math.sqrt(a / b)),
    "projects-replay-trade": lambda cost, saving: 100 / (1 + saving / cost),
}
# Numbers of a text that are no values of the question, such as a temperature of 0 or a unit.
DROPPED = {
    "positions-angle": r"base 10000|\$10000.*?\$|from 0",
    "positions-alibi": r"8 heads|\$.*?\$|from 1",
    "sampling-bandwidth": r"one token",
    "at-scale-matrix": r"\(.*?\)|16 bits",
    "at-scale-conversations": r"`.*?`|16 bits",
    "scale-overtrained": r"20 tokens",
    "scale-price": r"989",
    "scale-days": r"H100|989",
    "rl-gae": r"the rewards 0 and|gamma = 1",
    "rl-adaptive": r"\$.*?\$",
    "rl-overlong": r"from 0 to \$-1\$",
    "rl-no-signal": r"reward 0 or 1",
    "rl-third-estimate": r"\$.*?\$",
    "adapters-quantized-size": r"`.*?`|4\.127|16 bits",
    "adapters-code": r"8-bit|127",
    "evaluation-interval": r"95%|1\.96",
    "retrieval-gain": r"nDCG@10.*",
    "projects-mixture": r"temperature 2",
}


def numbers(name: str, text: str) -> list[float]:
    text = re.sub(DROPPED.get(name, r"(?!)"), "", re.sub(r"(?<=\d),(?=\d{3})", "", text))
    return [float(n) for n in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)]


@pytest.mark.parametrize("name", KEYS)
def test_a_second_derivation_gives_the_key(name):
    for variant in QUESTIONS[name].variants:
        expected = KEYS[name](*numbers(name, variant.text))
        assert float(variant.answer) == pytest.approx(expected, rel=max(variant.tolerance, 1e-6)), (
            variant.text
        )


@pytest.mark.parametrize("variant", QUESTIONS["scale-traffic"].variants, ids=lambda variant: variant.answer)
def test_traffic_of_data_parallelism(variant):
    devices, n, *_ = numbers("", variant.text)
    gathers = 3 if "stage 3" in variant.text else 2
    assert float(variant.answer) == pytest.approx(traffic(devices, n, gathers))


@pytest.mark.parametrize("variant", QUESTIONS["at-scale-state"].variants, ids=lambda variant: variant.answer)
def test_only_the_number_of_tokens_at_which_both_store_the_same_is_accepted(variant):
    d = int(numbers("", variant.text)[0])
    accepted = [
        n
        for n in range(1, d * d)
        if abs(n - float(variant.answer)) <= variant.tolerance * float(variant.answer)
    ]
    assert accepted == [n for n in range(1, d * d) if n * 2 * d == d * d]


def test_an_ablated_previous_token_head_leaves_a_tie():
    """The induction head attends to the best matches; what it finds there shares the largest logit."""
    ids = [3, 1, 4, 15, 9, 3]

    def predicted(before):
        matches = [token == ids[-1] for token in before]
        return {ids[i] for i in range(1, len(ids)) if matches[i] or not any(matches)}

    assert predicted([None, *ids[:-1]]) == {1}
    changes = predicted([None] * len(ids)) != {1}
    key = {
        "Its direct effect is zero.": True,  # the output head reads another subspace
        "Ablating it leaves the prediction as it is.": not changes,
        "It affects the prediction through a later layer.": changes,
        "It attends to nothing.": False,
    }
    (variant,) = QUESTIONS["interpretability-zero-direct"].variants
    assert {choice.text: choice.right for choice in variant.choices} == key
