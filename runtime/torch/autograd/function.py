"""Operations whose backward pass is written by hand."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from torch.autograd.modes import mode, no_grad
from torch.autograd.record import Node, check_version, record
from torch.dtypes import float32
from torch.tensor import Tensor, make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class FunctionCtx:
    """What the forward pass of a `Function` hands to its backward pass."""

    needs_input_grad: tuple[bool, ...] = ()
    _saved: Sequence[tuple[Tensor | None, int]] = ()
    _materialize = True
    _not_differentiable: tuple[Tensor, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors."""
        self._saved = [(t, 0 if t is None else t._version) for t in tensors]

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What was kept."""
        for t, version in self._saved:
            if t is not None:
                check_version(t, version)
        return tuple(t for t, _ in self._saved)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which outputs have no gradient."""
        self._not_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether an output without a gradient counts as one with zeros."""
        self._materialize = value

    def mark_dirty(self, *tensors: Tensor) -> NoReturn:
        """Refuse: in-place functions are not here."""
        raise NotImplementedError("ctx.mark_dirty is not in the in-page subset; run with PyTorch")


class Function:
    """An operation with a forward and a backward pass by hand."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Return one gradient, or None, for each argument of `forward`."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use "
            "it with backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the forward pass, and record the backward pass."""
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        separate = getattr(cls, "setup_context", None)
        with no_grad():
            out = cls.forward(*args) if separate else cls.forward(ctx, *args)
            if separate:
                separate(ctx, args, out)
        if not (mode.enabled and any(ctx.needs_input_grad)):
            return out
        outputs = out if isinstance(out, tuple) else (out,)
        fixed = {id(t) for t in ctx._not_differentiable}
        given = {id(a) for a in args}
        made = [t.detach() if isinstance(t, Tensor) and id(t) in given else t for t in outputs]
        differentiable = [isinstance(t, Tensor) and id(t) not in fixed and t.dtype.kind > 1 for t in made]
        none = make(np.zeros(0, np.float32), float32)
        inputs = [a if isinstance(a, Tensor) else none for a in args]
        node = Node(f"{cls.__name__}Backward", inputs, None, ())
        # what the pass uses is freed with the graph
        node.saved = [(t, v) for t, v in ctx._saved if t is not None] or None

        def run(*grads: Tensor | None) -> Sequence[Tensor | None]:
            if ctx._materialize:
                grads = tuple(
                    make(np.zeros(t._array.shape, t.dtype.storage), t.dtype)
                    if g is None and isinstance(t, Tensor)
                    else g
                    for g, t in zip(grads, shapes, strict=True)
                )
            found = cls.backward(ctx, *grads)
            found = found if isinstance(found, tuple) else (found,)
            if len(found) < len(args) or any(g is not None for g in found[len(args) :]):
                raise RuntimeError(
                    f"function {cls.__name__}Backward returned an incorrect number of gradients (expected "
                    f"{len(args)}, got {len(found)})"
                )
            return found

        shapes = [t.detach() if isinstance(t, Tensor) else t for t in made]
        node.vjps = run
        node.n_outputs = len(made)
        for i, t in enumerate(made):
            if differentiable[i]:
                t._node, t._output, t._wants_grad = node, i, True
        return tuple(made) if isinstance(out, tuple) else made[0]


def once_differentiable(backward_pass: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a backward pass that has no gradient of its own."""

    @functools.wraps(backward_pass)
    def run(ctx: Any, *grads: Tensor | None) -> Any:
        with no_grad():
            found = backward_pass(ctx, *grads)
        if not (mode.enabled and any(g is not None and g.requires_grad for g in grads)):
            return found

        def refuse(*_: object) -> NoReturn:
            raise RuntimeError(
                "trying to differentiate twice a function that was marked with @once_differentiable"
            )

        many = found if isinstance(found, tuple) else (found,)
        inputs = [g for g in grads if g is not None]
        marked = tuple(
            g if g is None else record("DelayedErrorBackward", g._array, g.dtype, inputs, refuse)
            for g in many
        )
        return marked if isinstance(found, tuple) else marked[0]

    return run
