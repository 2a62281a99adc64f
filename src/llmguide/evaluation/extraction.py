"""Extract the code from a completion."""

import ast
import re

_BLOCK = re.compile(r"^ {0,3}```[^\n`]*\n(.*?)(?:^ {0,3}```[ \t]*$|\Z)", flags=re.DOTALL | re.MULTILINE)


def extract_code(completion: str, name: str | None = None) -> str | None:
    r"""Extract the last fenced code block of a completion, or the last one that defines a function.

    A block that is cut off at the end of the completion counts, too. A completion that is only Python, and
    defines the function, is returned whole.

    Args:
        completion: Text that a model generated.
        name: Name of the function that the block must define; None: any block.

    Returns:
        Source of the block; None if there is no such block.

    >>> extract_code("Sure!\n```python\ndef f(): return 1\n```\nCall it:\n```\nf()\n```", "f")
    'def f(): return 1\n'
    >>> extract_code("Try\n```python\nx = 1\n```\nor\n```\nx = 2\n```\n")
    'x = 2\n'
    >>> extract_code("I would use a loop.", "f") is None
    True
    """
    blocks: list[str] = _BLOCK.findall(completion)
    if name is None:
        return blocks[-1] if blocks else None
    definition = re.compile(rf"^\s*(?:async\s+)?def\s+{re.escape(name)}\s*\(", flags=re.MULTILINE)
    if defining := [block for block in blocks if definition.search(block)]:
        return defining[-1]
    if blocks or not definition.search(completion):
        return None
    try:
        ast.parse(completion)
    except (SyntaxError, ValueError):
        return None
    return completion
