"""Answers to exercises of windows and sums, as a reader would write them; the tests grade each."""

from collections import Counter


def longest_without_repeat(text):
    last, start, longest = {}, 0, 0
    for i, letter in enumerate(text):
        start = max(start, last.get(letter, -1) + 1)
        last[letter] = i
        longest = max(longest, i - start + 1)
    return longest


def count_subarrays(numbers, k):
    seen, total, found = Counter([0]), 0, 0
    for x in numbers:
        total += x
        found += seen[total - k]
        seen[total] += 1
    return found
