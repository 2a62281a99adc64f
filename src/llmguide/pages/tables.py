"""Show computed values as Markdown tables."""

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

from llmguide.pages.display import show


def table(rows: Iterable[Sequence[object]], columns: Sequence[str], *, caption: str) -> None:
    """Show a table and its caption; columns of numbers are aligned right.

    Args:
        rows: Cells of each row, as text (Markdown), integers (printed with thousands separators) or other
            numbers. A first cell in bold, such as ``"**The**"``, heads its row.
        columns: Headings of the columns.
        caption: Sentence on what the table shows, in Markdown.

    Raises:
        ValueError: There is no row, or a row has more or fewer cells than there are columns.

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
    alignment = ["--:" if right else ":--" for right in numeric]
    _show_rows([columns, alignment, *([_cell(value) for value in row] for row in body)], caption)


def matrix(
    values: Any,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    caption: str,
    digits: int = 2,
    corner: str = "",
) -> None:
    """Show a matrix as a table with a heading for each row and column.

    Args:
        values: Two-dimensional tensor, array or nested list.
        rows: Headings of the rows.
        columns: Headings of the columns.
        caption: Sentence on what the table shows, in Markdown.
        digits: Number of decimals.
        corner: Heading of the column that holds the row headings.

    Raises:
        ValueError: The matrix has more or fewer rows or columns than there are headings.
    """
    numbers = values.tolist() if hasattr(values, "tolist") else values
    if len(numbers) != len(rows):
        raise ValueError(
            f"the matrix has {len(numbers)} rows, but {len(rows)} row headings were given: {list(rows)}"
        )
    _check_widths(numbers, columns)
    body = (
        [f"**{name}**", *(f"{value:.{digits}f}" for value in row)]
        for name, row in zip(rows, numbers, strict=True)
    )
    _show_rows([[corner, *columns], [":--", *["--:"] * len(columns)], *body], caption)


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


def _show_rows(rows: Iterable[Sequence[str]], caption: str) -> None:
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    show("\n".join([*lines, "", f"Table: {caption}"]))
