"""Count the operations of an answer: values that report each comparison."""

from collections.abc import Callable, Sequence
from functools import total_ordering
from typing import Any

from llmguide.exercises.definition import Arguments

FEW, MANY = "few operations", "too many operations"


@total_ordering
class Item:
    """A value that counts how often it is compared or hashed.

    Args:
        value: Value that is compared.
        log: List to which each operation appends an entry; several items share it.

    >>> log = []
    >>> sorted([Item(2, log), Item(1, log)])[0].value, len(log)
    (1, 1)
    """

    def __init__(self, value: Any, log: list[None]) -> None:
        self.value = value
        self.log = log

    def __lt__(self, other: "Item") -> bool:
        self.log.append(None)
        return bool(self.value < other.value)

    def __eq__(self, other: object) -> bool:
        self.log.append(None)
        return isinstance(other, Item) and self.value == other.value

    def __hash__(self) -> int:
        self.log.append(None)
        return hash(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


def plain(value: Any) -> Any:
    """Replace items by their values."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value.value if isinstance(value, Item) else value


def items(values: Sequence[Any], log: list[None]) -> list[Item]:
    """Wrap values in items that share a log."""
    return [Item(value, log) for value in values]


def counted(items: Callable[[Any, list[None]], Any], limit: Callable[..., float]) -> Callable[..., Any]:
    """Make a function that observes a result, and whether an answer needs at most so many operations.

    Args:
        items: Function that replaces the values in the first argument by items that share a log.
        limit: Function that computes the largest number of operations from the arguments.
    """

    def observe(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
        log: list[None] = []
        result = plain(function(items(arguments[0], log), *arguments[1:]))
        return result, FEW if len(log) <= limit(*arguments) else MANY

    return observe
