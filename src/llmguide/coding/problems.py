"""Five problems with tests, including edge cases that are easy to get wrong.

The guide prompts a model with them and judges its solutions. The statements are our own; the problems are
classics.
"""

from dataclasses import dataclass

from llmguide.coding.sandbox.verdicts import FunctionTests


@dataclass(frozen=True)
class Problem:
    """A coding problem with its tests.

    Attributes:
        name: Name of the function.
        kind: ``array``, ``string``, ``tree``, ``dynamic programming`` or ``graph``.
        signature: First line of the solution, as Python source.
        statement: Problem statement, with the edge cases.
        examples: Calls and their values, as Python source.
        constraints: Bounds on the input and on the time complexity.
        tests: Tests that the judge runs: the examples and more.
    """

    name: str
    kind: str
    signature: str
    statement: str
    examples: tuple[tuple[str, str], ...]
    constraints: tuple[str, ...]
    tests: FunctionTests


def _tests(name: str, *cases: tuple[tuple[object, ...], object]) -> FunctionTests:
    return FunctionTests(name, cases)


TWO_SUM = Problem(
    "two_sum",
    "array",
    "def two_sum(numbers: list[int], target: int) -> list[int]:",
    "Return the positions, in increasing order, of the two numbers that add up to the target. There is "
    "exactly one such pair; a number may not be paired with itself.",
    (("two_sum([2, 7, 11, 15], 9)", "[0, 1]"), ("two_sum([3, 3], 6)", "[0, 1]")),
    ("2 to 10,000 numbers between -10^9 and 10^9", "O(n) expected time"),
    _tests(
        "two_sum",
        (([2, 7, 11, 15], 9), [0, 1]),
        (([3, 3], 6), [0, 1]),
        (([3, 2, 4], 6), [1, 2]),  # the same 3 may not be used twice
        (([-5, 0, 5, 9], 0), [0, 2]),
        (([0, 4, 3, 0], 0), [0, 3]),
    ),
)
SECOND_LARGEST = Problem(
    "second_largest",
    "array",
    "def second_largest(numbers: list[int]) -> int | None:",
    "Return the largest number that is smaller than the maximum, or None if there is none.",
    (("second_largest([4, 1, 3])", "3"), ("second_largest([5, 5])", "None")),
    ("0 to 10,000 numbers", "O(n) time"),
    _tests(
        "second_largest",
        (([4, 1, 3],), 3),
        (([5, 5],), None),
        (([],), None),
        (([7],), None),
        (([-3, -1, -2],), -2),
        (([5, 5, 4],), 4),
        (([1, 2, 3],), 2),
    ),
)
IS_PALINDROME = Problem(
    "is_palindrome",
    "string",
    "def is_palindrome(text: str) -> bool:",
    "Tell whether the letters and digits of a text read the same backwards, whatever their case. A text "
    "without any is a palindrome.",
    (("is_palindrome('Never odd or even')", "True"), ("is_palindrome('ab')", "False")),
    ("0 to 10,000 characters, ASCII",),
    _tests(
        "is_palindrome",
        (("Never odd or even",), True),
        (("ab",), False),
        (("",), True),
        ((".,",), True),
        (("0P",), False),
        (("A man, a plan, a canal: Panama",), True),
    ),
)
COIN_CHANGE = Problem(
    "coin_change",
    "dynamic programming",
    "def coin_change(coins: list[int], amount: int) -> int:",
    "Return the least number of coins that make the amount, or -1 if none do. Each coin may be used any "
    "number of times.",
    (("coin_change([1, 3, 4], 6)", "2"), ("coin_change([2], 3)", "-1")),
    ("1 to 12 different coins of 1 to 10,000", "amount 0 to 10,000"),
    _tests(
        "coin_change",
        (([1, 3, 4], 6), 2),  # the greedy algorithm takes three
        (([2], 3), -1),
        (([2], 0), 0),
        (([1, 2, 5], 11), 3),
        (([186, 419, 83, 408], 6249), 20),
    ),
)
COUNT_ISLANDS = Problem(
    "count_islands",
    "graph",
    "def count_islands(grid: list[str]) -> int:",
    "Count the groups of '#' cells in a grid of '#' and '.'; cells touch along a side, not at a corner.",
    (("count_islands(['##.', '..#'])", "2"), ("count_islands([])", "0")),
    ("0 to 300 rows of equal length, 0 to 300",),
    _tests(
        "count_islands",
        ((["##.", "..#"],), 2),
        (([],), 0),
        (([""],), 0),
        ((["#.#", ".#.", "#.#"],), 5),
        ((["###", "#.#", "###"],), 1),
        ((["#" * 60] * 60,), 1),  # deeper than Python's recursion limit
    ),
)
_ALL = (TWO_SUM, SECOND_LARGEST, IS_PALINDROME, COIN_CHANGE, COUNT_ISLANDS)
PROBLEMS = {problem.name: problem for problem in _ALL}
