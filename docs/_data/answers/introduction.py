"""Answers to exercises of the introduction, as a reader would write them; the tests grade each."""

from math import log2


def follows(text, context, letter):
    n = len(context)
    after = [text[i + n] for i in range(len(text) - n) if text[i : i + n] == context]
    return after.count(letter) / len(after)


def smooth(count, total, share, n_letters):
    return (count + share) / (total + share * n_letters)


def bits(probabilities):
    return -sum(log2(p) for p in probabilities) / len(probabilities)


def times_more(exponent, share):
    return (1 - share) ** (-1 / exponent)
