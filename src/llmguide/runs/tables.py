"""Results as tables in the terminal, or as JSON for a program."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Columns = Mapping[str, Callable[[Any], str]]


@dataclass(frozen=True)
class Table:
    """A table of numbers, with a format for each column.

    >>> table = Table("sizes", {"model": str, "bytes": gigabytes}, [{"model": "a", "bytes": 2e9}])
    >>> table.cells()
    [['a', '2 GB']]
    """

    title: str
    columns: Columns
    rows: Sequence[Mapping[str, Any]]  # None: not applicable
    notes: Sequence[str] = ()

    def cells(self) -> list[list[str]]:
        """Return the formatted cells of each row."""
        return [
            ["-" if row[name] is None else write(row[name]) for name, write in self.columns.items()]
            for row in self.rows
        ]


def show(table: Table, *, as_json: bool) -> None:
    """Print a table, or its unformatted numbers as JSON.

    >>> show(Table("sizes", {"bytes": gigabytes}, [{"bytes": 2e9}]), as_json=True)
    {"title": "sizes", "rows": [{"bytes": 2000000000.0}], "notes": []}
    """
    if as_json:
        content = {"title": table.title, "rows": table.rows, "notes": table.notes}
        sys.stdout.write(json.dumps(content) + "\n")
        return
    from rich.console import Console  # noqa: PLC0415  # 40 ms, and JSON does not need it
    from rich.table import Table as RichTable  # noqa: PLC0415

    grid = RichTable()
    for i, name in enumerate(table.columns):
        grid.add_column(name.replace("_", " "), justify="left" if i == 0 else "right")
    for cells in table.cells():
        grid.add_row(*cells)
    console = Console()
    console.print(table.title, style="bold", highlight=False)
    console.print(grid)
    for note in table.notes:
        console.print(note, highlight=False)


def count(value: float) -> str:
    """Format a number with thousands separators, or with a suffix from a million on.

    >>> [count(x) for x in (1024, 124_439_808, 6.738e9, 1.4e12, 8.09e22)]
    ['1,024', '124.4M', '6.74B', '1.40T', '8.09e+22']
    """
    if value >= 1e15:
        return f"{value:.2e}"
    for size, suffix, digits in ((1e12, "T", 2), (1e9, "B", 2), (1e6, "M", 1)):
        if value >= size:
            return f"{value / size:.{digits}f}{suffix}"
    return f"{value:,.0f}"


def gigabytes(value: float) -> str:
    """Format bytes as GB or smaller units, in powers of 1000.

    >>> [gigabytes(x) for x in (70_272, 524_288, 13.48e9, 2e9, 3.2e12)]
    ['70.3 kB', '524 kB', '13.5 GB', '2 GB', '3.2 TB']
    """
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def percentage(value: float) -> str:
    """Format a fraction as a percentage.

    >>> percentage(0.1423)
    '14.2%'
    """
    return f"{value:.1%}"


def decimal(value: float) -> str:
    """Format a number with three significant digits, without an exponent if that is short.

    >>> [decimal(x) for x in (20.04, 1.937, 184_320.0)]
    ['20', '1.94', '184,320']
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
