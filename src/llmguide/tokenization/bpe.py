r"""Byte-pair encoding: learn merges from word counts, and apply them to a pre-token.

Start from bytes. Count every pair of neighboring tokens, merge the most frequent pair into a new token,
repeat: the merges in order are the tokenizer. To encode a pre-token, repeatedly merge the pair that was
learned first.

References:
    [1] Gage 1994, "A New Algorithm for Data Compression", C Users Journal 12(2).
    [2] Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword Units",
        arXiv:1508.07909, algorithm 1.

Glossary:

- word: a piece of the split pattern, as bytes; training sees each distinct word once, with its count
- id: an integer; ids 0 to 255 are the bytes, id 256 + k is the result of merge k
- pair: two neighboring ids
- rank: the id of a token seen as its priority; the smaller, the earlier it was learned

`learn_merges_simple` and `merge_piece_simple` are the algorithm as published; `learn_merges` and
`merge_piece` give the same results without recounting.

Leaves out: an end-of-word symbol ([2] marks it; GPT-2 marks the start of a word by its space instead).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from sys import maxsize

__all__ = [
    "Pair",
    "learn_merges",
    "learn_merges_simple",
    "merge_pair",
    "merge_piece",
    "merge_piece_simple",
    "pair_counts",
    "ranks_from_merges",
]

Pair = tuple[int, int]


def pair_counts(words: Mapping[tuple[int, ...], int]) -> Counter[Pair]:
    """Count neighboring pairs of ids over all words, each word weighted by its own count.

    >>> pair_counts({(97, 97, 98): 2, (97, 98): 1})     # aab twice, ab once
    Counter({(97, 98): 3, (97, 97): 2})
    """
    counts: Counter[Pair] = Counter()
    for ids, n in words.items():
        for pair in pairwise(ids):
            counts[pair] += n
    return counts


def merge_pair(ids: Sequence[int], pair: Pair, new_id: int) -> tuple[int, ...]:
    """Replace every occurrence of ``pair`` by ``new_id``, from left to right.

    >>> merge_pair((97, 97, 97, 98, 97, 97), (97, 97), 256)    # aaabaa -> ZabZ
    (256, 97, 98, 256)
    """
    merged = []
    i = 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)


def learn_merges_simple(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    """Learn merges by algorithm 1 of Sennrich et al.: recount all pairs before each merge.

    Args:
        words: Count of each distinct word.
        n_merges: Number of merges to learn; fewer are returned when no pair is left.

    Returns:
        The merged pairs in order. Of equally frequent pairs the smaller one is merged first, as in rustbpe.

    >>> learn_merges_simple({b"aaabdaaabac": 1}, 3)      # Z = aa, Y = ab, X = ZY
    [(97, 97), (97, 98), (256, 257)]
    """
    split = {tuple(word): n for word, n in words.items()}
    merges: list[Pair] = []
    while len(merges) < n_merges and (counts := pair_counts(split)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        split = {merge_pair(ids, best, 256 + len(merges)): n for ids, n in split.items()}
        merges.append(best)
    return merges


def learn_merges(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    """Learn the merges of `learn_merges_simple`, visiting only the words that contain the merged pair.

    Three ideas replace the recount. A word is a string whose characters are its ids, so that merging is
    ``str.replace``. ``where`` lists the words that hold a pair, once for each occurrence; it may list too
    many, never too few. A heap finds the most frequent pair: counts of old pairs only fall, so an outdated
    entry is too large, is popped too early, and is pushed back with its true count.

    A merge takes time in proportion to the length of the words that contain its pair. Memory grows with the
    length of the distinct words, not with the length of the text.

    Args:
        words: Count of each distinct word.
        n_merges: Number of merges to learn; fewer are returned when no pair is left.

    Returns:
        The merged pairs in order; ties go to the smaller pair.

    >>> learn_merges({b"aaabdaaabac": 1}, 3)
    [(97, 97), (97, 98), (256, 257)]
    """
    split = [word.decode("latin-1") for word in words]
    frequency = list(words.values())
    counts: defaultdict[str, int] = defaultdict(int)
    where: defaultdict[str, list[int]] = defaultdict(list)
    for i, word in enumerate(split):
        for a, b in pairwise(word):
            counts[a + b] += frequency[i]
            where[a + b].append(i)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapify(heap)

    merges: list[Pair] = []
    while heap and len(merges) < n_merges:
        claimed, pair = heappop(heap)
        if counts[pair] != -claimed:
            if counts[pair] > 0:
                heappush(heap, (-counts[pair], pair))
            continue
        a, b = pair[0], pair[1]
        new = chr(256 + len(merges))
        merges.append((ord(a), ord(b)))
        fresh: defaultdict[str, int] = defaultdict(int)
        for i in dict.fromkeys(where.pop(pair)):  # each word once
            if pair not in split[i]:
                continue
            word = split[i] = split[i].replace(pair, new)
            n = frequency[i]
            at = word.find(new)
            while at >= 0:
                if at:
                    left = word[at - 1]
                    counts[b + a if left == new else left + a] -= n
                    fresh[left + new] += n
                    where[left + new].append(i)
                if at + 1 < len(word) and (right := word[at + 1]) != new:
                    counts[b + right] -= n
                    fresh[new + right] += n
                    where[new + right].append(i)
                at = word.find(new, at + 1)
        del counts[pair]
        counts.update(fresh)
        for created, n in fresh.items():
            heappush(heap, (-n, created))
    return merges


def ranks_from_merges(merges: Sequence[Pair]) -> dict[bytes, int]:
    """Return the id (rank) of every token by its bytes: the 256 bytes, then one token per merge.

    >>> list(ranks_from_merges([(97, 97), (256, 98)]).items())[-2:]
    [(b'aa', 256), (b'aab', 257)]
    """
    tokens = [bytes([b]) for b in range(256)]
    for a, b in merges:
        tokens.append(tokens[a] + tokens[b])
    return {token: i for i, token in enumerate(tokens)}


def merge_piece_simple(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """Encode one pre-token: repeatedly merge the leftmost pair whose merged token has the lowest rank.

    Quadratic in the length of the piece.

    Args:
        piece: Bytes of one piece of the split pattern.
        ranks: Id of each token; holds every single byte.

    >>> merge_piece_simple(b"aaab", ranks_from_merges([(97, 97), (97, 98)]))    # aa|ab: aa comes before ab
    [256, 257]
    """
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while len(parts) > 1:
        joint = [ranks.get(a + b, maxsize) for a, b in pairwise(parts)]
        lowest = min(joint)
        if lowest == maxsize:  # no pair forms a token
            break
        i = joint.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [ranks[part] for part in parts]


def merge_piece(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """Encode one piece like `merge_piece_simple`, in O(n log n): faster from about 8 bytes on.

    Parts form a linked list: part ``i`` is ``piece[i : after[i]]``. The heap holds joint tokens by rank, then
    position; an entry is out of date when one of its two parts has changed.

    >>> merge_piece(b"aaab", ranks_from_merges([(97, 97), (97, 98)]))
    [256, 257]
    """
    end = len(piece)
    after = list(range(1, end + 1))
    before = list(range(-1, end - 1))
    pairs = ((piece[i : i + 2], i) for i in range(end - 1))
    heap = [(ranks[pair], i, i + 1, i + 2) for pair, i in pairs if pair in ranks]
    heapify(heap)
    while heap:
        _, start, middle, stop = heappop(heap)
        if after[start] != middle or after[middle] != stop:
            continue
        after[start] = stop
        after[middle] = -1  # no longer the start of a part
        if stop < end:
            before[stop] = start
        for left in (before[start], start):
            if left >= 0 and (middle := after[left]) < end:
                joint = piece[left : after[middle]]
                if joint in ranks:
                    heappush(heap, (ranks[joint], left, middle, after[middle]))
    ids = []
    start = 0
    while start < end:
        ids.append(ranks[piece[start : after[start]]])
        start = after[start]
    return ids
