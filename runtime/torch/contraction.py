"""einsum: sums of products over named axes (tensor contraction)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch import dtypes
from torch.autograd.record import record
from torch.shared_vjps import conjugated
from torch.tensor import function, make, packed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch.tensor import Tensor
    from torch.types import Shape, Vjp


@function
def einsum(equation: str, *operands: Any) -> Tensor:
    """Sum of products over the letters of an equation that its right side leaves out."""
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    equation = equation.replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            "einsum(): "
            + ("more" if len(operands) > len(terms) else "fewer")
            + " operands were provided than specified in the equation"
        )
    terms = [_spelled(term, t) for term, t in zip(terms, operands, strict=True)]
    if arrow:
        letters = max((term for term in terms if _DOTS in term), key=len, default="")
        rest = "".join(c for c in letters if c in _FREE)
        output = output.replace("...", rest)
    else:
        joined = "".join(terms)
        dots = "".join(c for c in _FREE if c in joined)
        output = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in _FREE))
    dtype = operands[0].dtype
    for t in operands[1:]:
        dtype = dtypes.promote_types(dtype, t.dtype)
    sizes: dict[str, int] = {}
    for n, (term, t) in enumerate(zip(terms, operands, strict=True)):
        if len(term) != t._array.ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(term)}) does not match the "
                f"number of dimensions ({t._array.ndim}) for operand {n} and no ellipsis was given"
            )
        for letter, size in zip(term, t._array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                if 1 not in (size, sizes[letter]):
                    raise RuntimeError(
                        f"einsum(): subscript {letter} has size {size} for operand {n} which does not "
                        f"broadcast with previously seen size {sizes[letter]}"
                    )
                sizes[letter] = max(size, sizes[letter])
    laid = _laid_out(terms, output)
    arrays = (t._array for t in operands)
    array = np.asarray(np.einsum(",".join(terms) + "->" + laid, *arrays, optimize=len(operands) > 1))
    if len(operands) > 1:
        array = packed(array).transpose([laid.index(c) for c in output])

    def vjp_of(i: int) -> Vjp:
        def vjp(g: Tensor) -> Tensor:
            others = [j for j in range(len(operands)) if j != i]
            present = set(output).union(*(terms[j] for j in others))
            kept = "".join(dict.fromkeys(c for c in terms[i] if c in present))
            parts = [conjugated(operands[j]) for j in others]
            found = einsum(",".join([output, *(terms[j] for j in others)]) + "->" + kept, g, *parts)
            return _spread(found, kept, terms[i], operands[i].shape)

        return vjp

    vjps = tuple(vjp_of(i) for i in range(len(operands)))
    summed = not set("".join(terms)) <= set(output)
    if len(operands) < 2:
        title = "SumBackward1" if summed else "PermuteBackward0"
    else:
        title = "ViewBackward0" if summed else "MulBackward0"
    return record(title, array.astype(dtype.storage, copy=False), dtype, operands, vjps, operands)


def _laid_out(terms: list[str], output: str) -> str:
    """Letters of a result as they lie in memory: those of both terms, of one, of the other."""
    if len(terms) != 2 or set("".join(terms)) <= set(output):
        return output
    first, second = ("".join(c for c in output if c not in term) for term in reversed(terms))
    both = "".join(c for c in output if c not in first + second)
    rest = "".join(c for c in output if c not in both)
    return both + (rest if rest == second + first else first + second)


_FREE = "ZYXWVUTS"  # letters that stand for the axes of ...
_DOTS = "Z"


def _spelled(term: str, tensor: Tensor) -> str:
    """Replace the ... of a term by letters, from the right."""
    if "..." not in term:
        return term
    n = tensor._array.ndim - (len(term) - 3)
    return term.replace("...", _FREE[:n][::-1])


def _spread(g: Tensor, kept: str, term: str, shape: Shape) -> Tensor:
    """Bring a gradient of the letters `kept` into the axes of a term; a letter twice is a diagonal."""
    letters = list(dict.fromkeys(term))
    for at, letter in enumerate(letters):
        if letter not in kept:
            g = g.unsqueeze(at)
            kept = kept[:at] + letter + kept[at:]
    sizes = [shape[term.index(letter)] for letter in letters]
    g = (
        g.expand(sizes)
        if all(a in (1, b) for a, b in zip(g.shape, sizes, strict=True))
        else _summed(g, sizes)
    )
    for i, letter in enumerate(term):
        if term.index(letter) != i:  # a twin
            g = g.unsqueeze(i) * _equal_places(shape[i], term.index(letter), i, g.ndim + 1, g)
    return g


def _summed(g: Tensor, sizes: Sequence[int]) -> Tensor:
    axes = [i for i, (a, b) in enumerate(zip(g.shape, sizes, strict=True)) if a != b]
    return g.sum(axes, keepdim=True)


def _equal_places(n: int, i: int, j: int, ndim: int, like: Tensor) -> Tensor:
    array = np.eye(n, dtype=like._array.dtype).reshape([n if d in (i, j) else 1 for d in range(ndim)])
    return make(array, like.dtype)
