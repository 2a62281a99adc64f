r"""Gradients: what an operation records, and the walk back that uses it.

An operation that wants to be differentiable ends with `record` (or `record_many`). For each input it hands
over a function from the gradient of the output to the gradient of that input, written with tensors:

    def exp(input):
        y = np.exp(input._array)
        return record("ExpBackward0", y, input.dtype, (input,), (lambda g, y: g * y,), keeps_output=True)

Three things make such functions short. The walk adds up a gradient over the axes along which an input was
broadcast, and casts it to the input's type. Only those inputs are asked for that want a gradient. And
because the functions are made of tensor operations, walking back with ``create_graph=True`` records them
like any other, so gradients have gradients.

A fused operation, whose gradients share work, passes one function in place of the tuple. It returns one
gradient (or None) for each input. While it runs, `is_grad_enabled()` says whether a graph is being made: if
not, it may compute with the arrays (``g._array``, then `make`), which is faster; if so, it must use tensors:

    def backward(g):
        if torch.is_grad_enabled():
            return by_tensor_operations(g)
        return make(by_numpy(g._array), g.dtype), None
    return record("FusedBackward0", array, dtype, (x, weight), backward, saved=(x, weight))

`saved` names the inputs whose values the way back uses: writing to them in between is an error, and the
graph can be walked once only.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

from torch.autograd.modes import mode
from torch.tensor import make, refresh, share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch.tensor import Tensor
    from torch.types import Array, DType, Shape, Vjp

    Edge: TypeAlias = tuple["Node | Tensor", int, Shape, DType]
    Hook: TypeAlias = Callable[[Tensor], Tensor | None]
    # of all inputs
    JointVjp: TypeAlias = Callable[..., Tensor | Sequence[Tensor | None] | None]

_order = itertools.count()


@final
class Node:
    """An operation that was recorded.

    Attributes:
        title: torch's name for its way back, ``AddBackward0``.
        edges: For each input None, or ``(target, output, shape, dtype)``; the target is the node that made
            the input, or the input itself if it is a leaf.
        vjps: A function for each input, or one for all.
        saved: Tensors that the way back uses, each with its number of changes.
        output: The output without its way back, if the functions want it as a second argument.
        order: Counts up, so an input's node always has a lower one.
        hooks: Output number -> hooks by number, or None.
        n_outputs: How many outputs it has.
    """

    __slots__ = (
        "__weakref__",
        "edges",
        "hooks",
        "n_outputs",
        "order",
        "output",
        "saved",
        "title",
        "vjps",
    )

    def __init__(
        self,
        title: str,
        inputs: Sequence[Tensor],
        vjps: tuple[Vjp | None, ...] | JointVjp | None,
        saved: Sequence[Tensor],
    ) -> None:
        self.title = title
        self.edges: list[Edge | None] = [
            (t._node or t, t._output, t._array.shape, t.dtype) if t._wants_grad else None for t in inputs
        ]
        self.vjps = vjps
        self.saved = [(t, (t if t._root is None else t._root)._changes) for t in saved] if saved else None
        self.output: Tensor | None = None
        self.order = next(_order)
        self.hooks: dict[int, dict[int, Hook]] | None = None
        self.n_outputs = 1

    def name(self) -> str:
        """Torch's name for the operation."""
        return self.title

    @property
    def next_functions(self) -> tuple[tuple[Node | AccumulateGrad | None, int], ...]:
        """Where the gradients go."""
        return tuple(
            (None, 0) if e is None else (e[0] if type(e[0]) is Node else AccumulateGrad(e[0]), e[1])
            for e in self.edges
        )

    def __repr__(self) -> str:
        return f"<{self.title} object at {id(self):#x}>"


class AccumulateGrad:
    """End of a way back: the gradient is added to that of a leaf."""

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def name(self) -> str:
        """Torch's name for it."""
        return "torch::autograd::AccumulateGrad"

    next_functions = ()

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


_TYPES = ("Bool", "BFloat16", "ComplexFloat", "ComplexDouble")  # which torch names otherwise


def _bare(node: Node) -> str:
    return re.sub(r"Backward\d*$", "", node.title)


def check_version(tensor: Tensor, changes: int) -> None:
    """Raise RuntimeError if a saved tensor was written to since it had been changed `changes` times."""
    now = (tensor if tensor._root is None else tensor._root)._changes
    if now != changes:
        kind = tensor.dtype.title
        kind = f"CPU{kind}Type" if kind in _TYPES else f"torch.{kind}Tensor"
        node = tensor._node
        made_by = "" if node is None else f", which is output {tensor._output} of {_bare(node)},"
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[{kind} {list(tensor.shape)}]{made_by} is at version {now}; expected version {changes} instead."
            " Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
            "torch.autograd.set_detect_anomaly(True, check_nan=False)."
        )


