"""`llmguide.data.tokens.packing.best_fit` in O(n T / 64) steps for n pieces and rows of T tokens."""

import numpy as np
from jaxtyping import Int


def fast_best_fit(sizes: Int[np.ndarray, " n"], capacity: int) -> Int[np.ndarray, " n"]:
    """Compute `best_fit` with a list of rows for each remaining space, and a bit set of nonempty lists."""
    check_sizes(sizes, capacity)
    rows = np.empty(len(sizes), np.intp)  # as np.bincount needs: in the browser, 32 bits
    rows_with: list[list[int]] = [[] for _ in range(capacity + 1)]  # rows with exactly this remaining space
    rooms = 0  # bit r: there is a row with r tokens of space
    n_rows = 0
    for piece in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[piece])
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1  # the lowest bit: the least space
            row = rows_with[room].pop()
            if not rows_with[room]:
                rooms ^= 1 << room
        else:
            room, row, n_rows = capacity, n_rows, n_rows + 1
        rows[piece] = row
        if left := room - size:
            rows_with[left].append(row)
            rooms |= 1 << left
    return rows


def check_sizes(sizes: Int[np.ndarray, " n"], capacity: int) -> None:
    """Raise ValueError if a piece is empty or larger than a row."""
    if len(sizes) and not 1 <= sizes.min() <= sizes.max() <= capacity:
        raise ValueError(f"pieces of {sizes.min()} to {sizes.max()} tokens do not fit rows of {capacity}")
