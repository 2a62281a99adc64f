"""Values in texts of docs/_data: ``{{ 2 * n:,}}`` is replaced by the value of its expression."""

import re
from typing import Any

_EXPRESSION = re.compile(r"\{\{ (?P<value>.+?) ?\}\}")


def fill(text: str, names: dict[str, Any]) -> str:
    """Replace each expression in a text by its value.

    >>> fill("{{ n }} heads, {{ n / 3:.2f }} each", {"n": 2})
    '2 heads, 0.67 each'
    """
    return _EXPRESSION.sub(lambda match: str(eval(f'f"""{{{match["value"]}}}"""', names)), text)
