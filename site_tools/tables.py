"""Print Markdown tables from computed values, for ``.table`` fences."""

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any


def table(rows: Iterable[Sequence[object]], columns: Sequence[str], *, caption: str) -> None:
    """Print a pipe table and its caption; columns of numbers are aligned right.

    Args:
        rows: Cells, as text (Markdown), integers (printed with thousands separators) or other numbers. A
            first cell in bold, such as ``"**The**"``, heads its row.
        columns: Headings.
        caption: What the table shows; Markdown.

    >>> table([["**GPT-2**", 124439808]], ["Model", "Parameters"], caption="Sizes")
    | Model | Parameters |
    | :-- | --: |
    | **GPT-2** | 124,439,808 |
    <BLANKLINE>
    Table: Sizes
    """
    body = [list(row) for row in rows]
    if not body:
        raise ValueError("the table has no rows")
    for row in body:
        if len(row) != len(columns):
            raise ValueError(f"the row {row!r} has {len(row)} cells, but there are {len(columns)} columns")
    numeric = [all(isinstance(row[i], Real) for row in body) for i in range(len(columns))]
    _print_row(columns)
    _print_row(["--:" if right else ":--" for right in numeric])
    for row in body:
        _print_row([_cell(value) for value in row])
    print(f"\nTable: {caption}")


def matrix(
    values: Any,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    caption: str,
    digits: int = 2,
    corner: str = "",
) -> None:
    """Print a matrix as a table with a heading for each row and column.

    Args:
        values: Two-dimensional tensor, array or nested list.
        rows: One heading a row.
        columns: One heading a column.
        caption: What the table shows; Markdown.
        digits: Decimals of each number.
        corner: Heading of the column of row headings.
    """
    numbers = values.tolist() if hasattr(values, "tolist") else values
    if len(numbers) != len(rows):
        raise ValueError(
            f"the matrix has {len(numbers)} rows, but {len(rows)} row headings were given: {list(rows)}"
        )
    _check_widths(numbers, columns)
    _print_row([corner, *columns])
    _print_row([":--", *["--:"] * len(columns)])
    for name, row in zip(rows, numbers, strict=True):
        _print_row([f"**{name}**", *(f"{value:.{digits}f}" for value in row)])
    print(f"\nTable: {caption}")


def _check_widths(numbers: Sequence[Sequence[float]], columns: Sequence[str]) -> None:
    for row in numbers:
        if len(row) != len(columns):
            raise ValueError(
                f"the matrix has {len(row)} columns, but headings were given for {list(columns)}"
            )


def _cell(value: object) -> str:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return f"{int(value):,}"
    if isinstance(value, Real) and not isinstance(value, bool):
        return f"{float(value):,.4g}"
    return str(value)


def _print_row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |")
