"""What a tensor does about gradients: sends them back, and has functions see them on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from torch.autograd import engine
from torch.tensor import method
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch.autograd.record import Hook
    from torch.tensor import Tensor

_T = TypeVar("_T")


def _added(hooks: dict[int, _T], hook: _T) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


@method
def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradient of this tensor to those of the leaves that it depends on."""
    engine.backward([self], [gradient], retain_graph, create_graph, inputs)


@method
def register_hook(self: Tensor, hook: Hook) -> RemovableHandle:
    """Call `hook` with the gradient on its way back; what it returns, if anything, goes on instead."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self._node is None:
        if self._hooks is None:
            self._hooks = {}
        return _added(self._hooks, hook)
    if self._node.hooks is None:
        self._node.hooks = {}
    return _added(self._node.hooks.setdefault(self._output, {}), hook)


@method
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `hook` with this leaf after its gradient has been added to."""
    if self._node is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    if self._after_accumulation is None:
        self._after_accumulation = {}
    return _added(self._after_accumulation, hook)


@method
def retain_grad(self: Tensor) -> None:
    """Let `backward` leave a gradient here although this is no leaf."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self._node is None or self._retains:
        return
    self._retains = True
    tensor = self

    def keep(g: Tensor) -> None:
        tensor._grad = g if tensor._grad is None else tensor._grad + g

    self.register_hook(keep)
