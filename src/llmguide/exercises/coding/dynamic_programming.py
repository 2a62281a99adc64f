"""Exercises of the chapter on algorithmic reasoning: tables of smaller problems."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

from llmguide.coding.patterns.dynamic import coin_change
from llmguide.exercises.counting import Item, counted, items
from llmguide.exercises.definition import Arguments, Exercise, Mistake


def _greedy(coins: Sequence[int], amount: int) -> int | None:
    taken = 0
    for coin in sorted(coins, reverse=True):
        taken, amount = taken + amount // coin, amount % coin
    return None if amount else taken


def _each_coin_once(coins: Sequence[int], amount: int) -> int | None:
    least = [0, *[inf] * amount]
    for coin in coins:
        for a in range(amount, coin - 1, -1):
            least[a] = min(least[a], least[a - coin] + 1)
    return None if least[amount] == inf else int(least[amount])


def _ways(coins: Sequence[int], amount: int) -> int | None:
    ways = [1, *[0] * amount]
    for coin in coins:
        for a in range(coin, amount + 1):
            ways[a] += ways[a - coin]
    return ways[amount] or None


def word_errors(
    reference: Sequence[Any], text: Sequence[Any], *, replace: int = 1, first: int = 1, always: bool = False
) -> float:
    """Compute the word error rate, with switches for the mistakes.

    >>> word_errors("the cat sat".split(), "the cat".split())
    0.3333333333333333
    """
    row = [first * j for j in range(len(text) + 1)]
    for i, x in enumerate(reference, start=1):
        before, row = row, [first * i]
        for j, y in enumerate(text, start=1):
            cost = replace if always or x != y else 0
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + cost))
    return row[-1] / len(reference)


def _place_by_place(reference: Sequence[Any], text: Sequence[Any]) -> float:
    different = sum(bool(x != y) for x, y in zip(reference, text, strict=False))
    return (different + abs(len(reference) - len(text))) / len(reference)


def _errors_again_and_again(reference: Sequence[Any], text: Sequence[Any]) -> float:
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        replaced: int = distance(i - 1, j - 1) + (reference[i - 1] != text[j - 1])
        return min(replaced, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(reference), len(text)) / len(reference)


def _two_items(pair: tuple[list[Any], list[Any]], log: list[None]) -> tuple[list[Item], list[Item]]:
    return items(pair[0], log), items(pair[1], log)


def _observe_words(function: Callable[..., Any], arguments: Arguments) -> Any:
    """Observe an answer with two arguments."""
    observe = counted(_two_items, lambda pair: 4 * len(pair[0]) * len(pair[1]) + 4)
    return observe(lambda pair: function(*pair), (arguments,))


def _word_probes() -> list[Arguments]:
    pairs = [
        ("the cat sat on the mat", "the cat on mat sat"),
        ("a b c d e f g h", "b c d e f g h i"),
        ("one two", "three"),
        ("hello", ""),
        ("a a b", "a b b a b"),
        ("yes", "yes"),
    ]
    return [(reference.split(), text.split()) for reference, text in pairs]


EXERCISES = (
    Exercise(
        "coin-change",
        "coin_change(coins, amount): the smallest number of coins that make the amount, each as often as you "
        "like, or None if no coins do.",
        coin_change,
        lambda: [([1, 3, 4], 6), ([2], 3), ([2], 0), ([5, 2], 6), ([1, 5, 10], 18)],
        (
            Mistake(
                "greedy",
                "the largest coin that fits is always taken",
                "4 + 1 + 1 makes 6 with three coins, 3 + 3 with two.",
                _greedy,
            ),
            Mistake(
                "each coin once",
                "each coin is used once at most",
                "Go through the amounts upward, so that a coin can be used again.",
                _each_coin_once,
            ),
            Mistake(
                "ways counted",
                "the ways to make the amount are counted",
                "Take the minimum of 1 + least[a - coin], not the sum.",
                _ways,
            ),
            Mistake(
                "0 for impossible",
                "an amount that no coins make needs 0 coins",
                "0 coins make the amount 0 and no other. Impossible is None.",
                lambda coins, amount: coin_change(coins, amount) or 0,
            ),
            Mistake(
                "-1 for impossible",
                "the result is -1 where no coins make the amount",
                "Return None there.",
                lambda coins, amount: -1 if (least := coin_change(coins, amount)) is None else least,
            ),
            Mistake(
                "infinity for impossible",
                "the result is infinity where no coins make the amount",
                "Return None there.",
                lambda coins, amount: inf if (least := coin_change(coins, amount)) is None else least,
            ),
            Mistake(
                "None for the amount 0",
                "the answer 0 is mistaken for no answer",
                "The amount 0 needs 0 coins, so test with `is None`: 0 is false in Python.",
                lambda coins, amount: coin_change(coins, amount) or None,
            ),
        ),
        (
            "Which smaller amounts can be left after one coin?",
            "State: the smallest number of coins for each amount up to this one. least[0] = 0.",
            "least[a] = 1 + the smallest least[a - coin] over all coins that fit. Use infinity for amounts "
            "that no coins make.",
        ),
        level="medium",
        minutes=15,
    ),
    Exercise(
        "word-errors",
        "word_errors(reference, text) returns the word error rate of a transcript, a float: the smallest "
        "number of words that must be inserted, deleted or replaced to turn `reference` into `text`, divided "
        "by the number of words of `reference`. Both are lists of words; `reference` is not empty. The test "
        "counts comparisons of words: at most 4 n m + 4 for lists of n and m words.",
        word_errors,
        _word_probes,
        (
            Mistake(
                "exponential recursion",
                "the rate is right, but a recursion solves the same parts many times",
                "The number of calls grows exponentially. Store the distance of each pair of prefixes.",
                _errors_again_and_again,
            ),
            Mistake(
                "no replacement",
                "a replaced word costs 2: a deletion and an insertion",
                "Replacing a word is one edit.",
                partial(word_errors, replace=2),
            ),
            Mistake(
                "no alignment",
                "words at the same index are compared",
                "After a deletion all later words move by one. Find the best alignment.",
                _place_by_place,
            ),
            Mistake(
                "equal words cost 1",
                "the diagonal step always costs 1",
                "Keeping a word costs nothing.",
                partial(word_errors, always=True),
            ),
            Mistake(
                "empty prefix for free",
                "the first row and the first column of the table are 0",
                "Turning n words into none takes n deletions.",
                partial(word_errors, first=0),
            ),
            Mistake(
                "divided by the text",
                "the number of edits is divided by the length of the text",
                "The rate is relative to the reference, so it can be above 1.",
                lambda reference, text: word_errors(reference, text) * len(reference) / max(len(text), 1),
            ),
        ),
        (
            "What is the distance of two texts in terms of the distances of shorter ones? Look at their last "
            "words.",
            "Make a table for all pairs of prefixes. Its first row and column are known.",
            "table[i][j] is the smallest of table[i - 1][j] + 1, table[i][j - 1] + 1, and table[i - 1][j - "
            "1] plus 1 if the two words differ.",
        ),
        level="medium",
        minutes=25,
        after="The same table with characters is the edit distance of Levenshtein. Only the last row is "
        "needed for the next one, so memory grows with one of the lengths.",
        observe=_observe_words,
    ),
)
