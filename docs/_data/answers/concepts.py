"""Answers to exercises of concepts, as a reader would write them; the tests grade each."""

from collections import Counter
from itertools import pairwise
from math import inf, pi

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


def wordpiece(word, vocabulary):
    tokens, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            token = word[start:end] if start == 0 else "##" + word[start:end]
            if token in vocabulary:
                break
        else:
            return ["[UNK]"]
        tokens.append(token)
        start = end
    return tokens


def unigram(word, logprobs):
    best = [(0.0, [])]  # of each prefix: the largest total, and the tokens that reach it
    for end in range(1, len(word) + 1):
        found = (-inf, None)
        for start in range(end):
            total, tokens = best[start]
            token = word[start:end]
            if tokens is not None and token in logprobs and total + logprobs[token] > found[0]:
                found = (total + logprobs[token], [*tokens, token])
        best.append(found)
    return best[-1][1]


def beam_search(next_logprobs, n_beams, max_tokens, alpha):
    beams, finished = [(0.0, ())], []
    for step in range(1, max_tokens + 1):
        longer = [
            (total + logprob, (*text, token))
            for total, text in beams
            for token, logprob in next_logprobs(text).items()
        ]
        longer.sort(reverse=True)
        for total, text in longer[:n_beams]:
            if text[-1] == "." or step == max_tokens:
                finished.append((total / step**alpha, text))
        beams = [(total, text) for total, text in longer if text[-1] != "."][:n_beams]
    return list(max(finished)[1])


def speculative(drafted, q, p, uniforms):
    def sample(probabilities):
        return int((probabilities.cumsum(-1) <= uniforms[-1]).sum())

    for i, token in enumerate(drafted):
        if uniforms[i] >= min(1.0, float(p[i, token] / q[i, token])):
            rest = (p[i] - q[i]).clamp(min=0)
            return [*drafted[:i], sample(rest / rest.sum())]
    return [*drafted, sample(p[-1])]


def rope_frequencies(E, theta, factor, original):
    frequencies = theta ** -(torch.arange(0, E, 2) / E)
    turns = original * frequencies / (2 * pi)
    kept = ((turns - 1) / 3).clamp(0, 1)
    return kept * frequencies + (1 - kept) * frequencies / factor


def alibi(n_heads, T_q, T_k):
    ratio = 2 ** (-8 / n_heads)
    slopes = ratio ** torch.arange(1, n_heads + 1)
    queries = torch.arange(T_k - T_q, T_k)
    distance = queries[:, None] - torch.arange(T_k)
    bias = -slopes[:, None, None] * distance
    return bias.masked_fill(distance < 0, -torch.inf)
