"""Exercises of the chapter on algorithmic reasoning: a search, a window, a table, prefix sums, a tree."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

from llmguide.coding.patterns.dynamic import coin_change
from llmguide.coding.patterns.searching import first_true
from llmguide.coding.patterns.sliding_window import longest_without_repeat
from llmguide.exercises.grading import Exercise, Mistake

# ---- searching -------------------------------------------------------------------------------------


def _search(low: int, high: int, test: Callable[[int], bool], *, before_middle: int = 0) -> int:
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle - before_middle) if test(middle) else (middle + 1, high)
    return low


def at_least_7(x: int) -> bool:
    """Test a number for `first_true`; a named function, so that an error can show it."""
    return x >= 7


# ---- windows and sums ------------------------------------------------------------------------------


def _window(text: str, *, jump: Callable[[int, int, int], int], length: int = 1) -> int:
    """Compute the window with a rule for the start from the old start, the repeat and the end."""
    last: dict[str, int] = {}
    start = best = 0
    for end, letter in enumerate(text):
        if letter in last:
            start = jump(start, last[letter], end)
        last[letter] = end
        best = max(best, end - start + length)
    return best


def count_subarrays(numbers: Sequence[int], k: int) -> int:
    """Count the contiguous subarrays whose sum is k.

    >>> count_subarrays([3, -1, 1], 3)  # [3] and [3, -1, 1]
    2
    """
    seen = {0: 1}  # prefix sums so far; the empty prefix has the sum 0
    total = found = 0
    for number in numbers:
        total += number
        found += seen.get(total - k, 0)
        seen[total] = seen.get(total, 0) + 1
    return found


def _count_by_prefix_sums(
    numbers: Sequence[int], k: int, *, empty: int = 1, often: bool = True, enter_first: bool = False
) -> int:
    seen = {0: empty}
    total = found = 0
    for number in numbers:
        total += number
        if enter_first:
            seen[total] = seen.get(total, 0) + 1
        found += seen.get(total - k, 0)
        if not enter_first:
            seen[total] = seen.get(total, 0) + 1 if often else 1
    return found


def _window_of_sum(numbers: Sequence[int], k: int) -> int:
    start = total = found = 0
    for end, number in enumerate(numbers):
        total += number
        while total > k and start <= end:
            total -= numbers[start]
            start += 1
        found += total == k and start <= end
    return found


# ---- tables ----------------------------------------------------------------------------------------


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


# ---- trees -----------------------------------------------------------------------------------------

Tree = tuple[Any, int, Any] | None  # left, item, right


def is_search_tree(tree: Tree, low: float = -inf, high: float = inf) -> bool:
    """Return whether each item is larger than all on its left and smaller than all on its right.

    >>> is_search_tree(((None, 1, None), 2, (None, 3, None))), is_search_tree(((None, 3, None), 2, None))
    (True, False)
    """
    if tree is None:
        return True
    left, item, right = tree
    return low < item < high and is_search_tree(left, low, item) and is_search_tree(right, item, high)


def _children_only(tree: Tree) -> bool:
    if tree is None:
        return True
    left, item, right = tree
    ordered = (left is None or left[1] < item) and (right is None or item < right[1])
    return ordered and _children_only(left) and _children_only(right)


def _equals_allowed(tree: Tree, low: float = -inf, high: float = inf) -> bool:
    if tree is None:
        return True
    left, item, right = tree
    return low <= item <= high and _equals_allowed(left, low, item) and _equals_allowed(right, item, high)


def _one_bound(tree: Tree, high: float = inf) -> bool:
    if tree is None:
        return True
    left, item, right = tree
    return item < high and _one_bound(left, item) and _one_bound(right, high)


def _leaf(item: int) -> Tree:
    return (None, item, None)


def _trees() -> list[tuple[Tree]]:
    return [
        (None,),
        (((_leaf(1), 2, _leaf(3)), 4, (_leaf(5), 6, None)),),
        ((_leaf(3), 2, None),),
        (((None, 1, _leaf(6)), 5, _leaf(7)),),  # 6 is right of 1, and left of 5
        (((None, 2, (_leaf(1), 3, None)), 5, None),),  # 1 is left of 3, and right of 2
        ((_leaf(2), 2, None),),
    ]


EXERCISES = (
    Exercise(
        "first-true",
        "first_true(low, high, test): the first number of low, ..., high - 1 that passes the test, or high "
        "if none does. All numbers after one that passes pass too. Use binary search.",
        first_true,
        lambda: [
            (0, 16, at_least_7),
            (0, 7, at_least_7),
            (7, 9, at_least_7),
            (3, 8, at_least_7),
            (5, 5, at_least_7),
        ],
        (
            Mistake(
                "found and thrown away",
                "a number that passes is left out of what is searched next",
                "It may be the first. Keep it: high = middle.",
                partial(_search, before_middle=1),
            ),
            Mistake(
                "last that fails",
                "the number before the one that is wanted is returned",
                "At the end everything before low fails, and low is the first that passes.",
                lambda low, high, test: first_true(low, high, test) - 1,
            ),
            Mistake(
                "high never returned",
                "the last number is returned when none passes",
                "The answer may be high: it is outside the range and stands for none.",
                lambda low, high, test: min(first_true(low, high, test), max(low, high - 1)),
            ),
            Mistake(
                "-1 for none",
                "-1 is returned when none passes",
                "high is more useful: it is where such a number would be inserted.",
                lambda low, high, test: found if (found := first_true(low, high, test)) < high else -1,
            ),
        ),
        ("Invariant: what is before low fails, what is from high on passes.", "middle = (low + high) // 2"),
    ),
    Exercise(
        "longest-without-repeat",
        "longest_without_repeat(text): length of the longest substring in which no character repeats.",
        longest_without_repeat,
        lambda: [("abcabcbb",), ("abba",), ("tmmzuxt",), ("dvdf",), ("aabbcc",), ("",)],
        (
            Mistake(
                "start jumps back",
                "the start moves to the character's last position even when that is before the window",
                "In abba the second a finds the first, which is no longer in the window. Take the larger "
                "of the two starts.",
                partial(_window, jump=lambda start, place, end: place + 1),
            ),
            Mistake(
                "window starts again",
                "a repeat throws the whole window away",
                "In dvdf the second d leaves vd in the window. Start after the first d.",
                partial(_window, jump=lambda start, place, end: end if place >= start else start),
            ),
            Mistake(
                "length off by one",
                "the character at the end is not counted",
                "From start to end, both included, there are end - start + 1 characters.",
                partial(_window, jump=lambda start, place, end: max(start, place + 1), length=0),
            ),
            Mistake(
                "characters of the whole text",
                "the different characters of the text are counted",
                "A substring is contiguous: it has no gaps.",
                lambda text: len(set(text)),
            ),
        ),
        ("Remember where each character was seen last.", "The start moves forward only."),
    ),
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
        ),
        ("State: the smallest number of coins for each amount up to this one.", "least[0] = 0."),
    ),
    Exercise(
        "count-subarrays",
        "count_subarrays(numbers, k): the number of nonempty contiguous subarrays whose sum is k. "
        "Numbers may be negative.",
        count_subarrays,
        lambda: [([3, -1, 1], 3), ([5, -1], 4), ([0, 0, 0], 0), ([1, 1, 1], 2), ([2], 2), ([], 0)],
        (
            Mistake(
                "sliding window",
                "the window is shrunk when its sum is too large, although a negative number may follow",
                "Shrinking is safe only if every number is positive. Use differences of prefix sums.",
                _window_of_sum,
            ),
            Mistake(
                "empty prefix forgotten",
                "subarrays that begin at the first number are missed",
                "Before anything is read, the sum 0 has been seen once.",
                partial(_count_by_prefix_sums, empty=0),
            ),
            Mistake(
                "entered before looked up",
                "the empty subarray counts when k is 0",
                "Look up first, then enter the prefix sum.",
                partial(_count_by_prefix_sums, enter_first=True),
            ),
            Mistake(
                "each prefix sum once",
                "a prefix sum that was seen several times counts once",
                "Each position where it was seen starts another subarray. Keep counts, not a set.",
                partial(_count_by_prefix_sums, often=False),
            ),
        ),
        (
            "The sum of a subarray is the difference of two prefix sums.",
            "At each position, how often has this prefix sum minus k been seen?",
        ),
    ),
    Exercise(
        "is-search-tree",
        "is_search_tree(tree): whether each item is above all items on its left and below all on its right. "
        "A tree is None or a tuple (left, item, right).",
        is_search_tree,
        _trees,
        (
            Mistake(
                "children only",
                "each node is compared with its two children",
                "A grandchild may be on the wrong side. Pass bounds down, or traverse in order.",
                _children_only,
            ),
            Mistake(
                "one bound",
                "only the upper bound is passed down",
                "Everything on the right must be above the node, so it gets a lower bound.",
                _one_bound,
            ),
            Mistake(
                "equal items allowed",
                "an item may occur twice",
                "Items must be above or below, never equal.",
                _equals_allowed,
            ),
        ),
        ("What is allowed in the left subtree of 5, to the right of 2?", "is_search_tree(left, low, item)."),
    ),
)
