"""Answers to exercises of training data and scale, as a reader would write them; the tests grade each."""

from math import exp, sqrt


def similarity(a, b, n):
    grams = [{tuple(words[i : i + n]) for i in range(len(words) - n + 1)} for words in (a, b)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def match_probability(s, bands, rows):
    return 1 - (1 - s**rows) ** bands


def positions(documents):
    found = []
    for i, number in enumerate(documents):
        follows = i > 0 and documents[i - 1] == number
        found.append(found[-1] + 1 if follows else 0)
    return found


def chinchilla(flops):
    N = sqrt(flops / (6 * 20))
    return N, 20 * N


def worth(unique, epochs):
    repetitions = epochs - 1
    return unique + unique * 15.39 * (1 - exp(-repetitions / 15.39))


def mfu(n_params, n_tokens, hours, peak):
    return 6 * n_params * n_tokens / (hours * 3600 * peak)
