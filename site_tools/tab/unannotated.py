"""Leave out of a Python file what only a type checker reads, so that a tab neither loads nor compiles it."""

import ast
from itertools import accumulate


def unannotated(source: str) -> str:
    r"""The source without the annotations of functions and without imports for a type checker.

    Annotations of variables stay, because dataclasses and named tuples are made of them.

    >>> unannotated("def f(x: int = 1, *rest: int) -> int:\n    y: int = x\n    return y\n")
    'def f(x = 1, *rest):\n    y: int = x\n    return y\n'
    >>> unannotated("if TYPE_CHECKING:\n    from typing import Any\nx = 1\n")
    '\nx = 1\n'
    """
    code = source.encode()
    lines = [0, *accumulate(map(len, code.splitlines(keepends=True)))]
    cuts: list[tuple[int, ast.expr | ast.stmt]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and node.annotation:
            start = lines[node.lineno - 1] + node.col_offset + len(node.arg.encode())
            cuts.append((start, node.annotation))
        elif isinstance(node, ast.FunctionDef) and node.returns:
            place = lines[node.returns.lineno - 1] + node.returns.col_offset
            cuts.append((code.rindex(b" ->", 0, place), node.returns))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse:
            cuts.append((lines[node.lineno - 1] + node.col_offset, node))
    for start, node in sorted(cuts, key=lambda cut: cut[0], reverse=True):
        code = code[:start] + code[lines[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0) :]
    return code.decode()
