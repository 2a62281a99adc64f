"""Answers to exercises of concepts, as a reader would write them; the tests grade each."""

from collections import Counter
from itertools import pairwise

import torch


def bpe_train(words, n_merges):
    split = {word: list(word) for word in words}
    merges = []
    while len(merges) < n_merges:
        counts = Counter()
        for word, ids in split.items():
            for pair in pairwise(ids):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        for ids in split.values():
            i = 0
            while i < len(ids) - 1:
                if (ids[i], ids[i + 1]) == best:
                    ids[i : i + 2] = [256 + len(merges)]
                i += 1
        merges.append(best)
    return merges


def bpe_encode(piece, ranks):
    parts = [bytes([byte]) for byte in piece]
    while True:
        known = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not known:
            return [ranks[part] for part in parts]
        _, i = min(known)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def temperature(logits, t):
    return logits / t


def top_p(logits, p):
    order = logits.argsort(descending=True)
    probabilities = logits.softmax(-1)[order]
    before = probabilities.cumsum(-1) - probabilities
    kept = logits.clone()
    kept[order[before >= p]] = -torch.inf
    return kept


def rope(x, theta):
    T, E = x.shape
    frequencies = theta ** (-2 * torch.arange(E // 2) / E)
    angles = torch.arange(T)[:, None] * frequencies
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1)
