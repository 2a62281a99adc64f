"""Answers to exercises of dynamic programming, as a reader would write them; the tests grade each."""

from math import inf


def coin_change(coins, amount):
    least = [0] + [inf] * amount
    for total in range(1, amount + 1):
        least[total] = min((least[total - coin] + 1 for coin in coins if coin <= total), default=inf)
    return None if least[amount] == inf else least[amount]


def word_errors(reference, text):
    row = list(range(len(text) + 1))
    for i, word in enumerate(reference, start=1):
        above, row = row, [i]
        for j, other in enumerate(text, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
    return row[-1] / len(reference)
