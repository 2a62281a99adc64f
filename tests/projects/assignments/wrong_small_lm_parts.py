"""Wrong versions of the parts of the small language model, written as learners write them."""

from collections import Counter
from itertools import pairwise
from math import exp, log

import torch
from torch.nn.functional import cross_entropy

from llmguide.tokenization.bpe import merge_piece


def merged(ids, pair, new):
    result = []
    for token in ids:
        if result and (result[-1], token) == pair:
            result[-1] = new
        else:
            result.append(token)
    return result


def trained_on(count, first=256):
    """Train BPE with a function that counts pairs in a list of words and their counts."""

    def train(words, n_merges):
        split = [([*word], n) for word, n in words.items()]
        merges = []
        while len(merges) < n_merges and (counts := count(split)):
            best = min(counts, key=lambda pair: (-counts[pair], pair))
            split = [(merged(ids, best, first + len(merges)), n) for ids, n in split]
            merges.append(best)
        return merges

    return train


def counted(split):
    counts = Counter()
    for ids, n in split:
        for pair in pairwise(ids):
            counts[pair] += n
    return counts


def counted_in_one_list(split):
    return Counter(pairwise([token for ids, n in split for _ in range(n) for token in ids]))


def counted_without_overlap(split):
    counts = Counter()
    for ids, n in split:
        i = 0
        while i + 1 < len(ids):
            pair = ids[i], ids[i + 1]
            counts[pair] += n
            i += 2 if ids[i + 1 : i + 3] == [ids[i]] * 2 else 1
    return counts


def first_of_ties(words, n_merges):
    split = [([*word], n) for word, n in words.items()]
    merges = []
    for i in range(n_merges):
        if not (common := counted(split).most_common(1)):
            break
        merges.append(common[0][0])
        split = [(merged(ids, merges[-1], 256 + i), n) for ids, n in split]
    return merges


def with_byte_values(piece, ranks):
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while pairs := [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
        i = min(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [part[0] if len(part) == 1 else ranks[part] for part in parts]


def chosen_by(score):
    return lambda logprobs, n_bytes: max(range(len(logprobs)), key=lambda i: score(logprobs[i], n_bytes[i]))


def adamw(param, grad, m, v, step, *, decay=0.1, m_by=1.0, v_by=1.0, power=0.5, sign=1):
    m, v = 0.9 * m + 0.1 * grad, 0.95 * v + 0.05 * grad**2
    m_hat, v_hat = m / (1 - m_by * 0.9**step), v / (1 - v_by * 0.95**step)
    return param - 0.1 * decay * param - sign * 0.1 * m_hat / (v_hat**power + 1e-3), m, v


def variant(**changes):
    return lambda *arguments: adamw(*arguments, **changes)


def clipped_by(norm):
    return lambda gradients, max_norm: [g * min(1, max_norm / norm(gradients)) for g in gradients]


def flat_loss(logits, ids, **options):
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), ids.reshape(-1), **options)


def law(c1, loss1, c2, loss2):
    b = -log(loss2 / loss1) / log(c2 / c1)
    return loss2 * c2**b, b


def rising_law(c1, loss1, c2, loss2, c):
    a, b = law(c1, loss1, c2, loss2)
    return a * c**b


def law_of_wrong_sign(c1, loss1, c2, loss2, c):
    b = log(loss2 / loss1) / log(c2 / c1)
    return loss1 / c1**-b * c**-b


WRONG_SMALL_LM = [
    ("bpe-train", "pairs across words", trained_on(counted_in_one_list)),
    ("bpe-train", "overlapping pairs counted once", trained_on(counted_without_overlap)),
    ("bpe-train", "new ids from 257", trained_on(counted, first=257)),
    ("bpe-train", "the first of equal pairs", first_of_ties),
    ("bpe-encode", "byte values for ids", with_byte_values),
    ("bpe-encode", "nothing merged", lambda piece, ranks: [ranks[bytes([byte])] for byte in piece]),
    ("bpe-encode", "Tensor for list", lambda piece, ranks: torch.tensor(merge_piece(piece, ranks))),
    (
        "rank-batch",
        "every world-th example",
        lambda order, step, size, rank, world: order[step * size * world : (step + 1) * size * world][
            rank::world
        ],
    ),
    (
        "choose-continuation",
        "Tensor for int",
        lambda logprobs, n: (torch.tensor(logprobs) / torch.tensor(n)).argmax(),
    ),
    ("choose-continuation", "multiplied by the length", chosen_by(lambda logprob, n: logprob * n)),
    ("choose-continuation", "shortest", chosen_by(lambda logprob, n: -n)),
    ("choose-continuation", "probability per byte", chosen_by(lambda logprob, n: exp(logprob) / n)),
    ("choose-continuation", "not normalized", chosen_by(lambda logprob, n: exp(logprob))),
    (
        "chinchilla",
        "tokens and parameters swapped",
        lambda flops: (20 * (flops / 120) ** 0.5, (flops / 120) ** 0.5),
    ),
    ("chinchilla", "root forgotten", lambda flops: (flops / 120, 20 * flops / 120)),
    ("adamw", "no weight decay", variant(decay=0)),
    ("adamw", "only m corrected", variant(v_by=0)),
    ("adamw", "only v corrected", variant(m_by=0)),
    ("adamw", "bias correction forgotten", variant(m_by=0, v_by=0)),
    ("adamw", "no root", variant(power=1)),
    ("adamw", "step in the wrong direction", variant(sign=-1)),
    ("adamw", "weights grow; step in the wrong direction", variant(decay=-0.1, sign=-1)),
    (
        "clip-norm",
        "root forgotten",
        clipped_by(lambda gradients: sum(float((g**2).sum()) for g in gradients)),
    ),
    ("clip-norm", "largest norm", clipped_by(lambda gradients: max(float(g.norm()) for g in gradients))),
    ("next-token-loss", "sign", lambda logits, ids: -flat_loss(logits[:, :-1], ids[:, 1:])),
    (
        "next-token-loss",
        "divided by all tokens",
        lambda logits, ids: flat_loss(logits[:, :-1], ids[:, 1:], reduction="sum") / ids.numel(),
    ),
    (
        "next-token-loss",
        "rows joined before the shift",
        lambda logits, ids: cross_entropy(logits.reshape(-1, logits.shape[-1])[:-1], ids.reshape(-1)[1:]),
    ),
    ("next-token-loss", "ids rolled", lambda logits, ids: flat_loss(logits, torch.roll(ids, -1, 1))),
    (
        "next-token-loss",
        "cut off from the gradient",
        lambda logits, ids: flat_loss(logits[:, :-1], ids[:, 1:]).item(),
    ),
    ("extrapolate-loss", "sign in the last step", rising_law),
    ("extrapolate-loss", "sign of the exponent, first run", law_of_wrong_sign),
]
