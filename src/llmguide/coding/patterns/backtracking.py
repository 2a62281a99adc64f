"""Backtracking: extend a partial solution, continue if it may still become a solution, and undo.

The tree of partial solutions grows exponentially; pruning branches early makes it feasible.
"""

from collections.abc import Iterator, Sequence


def subsets(items: Sequence[int]) -> list[list[int]]:
    """Return all subsets, by the choice of taking or leaving each item. O(2^n) choices.

    >>> subsets([1, 2])
    [[], [2], [1], [1, 2]]
    """
    found: list[list[int]] = []
    chosen: list[int] = []

    def choose(i: int) -> None:
        if i == len(items):
            found.append(chosen.copy())
            return
        choose(i + 1)
        chosen.append(items[i])
        choose(i + 1)
        chosen.pop()

    choose(0)
    return found


def permutations(items: Sequence[int]) -> list[list[int]]:
    """Return all permutations, by choosing which item comes next.

    Invariant: the first i places are fixed; the swap is undone before the next choice. O(n · n!) steps.

    >>> permutations([1, 2, 3])
    [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 2, 1], [3, 1, 2]]
    """
    order, found = list(items), []

    def place(i: int) -> None:
        if i == len(order):
            found.append(order.copy())
        for j in range(i, len(order)):
            order[i], order[j] = order[j], order[i]
            place(i + 1)
            order[i], order[j] = order[j], order[i]

    place(0)
    return found


def queens(n: int) -> Iterator[tuple[int, ...]]:
    """Yield all ways to put n queens on n rows, as the column in each row, such that none attacks another.

    Invariant: the queens so far are in different columns and diagonals; row + column names one diagonal,
    row - column the other. O(n!) steps at most.

    >>> list(queens(4)), len(list(queens(6)))
    ([(1, 3, 0, 2), (2, 0, 3, 1)], 4)
    """
    columns: list[int] = []

    def place(row: int) -> Iterator[tuple[int, ...]]:
        if row == n:
            yield tuple(columns)
        for column in range(n):
            if all(column != c and row - r != abs(column - c) for r, c in enumerate(columns)):
                columns.append(column)
                yield from place(row + 1)
                columns.pop()

    return place(0)