def record(
    title: str,
    array: Array,
    dtype: DType,
    inputs: Sequence[Tensor],
    vjps: tuple[Vjp | None, ...] | JointVjp,
    saved: Sequence[Tensor] = (),
    keeps_output: bool = False,
) -> Tensor:
    """Make the output tensor of an operation, and record the way back if a gradient is wanted.

    Args:
        title: torch's name for the way back, which `repr` shows.
        array: The result.
        dtype: Its type.
        inputs: The tensors that it depends on.
        vjps: For each input a function from the output's gradient to the input's, or None; or one function
            that returns all of them in a tuple.
        saved: The inputs whose values the functions use.
        keeps_output: Call the functions with the output as second argument.
    """
    if dtype.is_narrow and title != "ToCopyBackward0":
        raise NotImplementedError(
            f"operations on {dtype!r} are not in the in-page subset; convert to float32, or run with PyTorch"
        )
    out = make(array, dtype)
    if mode.enabled:
        wanted = False
        for t in inputs:
            if t._wants_grad if t._parent is None else refresh(t):
                wanted = True
        if wanted:
            out._node = node = Node(title, inputs, vjps, saved)
            out._wants_grad = True
            if keeps_output:
                # not `out` itself, which holds the node
                node.output = out._root = share(out._array, dtype)
    return out


def retitled(out: Tensor, title: str) -> Tensor:
    """Give what several operations made the name that torch has for all of them."""
    if out._node is not None:
        out._node.title = title
    return out


def record_many(
    title: str,
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    backward: JointVjp,
    saved: Sequence[Tensor] = (),
) -> None:
    """Record one operation with several outputs, tensors that were made already.

    Args:
        title: As in `record`.
        outputs: Tensors; those of integer types get no gradient.
        inputs: As in `record`.
        backward: Takes the gradients of all outputs, zeros where none came, and returns one for each input.
        saved: As in `record`.
    """
    if mode.enabled and any(t.requires_grad for t in inputs):
        shapes = [(t._array.shape, t.dtype) for t in outputs]

        def filled(*grads: Tensor | None) -> Tensor | Sequence[Tensor | None] | None:
            return backward(
                *(
                    make(np.zeros(shape, dtype.storage), dtype) if g is None else g
                    for g, (shape, dtype) in zip(grads, shapes, strict=True)
                )
            )

        node = Node(title, inputs, filled, saved)
        node.n_outputs = len(outputs)
        for i, out in enumerate(outputs):
            if out.dtype.kind > 1:
                out._node, out._output, out._wants_grad = node, i, True


def view(title: str, input: Tensor, array: Array, vjp: Vjp, replay: Callable[[Tensor], Tensor]) -> Tensor:
    """Make a tensor that shares the memory of `input`; `replay` makes the same view of another tensor."""
    out = share(array, input.dtype)
    out._root = input if input._root is None else input._root
    if mode.enabled:
        if input._wants_grad if input._parent is None else refresh(input):
            out._node = Node(title, (input,), (vjp,), ())
            out._wants_grad = True
        out._parent, out._replay, out._seen = input, replay, out._root._changes
    return out


def write(target: Tensor, value: Tensor) -> Tensor:
    """Copy a result into the memory of `target`, which takes over its way back."""
    if mode.enabled:
        wants = target.requires_grad
        if wants and target._node is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        leaf = target._base
        if wants and leaf is not None and leaf._node is None and leaf.requires_grad:
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place operation."
            )
    if not target._array.flags.writeable:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )
    array = value._array
    if target.dtype.rounded is not None and value.dtype is not target.dtype:
        array = target.dtype.rounded(array.astype(np.float32))
    np.copyto(target._array, array, casting="unsafe")
    (target if target._root is None else target._root)._changes += 1
    if mode.enabled:
        _rebase(target, value)
    return target


def _rebase(target: Tensor, value: Tensor) -> None:
    """Let `target`, whose memory holds `value` now, and all it is a view of take over the way back."""
    if not (value.requires_grad or target.requires_grad):
        return
    parent, replay = target._parent, target._replay
    if parent is None or replay is None:
        target._node, target._output, target._wants_grad = value._node, value._output, value._wants_grad
        return

    def without(g: Tensor) -> Tensor:
        g = g.clone()
        replay(g).zero_()
        return g

    _rebase(parent, record("CopySlices", parent._array, parent.dtype, (parent, value), (without, replay)))
    target._seen = -1  # to be looked up again
