"""Answers to exercises of algorithms, as a reader would write them; the tests grade each."""

from collections import Counter
from math import inf


def second_largest(numbers):
    below = [x for x in numbers if x < max(numbers)]
    return max(below, default=None)


def first_true(low, high, test):
    while low < high:
        middle = (low + high) // 2
        if test(middle):
            high = middle
        else:
            low = middle + 1
    return low


def longest_without_repeat(text):
    last, start, longest = {}, 0, 0
    for i, letter in enumerate(text):
        start = max(start, last.get(letter, -1) + 1)
        last[letter] = i
        longest = max(longest, i - start + 1)
    return longest


def coin_change(coins, amount):
    least = [0] + [inf] * amount
    for total in range(1, amount + 1):
        least[total] = min((least[total - coin] + 1 for coin in coins if coin <= total), default=inf)
    return None if least[amount] == inf else least[amount]


def count_subarrays(numbers, k):
    seen, total, found = Counter([0]), 0, 0
    for x in numbers:
        total += x
        found += seen[total - k]
        seen[total] += 1
    return found


def is_search_tree(tree, low=-inf, high=inf):
    if tree is None:
        return True
    left, item, right = tree
    return low < item < high and is_search_tree(left, low, item) and is_search_tree(right, item, high)
