"""Exercises of the chapter on algorithmic reasoning: halving, merging, and a tree."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import inf
from typing import Any

from llmguide.coding.patterns.searching import first_true
from llmguide.exercises.counting import counted, items
from llmguide.exercises.definition import Arguments, Exercise, Mistake


def _search(low: int, high: int, test: Callable[[int], bool], *, before_middle: int = 0) -> int:
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle - before_middle) if test(middle) else (middle + 1, high)
    return low


def _one_after_another(low: int, high: int, test: Callable[[int], bool]) -> int:
    return next((x for x in range(low, high) if test(x)), high)


def _counting_tests(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe a result, and whether the interval was halved."""
    low, high, test = arguments
    tested = []

    def counted(x: int) -> bool:
        tested.append(x)
        return bool(test(x))

    result = function(low, high, counted)
    few = len(tested) <= (high - low).bit_length() + 1
    return result, "few tests" if few else "too many tests"


def at_least_7(x: int) -> bool:
    """Test a number for `first_true`; a named function, so that an error can show it."""
    return x >= 7


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


def count_inversions(items: Sequence[Any], *, equal: bool = False, one: bool = False) -> int:
    """Count the pairs in the wrong order by merge sort, with switches for the mistakes.

    >>> count_inversions([3, 1, 2])
    2
    """

    def ordered(items: list[Any]) -> tuple[list[Any], int]:
        if len(items) < 2:
            return items, 0
        middle = len(items) // 2
        (left, in_left), (right, in_right) = ordered(items[:middle]), ordered(items[middle:])
        merged, found, i = [], in_left + in_right, 0
        for item in right:
            while i < len(left) and not (item <= left[i] if equal else item < left[i]):
                merged.append(left[i])
                i += 1
            merged.append(item)
            found += min(1, len(left) - i) if one else len(left) - i
        return merged + left[i:], found

    return ordered([*items])[1]


def _each_pair(items: Sequence[Any]) -> int:
    return sum(later < item for i, item in enumerate(items) for later in items[i + 1 :])


def _inversion_probes() -> list[Arguments]:
    return [([3, 1, 2],), ([],), ([5, 5, 1, 5, 1],), ([4, 3, 2, 1],), ([(37 * i) % 101 for i in range(200)],)]


EXERCISES = (
    Exercise(
        "first-true",
        "first_true(low, high, test): the first number of low, ..., high - 1 that passes the test, or high "
        "if none does. All numbers after one that passes pass too. The test counts the calls of `test`: for "
        "n numbers, at most log2(n) + 2, rounded down.",
        first_true,
        lambda: [
            (0, 16, at_least_7),
            (0, 7, at_least_7),
            (7, 9, at_least_7),
            (3, 8, at_least_7),
            (5, 5, at_least_7),
            (-1000, 1000, at_least_7),
        ],
        (
            Mistake(
                "linear search",
                "the number is right, but one number after another is tested",
                "If the number in the middle passes, nothing after it has to be tested; if it fails, nothing "
                "before it.",
                _one_after_another,
            ),
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
        (
            "Test the number in the middle: what do you know about the others then?",
            "Invariant: what is before low fails, what is from high on passes.",
            "middle = (low + high) // 2. If it passes, high = middle, else low = middle + 1, until both are "
            "equal.",
        ),
        level="medium",
        minutes=10,
        observe=_counting_tests,
    ),
    Exercise(
        "count-inversions",
        "count_inversions(items) returns how many pairs of items are in the wrong order: the number of "
        "pairs i < j with items[i] > items[j]. It measures how much a ranking differs from a sorted one. "
        "`items` is a list of objects that can be compared, hashed and sorted. The test counts "
        "comparisons: for n items, at most 3 n log2(n) + 3 of them, so comparing each pair is too slow.",
        count_inversions,
        _inversion_probes,
        (
            Mistake(
                "each pair compared",
                "the number is right, but each pair of items is compared",
                "That takes n (n - 1) / 2 comparisons. Sort instead: merging two sorted halves counts many "
                "pairs with one comparison.",
                _each_pair,
            ),
            Mistake(
                "equal items counted",
                "pairs of equal items are counted",
                "Only a larger item before a smaller one counts. On equality take the item on the left "
                "first.",
                partial(count_inversions, equal=True),
            ),
            Mistake(
                "one for each step of the merge",
                "an item of the right half counts once, however many items of the left half are larger",
                "All items that are left in the left half are larger: add their number.",
                partial(count_inversions, one=True),
            ),
            Mistake(
                "neighbors only",
                "only neighboring items are compared",
                "In 3, 2, 1 the pair of 3 and 1 counts as well.",
                lambda items: sum(b < a for a, b in pairwise(items)),
            ),
            Mistake(
                "pairs in the right order",
                "the pairs with items[i] < items[j] are counted",
                "An inversion has the larger item first.",
                lambda items: count_inversions(items[::-1]),
            ),
        ),
        (
            "Split the list in halves. A pair is in the left half, in the right half, or has one item in "
            "each.",
            "If both halves are sorted, how many items of the left one are larger than an item of the right "
            "one? That can be answered while merging.",
            "Let a function return the sorted items and the number of inversions. When the merge takes an "
            "item from the right half, add the number of items that are still in the left half.",
        ),
        level="hard",
        minutes=30,
        after="Kendall's tau, a correlation of rankings, is 1 - 4 times the inversions over n (n - 1) if "
        "there are no ties.",
        observe=counted(items, lambda items: 3 * len(items) * len(items).bit_length() + 3),
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
        (
            "What is allowed in the left subtree of 5, to the right of 2?",
            "Pass two bounds down: everything in a subtree is between them.",
            "The left subtree gets the item as its upper bound, the right one as its lower bound.",
        ),
        level="medium",
        minutes=10,
    ),
)
