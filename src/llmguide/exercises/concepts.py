"""Exercises of the chapter on essential concepts: tokens, sampling, positions."""

from collections.abc import Mapping
from itertools import pairwise
from sys import maxsize

import torch
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
from llmguide.generation.sampling import temperature, top_p
from llmguide.nn.positions import apply_rope, rope_tables
from llmguide.tokenization.bpe import (
    Pair,
    learn_merges_simple,
    merge_pair,
    merge_piece_simple,
    pair_counts,
    ranks_from_merges,
)

# ---- byte pair encoding ----------------------------------------------------------------------------


def _train_words_once(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    return learn_merges_simple(dict.fromkeys(words, 1), n_merges)


def _train_without_recount(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    counts = pair_counts({tuple(word): n for word, n in words.items()})
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:n_merges]


def _train_larger_of_ties(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    split = {tuple(word): n for word, n in words.items()}
    merges: list[Pair] = []
    while len(merges) < n_merges and (counts := pair_counts(split)):
        best = max(counts, key=lambda pair: (counts[pair], pair))
        split = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in split.items()}
        merges.append(best)
    return merges


def _train_probes() -> list[Arguments]:
    return [
        ({b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}, 6),
        ({b"aaabdaaabac": 1}, 3),
        ({b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5}, 4),
    ]


def _encode_by(piece: bytes, ranks: Mapping[bytes, int], *, leftmost: bool) -> list[int]:
    """Merge the leftmost pair that can be, or the one that was learned last, instead of first."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        joint = [ranks.get(a + b, -1) for a, b in pairwise(parts)]
        possible = [i for i, rank in enumerate(joint) if rank >= 0]
        if not possible:
            return [ranks[part] for part in parts]
        i = possible[0] if leftmost else max(possible, key=lambda i: joint[i])
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def _encode_longest(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    ids = []
    while piece:
        length = next(n for n in range(len(piece), 0, -1) if piece[:n] in ranks)
        ids.append(ranks[piece[:length]])
        piece = piece[length:]
    return ids


def _encode_one_pass(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    parts = [piece[i : i + 1] for i in range(len(piece))]
    joint = [ranks.get(a + b, maxsize) for a, b in pairwise(parts)]
    if joint and min(joint) < maxsize:
        i = joint.index(min(joint))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [ranks[part] for part in parts]


def _encode_probes() -> list[Arguments]:
    merges = learn_merges_simple({b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}, 6)
    few = ranks_from_merges([(98, 99), (97, 98), (99, 100), (256, 101), (97, 259)])  # bc, ab, cd, bce, abce
    return [(piece, ranks_from_merges(merges)) for piece in (b"lowest", b"newer", b"o")] + [
        (piece, few) for piece in (b"abc", b"bcd", b"abce")
    ]


# ---- sampling --------------------------------------------------------------------------------------


def _nucleus(
    logits: Tensor, p: float, *, crossing: bool = True, ordered: bool = True, undo: bool = True
) -> Tensor:
    """Keep the nucleus, with switches for the mistakes."""
    order = logits.argsort(descending=True) if ordered else torch.arange(len(logits))
    probabilities = logits.softmax(-1)[order]
    total = probabilities.cumsum(-1)
    kept = total - probabilities < p if crossing else total <= p
    result = logits[order].masked_fill(~kept, -torch.inf)
    return result[order.argsort()] if undo else result


def _nucleus_with_zeros(logits: Tensor, p: float) -> Tensor:
    kept = top_p(logits, p)
    return kept.masked_fill(kept == -torch.inf, 0.0)


def _sampling_probes() -> list[Arguments]:
    peaked = torch.tensor([0.1, 4.0, 0.3, 0.2])  # the first alone exceeds p
    flat = torch.tensor([0.15, 0.5, 0.05, 0.3]).log()
    return [(flat, 0.7), (flat, 0.9), (peaked, 0.8), (noise(0, 12), 0.6)]


# ---- RoPE ------------------------------------------------------------------------------------------


def _rotate(
    x: Tensor, theta: float, *, first: int = 0, turn: int = 1, exponent: float = 2.0, layout: str = "half"
) -> Tensor:
    """Rotate pairs, with switches for the mistakes."""
    T, E = x.shape
    angles = torch.arange(first, first + T)[:, None] * theta ** (-exponent * torch.arange(E // 2) / E)
    return apply_rope(
        x, angles.cos(), turn * angles.sin(), layout="interleaved" if layout != "half" else "half"
    )


def _rope(x: Tensor, theta: float) -> Tensor:
    return apply_rope(x, *rope_tables(len(x), x.shape[-1], theta))


EXERCISES = (
    Exercise(
        "bpe-train",
        "bpe_train(words, n_merges) learns merges. `words` maps byte strings to counts; ids below 256 are "
        "bytes, merge i gets id 256 + i. Return the list of merged pairs. Break ties in favor of the smaller "
        "pair.",
        learn_merges_simple,
        _train_probes,
        (
            Mistake(
                "counts of words ignored",
                "every word counts once, however often it occurs",
                "A pair inside a word that occurs 6 times counts 6 times.",
                _train_words_once,
            ),
            Mistake(
                "pairs not recounted",
                "the pairs are counted once, before the first merge",
                "After a merge there are new neighbors. Count again before each merge.",
                _train_without_recount,
            ),
            Mistake(
                "the larger of equal pairs",
                "the larger of equally frequent pairs is merged first",
                "max by (count, pair) takes the larger pair; take min by (-count, pair).",
                _train_larger_of_ties,
            ),
        ),
        (
            "Keep each word as a tuple of ids.",
            "One loop: count the pairs, take the best, replace it in every word.",
        ),
    ),
    Exercise(
        "bpe-encode",
        "bpe_encode(piece, ranks) splits the bytes `piece` into tokens and returns their ids. `ranks` maps "
        "the bytes of "
        "each token to its id; a lower id was learned earlier, and every single byte is a token.",
        merge_piece_simple,
        _encode_probes,
        (
            Mistake(
                "merges from left to right",
                "the leftmost pair that forms a token is merged, whatever its rank",
                "Merges have an order: the one that was learned first is applied first, wherever it occurs.",
                lambda piece, ranks: _encode_by(piece, ranks, leftmost=True),
            ),
            Mistake(
                "merges in the wrong order",
                "the merge that was learned last is applied first",
                "A low rank means learned early. Take the lowest.",
                lambda piece, ranks: _encode_by(piece, ranks, leftmost=False),
            ),
            Mistake(
                "longest token instead of merges",
                "the longest token at the start is taken, then the next (this is how WordPiece encodes)",
                "BPE never looks for long tokens. It starts from bytes and merges.",
                _encode_longest,
            ),
            Mistake(
                "stops after one merge",
                "only one merge is applied",
                "Look at the neighbors again after each merge, until none of them form a token.",
                _encode_one_pass,
            ),
        ),
        (
            "Start with single bytes.",
            "Of all neighboring pairs, find the one whose joint bytes have the lowest rank.",
        ),
    ),
    Exercise(
        "temperature",
        "temperature(logits, t) returns the logits at temperature t > 0.",
        temperature,
        lambda: [(torch.tensor([2.0, 1.0, 0.0]), 0.5), (noise(1, 2, 5), 1.7), (noise(2, 4), 1.0)],
        (
            Mistake(
                "multiplied instead of divided",
                "the logits are multiplied by the temperature",
                "With t = 0.5 the difference between two logits must double.",
                lambda logits, t: logits * t,
            ),
            Mistake(
                "applied to probabilities",
                "the probabilities are divided by the temperature",
                "The temperature acts before the softmax.",
                lambda logits, t: logits.softmax(-1) / t,
            ),
            Mistake(
                "probabilities instead of logits",
                "a softmax is applied to the result",
                "Return logits, so that other filters can follow.",
                lambda logits, t: (logits / t).softmax(-1),
            ),
        ),
        (
            "Small temperatures make the largest logit win by more. What does that do to the differences?",
            "Divide.",
        ),
    ),
    Exercise(
        "top-p",
        "top_p(logits, p) for a vector of logits: keep the smallest set of most likely tokens whose "
        "probabilities reach p, and set the logits of the others to minus infinity.",
        top_p,
        _sampling_probes,
        (
            Mistake(
                "drops the token that crosses p",
                "the token whose probability takes the sum past p is dropped",
                "Ask for each token whether the sum *before* it is still below p.",
                lambda logits, p: _nucleus(logits, p, crossing=False),
            ),
            Mistake(
                "not sorted",
                "the probabilities are summed in the order of the vocabulary",
                "The nucleus holds the most likely tokens: sort first.",
                lambda logits, p: _nucleus(logits, p, ordered=False),
            ),
            Mistake(
                "order not restored",
                "the logits come back sorted",
                "Position i of the result belongs to token i. Scatter back what you have sorted.",
                lambda logits, p: _nucleus(logits, p, undo=False),
            ),
            Mistake(
                "zeros instead of minus infinity",
                "the logits of dropped tokens are set to 0",
                "A logit of 0 has the probability e^0 over the sum. Only minus infinity gives 0.",
                _nucleus_with_zeros,
            ),
        ),
        ("Sort, softmax, cumsum.", "Keep a token if the sum of those before it is below p."),
    ),
    Exercise(
        "rope",
        "rope(x, theta) rotates the queries or keys x of shape (T, E) at positions 0 to T - 1. Pair i is "
        "made of the components i and i + E/2 and turns by position times theta ** (-2 i / E).",
        _rope,
        lambda: [(noise(3, 5, 8), 10_000.0), (noise(4, 3, 4), 100.0)],
        (
            Mistake(
                "interleaved layout",
                "neighboring components 2i and 2i + 1 form the pairs",
                "x.chunk(2, dim=-1) gives the two halves; x[..., 0::2] gives the other layout.",
                lambda x, theta: _rotate(x, theta, layout="interleaved"),
            ),
            Mistake(
                "rotates backwards",
                "the sine has the wrong sign",
                "(a, b) becomes (a cos - b sin, a sin + b cos).",
                lambda x, theta: _rotate(x, theta, turn=-1),
            ),
            Mistake(
                "positions from 1",
                "the first token is at position 1",
                "At position 0 nothing rotates. Scores hide it; a cache from another program does not.",
                lambda x, theta: _rotate(x, theta, first=1),
            ),
            Mistake(
                "frequencies too close",
                "the exponent is -i / E instead of -2i / E",
                "The slowest pair has nearly theta ** -1. There are E/2 pairs.",
                lambda x, theta: _rotate(x, theta, exponent=1.0),
            ),
        ),
        (
            "Angles: an outer product of positions and frequencies, shape (T, E/2).",
            "a, b = x.chunk(2, dim=-1).",
        ),
    ),
)
