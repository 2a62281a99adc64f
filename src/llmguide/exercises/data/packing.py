"""Exercises of packing: positions in a packed row, best fit."""

from collections.abc import Callable, Sequence
from functools import partial

from llmguide.exercises.definition import Exercise, Mistake

# ---- packed rows -----------------------------------------------------------------------------------


def _restarted(documents: list[int]) -> list[int]:
    return [position - documents.index(number) for position, number in enumerate(documents)]


def _late(documents: list[int]) -> list[int]:
    """Return positions that restart at the second token of a document."""
    found, position = [], 0
    for i, number in enumerate(documents):
        position = 0 if i > 1 and documents[i - 1] == number != documents[i - 2] else position
        found.append(position)
        position += 1
    return found


# ---- packing ---------------------------------------------------------------------------------------

Rows = list[list[int]]


def best_fit(
    sizes: Sequence[int],
    capacity: int,
    *,
    longest_first: bool = True,
    pick: Callable[[list[tuple[int, int]]], tuple[int, int]] = min,
    exact: bool = True,
) -> Rows:
    """Pack documents into rows by best-fit decreasing, with switches for the mistakes.

    >>> best_fit([3, 7, 4, 6], 10)
    [[1, 0], [3, 2]]
    """
    rows: Rows = []
    space: list[int] = []
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i]) if longest_first else range(len(sizes))
    for i in order:
        fitting = [(left, row) for row, left in enumerate(space) if left >= sizes[i] + (not exact)]
        if not fitting:
            fitting = [(capacity, len(rows))]
            rows.append([])
            space.append(capacity)
        row = pick(fitting)[1]
        rows[row].append(i)
        space[row] -= sizes[i]
    return rows


def _next_fit(sizes: Sequence[int], capacity: int) -> Rows:
    """Fill one row after the other."""
    rows: Rows = []
    left = 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        if sizes[i] > left:
            rows.append([])
            left = capacity
        rows[-1].append(i)
        left -= sizes[i]
    return rows


EXERCISES = (
    Exercise(
        "packed-positions",
        "positions(documents) returns the list of the position, from 0, of each token of a packed sequence "
        "within its own document, given the document id of each token. Each document has its own id, and "
        "its tokens are next to each other.",
        _restarted,
        lambda: [([0, 0, 0, 1, 1, 2],), ([4, 4, 7, 7, 7, 7, 8],)],
        (
            Mistake(
                "positions run on",
                "the positions are those in the row",
                "Only the first document of a sequence would ever use position 0.",
                lambda documents: list(range(len(documents))),
            ),
            Mistake(
                "from 1",
                "each document starts at 1",
                "The first token of a document has position 0.",
                lambda documents: [position + 1 for position in _restarted(documents)],
            ),
            Mistake(
                "restart one token late",
                "the first token of a document still counts as one of the document before",
                "Compare the document id with that of the token before, not with that of the next.",
                _late,
            ),
            Mistake(
                "counted from the end",
                "the last token of each document has position 0",
                "Count what comes before a token.",
                lambda documents: _restarted(documents[::-1])[::-1],
            ),
        ),
        ("Where does each document start?",),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "best-fit",
        "best_fit(sizes, capacity) packs whole documents into rows of `capacity` tokens by best-fit "
        "decreasing. sizes[i] is the number of tokens of document i, from 1 to capacity. Take the documents "
        "from the longest to the shortest, those of equal length in the order of their numbers. Put each "
        "into the row in which the least space is left afterwards; of several such rows, into the one that "
        "was opened first. Open a new row only if it fits into none. Return a list with a list of document "
        "numbers for each row, both in the order in which they were added.",
        best_fit,
        lambda: [
            ([7, 3, 5, 4, 2, 6, 3], 10),
            ([3, 7, 4, 6], 10),
            ([2, 2, 2, 2, 2], 6),
            ([7, 2, 1, 4, 4, 7], 9),
            ([5, 8, 3, 1, 6, 2, 4, 9, 3, 7], 12),
            ([4, 3, 3, 2, 6, 5, 1, 7], 9),
            ([], 4),
        ],
        (
            Mistake(
                "in the order given",
                "the documents are not sorted by length",
                "Short documents fill gaps. If they come first, the long ones find none.",
                partial(best_fit, longest_first=False),
            ),
            Mistake(
                "first fit",
                "each document goes into the first row with enough space",
                "Of all rows with enough space, take the fullest one.",
                partial(best_fit, pick=lambda fitting: min(fitting, key=lambda pair: pair[1])),
            ),
            Mistake(
                "worst fit",
                "each document goes into the row with the most space",
                "That keeps all rows half full. Take the one with the least space that is enough.",
                partial(best_fit, pick=lambda fitting: max(fitting, key=lambda pair: (pair[0], -pair[1]))),
            ),
            Mistake(
                "last row only",
                "only the row that was opened last is filled",
                "Earlier rows can still have space for a short document.",
                _next_fit,
            ),
            Mistake(
                "last token of a row never used",
                "a document that fills a row exactly does not fit",
                "It fits if its size is at most the space that is left.",
                partial(best_fit, exact=False),
            ),
            Mistake(
                "lengths instead of numbers",
                "the rows list the lengths of the documents",
                "Return the numbers of the documents, so that one can find them.",
                lambda sizes, capacity: [[sizes[i] for i in row] for row in best_fit(sizes, capacity)],
            ),
            Mistake(
                "equal lengths in reverse",
                "documents of equal length are taken from the last to the first",
                "sorted(..., reverse=True) keeps equal ones in order only if the key is the length alone.",
                lambda sizes, capacity: [
                    [len(sizes) - 1 - i for i in row] for row in best_fit(sizes[::-1], capacity)
                ],
            ),
        ),
        (
            "Store how much space is left in each row. Which rows can take the document?",
            "Sort the numbers of the documents by size; sorted keeps the order of equal ones.",
            "min with the space as the key takes the first of several equal rows.",
        ),
        level="medium",
        minutes=15,
        after="With this packing, only documents longer than a row are cut. Attention must not cross from "
        "one document to the next, and positions restart.",
    ),
)
