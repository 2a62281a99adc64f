"""Answers to exercises of how LLMs write code, as a reader would write them; the tests grade each."""

from math import comb


def fill_in_the_middle(text, start, end):
    return ["<PRE>", text[:start], "<SUF>", text[end:], "<MID>", text[start:end]]


def pass_at_k(n, c, k):
    return 1 - comb(n - c, k) / comb(n, k)


def same_output(printed, expected):
    def lines(text):
        return [line.rstrip() for line in text.rstrip().splitlines()]

    return lines(printed) == lines(expected)


def second_largest(numbers):
    below = [x for x in numbers if x < max(numbers)]
    return max(below, default=None)
