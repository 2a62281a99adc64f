"""Numbers such as 7B or 15T on the command line."""

from decimal import Decimal
from typing import Annotated, Any

import tyro


def parse_count(text: str, kind: type = float) -> Any:
    """Parse a number with an optional suffix K, M, B or T, as in the tables.

    >>> [parse_count(text) for text in ("15T", "1.5b", "8K", "2e12", "1024")]
    [15000000000000.0, 1500000000.0, 8000.0, 2000000000000.0, 1024.0]
    """
    digits, suffix = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    try:  # decimal: 1.1T is a whole number
        number = Decimal(digits) * Decimal({"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}[suffix])
    except (ArithmeticError, KeyError):
        raise ValueError(f"{text!r} is not a number such as 1e9, 15T, 7B, 2.5M or 8K") from None
    if kind is int and number % 1:
        raise ValueError(f"{text!r} must be a whole number")
    return kind(number)


def _count_spec(kind: type) -> Any:
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="N",
        instance_from_str=lambda values: parse_count(values[0], kind),
        is_instance=lambda value: value is None or isinstance(value, int | float),
        str_from_instance=lambda value: ["unset" if value is None else str(value)],
    )


Count = Annotated[float, _count_spec(float)]
WholeCount = Annotated[int, _count_spec(int)]
