"""Answers to exercises of the introduction, as a reader would write them; the tests grade each."""

from math import exp, log, log2


def follows(text, context, letter):
    n = len(context)
    after = [text[i + n] for i in range(len(text) - n) if text[i : i + n] == context]
    return after.count(letter) / len(after)


def smooth(count, total, pseudocount, n_letters):
    return (count + pseudocount) / (total + pseudocount * n_letters)


def bits(probabilities):
    return -sum(log2(p) for p in probabilities) / len(probabilities)


def times_more(exponent, fraction):
    return (1 - fraction) ** (-1 / exponent)


def perplexity(score, tokens, context, stride):
    logprobs = []
    end, counted = min(context, len(tokens)), 1
    while True:
        window = tokens[max(0, end - context) : end]
        logprobs += score(window)[-(end - counted) :]
        if end == len(tokens):
            return exp(-sum(logprobs) / len(logprobs))
        end, counted = min(end + stride, len(tokens)), end


def predict_loss(sizes, losses, floor, size):
    x = [log(size) for size in sizes]
    y = [log(loss - floor) for loss in losses]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    slope = covariance / sum((a - mean_x) ** 2 for a in x)
    return floor + exp(mean_y + slope * (log(size) - mean_x))
