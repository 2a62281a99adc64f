"""Exercises of byte pair encoding: learn merges, apply them."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from sys import maxsize

from llmguide.exercises.definition import Arguments, Exercise, Mistake
from llmguide.tokenization.bpe import (
    Pair,
    learn_merges_simple,
    merge_pair,
    merge_piece_simple,
    pair_counts,
    ranks_from_merges,
)


def _train_words_once(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    return learn_merges_simple(dict.fromkeys(words, 1), n_merges)


def _train_without_recount(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    counts = pair_counts({tuple(word): n for word, n in words.items()})
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:n_merges]


def _train(
    words: Mapping[bytes, int],
    n_merges: int,
    *,
    best: Callable[[Mapping[Pair, int]], Pair] = lambda counts: min(counts, key=lambda p: (-counts[p], p)),
    count: Callable[[Mapping[tuple[int, ...], int]], Mapping[Pair, int]] = pair_counts,
    first_id: int = 256,
) -> list[Pair]:
    """Learn merges, with switches for the mistakes."""
    split = {tuple(word): n for word, n in words.items()}
    merges: list[Pair] = []
    while len(merges) < n_merges and (counts := count(split)):
        pair = best(counts)
        split = {merge_pair(ids, pair, first_id + len(merges)): n for ids, n in split.items()}
        merges.append(pair)
    return merges


def _count_across(words: Mapping[tuple[int, ...], int]) -> Counter[Pair]:
    """Count pairs in all words one after another, so that the end of a word pairs with the next start."""
    return Counter(pairwise([token for ids, n in words.items() for token in ids * n]))


def _count_apart(words: Mapping[tuple[int, ...], int]) -> Counter[Pair]:
    """Count occurrences of a pair that do not overlap."""
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for pair in dict.fromkeys(pairwise(ids)):
            counts[pair] += n * merge_pair(ids, pair, -1).count(-1)
    return counts


def _train_probes() -> list[Arguments]:
    return [
        ({b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}, 6),
        ({b"aaabdaaabac": 1}, 3),
        ({b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5}, 4),
        ({b"ab": 9, b"cd": 3}, 4),  # after two merges there is no pair left
        ({b"aaa": 3, b"bc": 5, b"ca": 5}, 2),
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


def _encode_from_the_right(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while joint := [(ranks[a + b], -i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
        i = -min(joint)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [ranks[part] for part in parts]


def _encode_longest(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    ids = []
    while piece:
        length = next(n for n in range(len(piece), 0, -1) if piece[:n] in ranks)
        ids.append(ranks[piece[:length]])
        piece = piece[length:]
    return ids


def _encode_with_byte_values(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    tokens = {token_id: token for token, token_id in ranks.items()}
    ids = merge_piece_simple(piece, ranks)
    return [i if len(tokens[i]) > 1 else tokens[i][0] for i in ids]


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
    return [
        *((piece, ranks_from_merges(merges)) for piece in (b"lowest", b"newer", b"o")),
        *((piece, few) for piece in (b"abc", b"bcd", b"abce")),
        (b"aaab", ranks_from_merges([(97, 97)])),
        (b"cab", {**{bytes([i]): 255 - i for i in range(256)}, b"ab": 256}),
        (b"", few),
    ]


EXERCISES = (
    Exercise(
        "bpe-train",
        "bpe_train(words, n_merges) learns merges. `words` maps byte strings to counts; ids below 256 are "
        "bytes, merge i, counted from 0, gets id 256 + i. Return the list of merged pairs; stop early when "
        "no pair is left. Pairs are counted within words, and overlapping ones count: aaa has the pair aa "
        "twice. Break ties in favor of the smaller pair.",
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
                partial(_train, best=lambda counts: max(counts, key=lambda pair: (counts[pair], pair))),
            ),
            Mistake(
                "the first of equal pairs",
                "of equally frequent pairs the one that was counted first is merged first",
                "max by the count alone and Counter.most_common take the first; take min by (-count, pair).",
                partial(_train, best=lambda counts: max(counts, key=lambda pair: counts[pair])),
            ),
            Mistake(
                "pairs across words",
                "the last id of a word and the first id of the next word are counted as a pair",
                "Merges never cross the border of a word. Count each word by itself.",
                partial(_train, count=_count_across),
            ),
            Mistake(
                "overlapping pairs counted once",
                "occurrences of a pair that overlap are counted once",
                "Count every two neighbors, as zip(ids, ids[1:]) gives them.",
                partial(_train, count=_count_apart),
            ),
            Mistake(
                "new ids from 257",
                "the first merge gets id 257",
                "Merge i is counted from 0: the first new id is 256.",
                partial(_train, first_id=257),
            ),
        ),
        (
            "Keep each word as a tuple of ids.",
            "One loop: count the pairs, take the best, replace it in every word.",
            "The pair counts of a word are multiplied by the count of the word. Rebuild each word from "
            "left to right: where the pair occurs, append the new id and skip two entries.",
        ),
        level="medium",
        minutes=20,
    ),
    Exercise(
        "bpe-encode",
        "bpe_encode(piece, ranks) splits the bytes `piece` into tokens and returns the list of their ids, "
        "which is empty if `piece` is. `ranks` maps the bytes of each token to its id; a lower id was "
        "learned earlier, and every single byte is a token. If a pair occurs more than once, its occurrences "
        "are merged from left to right.",
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
            Mistake(
                "occurrences from right to left",
                "of several occurrences of a pair the rightmost is merged first",
                "In aaab, the first two letters make the token aa.",
                _encode_from_the_right,
            ),
            Mistake(
                "byte values for ids",
                "the id of a token of one byte is the value of the byte",
                "Look up single bytes in `ranks`, too. Some tokenizers number them in another order.",
                _encode_with_byte_values,
            ),
            Mistake(
                "nothing merged",
                "every byte is a token",
                "Merge the neighbors whose joint bytes are in `ranks`.",
                lambda piece, ranks: [ranks[piece[i : i + 1]] for i in range(len(piece))],
            ),
        ),
        (
            "Start with single bytes.",
            "Of all neighboring pairs, find the one whose joint bytes have the lowest rank.",
            "Join this pair, and search again. Stop when no neighboring pair is in `ranks`; then look up "
            "the id of each part.",
        ),
        level="medium",
        minutes=15,
    ),
)
