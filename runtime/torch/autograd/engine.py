"""The walk back: from the outputs through the recorded operations to the leaves."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from torch.autograd.modes import mode
from torch.autograd.record import Node, check_version
from torch.tensor import Tensor, make, share

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from torch.autograd.record import Edge, Hook
    from torch.types import DType


def _sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Add a gradient up over the axes along which an input was broadcast."""
    extra = g._array.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, size in enumerate(shape) if size == 1 and g._array.shape[i + extra] != 1
    )
    if axes:
        g = g.sum(axes, keepdim=True)
    return g.reshape(shape) if g._array.shape != shape else g


def _fit(g: Tensor, shape: tuple[int, ...], dtype: DType, title: str, i: int) -> Tensor:
    if g._array.shape != shape:
        fits = len(shape) <= g._array.ndim and all(
            size in (1, n) for size, n in zip(shape[::-1], g._array.shape[::-1], strict=False)
        )
        if not fits:
            raise RuntimeError(
                f"Function {title} returned an invalid gradient at index {i} - got {list(g.shape)} but "
                f"expected shape compatible with {list(shape)}"
            )
        g = _sum_to(g, shape)
    return g if g.dtype is dtype else g.to(dtype)


def _gradients_of_inputs(node: Node, grads: Sequence[Tensor | None], keep: bool) -> Sequence[Tensor | None]:
    """Call the functions of a node, and let it forget what they hold unless it is to be kept."""
    vjps = node.vjps
    if vjps is None:
        raise RuntimeError(
            "Trying to backward through the graph a second time (or directly access saved tensors after "
            "they have already been freed). Saved intermediate values of the graph are freed when you call "
            ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
            "graph a second time or if you need to access saved tensors after calling backward."
        )
    if node.saved is not None:
        for tensor, changes in node.saved:
            if (tensor if tensor._root is None else tensor._root)._changes != changes:
                check_version(tensor, changes)
    if node.output is not None:
        y = node.output
        if y._changes:
            y._node = node  # which the message names
            check_version(y, 0)
        if mode.enabled:
            y = y.detach()
            y._node, y._wants_grad = node, True
        grads = (*grads, y)
    found: Sequence[Tensor | None]
    if isinstance(vjps, tuple):
        found = [
            vjp(*grads) if edge is not None and vjp is not None else None
            for vjp, edge in zip(vjps, node.edges, strict=True)
        ]
    else:
        given = vjps(*grads)
        found = given if isinstance(given, tuple | list) else (given,)
    if not keep and (node.saved is not None or node.output is not None):
        node.vjps = node.saved = node.output = None
    return found


def _reaching(starts: Iterable[Node | Tensor], targets: Collection[Node | int]) -> dict[Node | Tensor, bool]:
    """Nodes from which a gradient can get to one of the targets."""
    reaches: dict[Node | Tensor, bool] = {}
    stack = [(node, False) for node in starts]
    while stack:
        node, done = stack.pop()
        if not isinstance(node, Node):
            reaches[node] = id(node) in targets
        elif done:
            reaches[node] = node in targets or any(e is not None and reaches.get(e[0]) for e in node.edges)
        elif node not in reaches:
            reaches[node] = False
            stack.append((node, True))
            stack.extend((e[0], False) for e in node.edges if e is not None)
    return reaches


def _run_hooks(hooks: dict[int, Hook], g: Tensor) -> Tensor:
    for hook in list(hooks.values()):
        changed = hook(g)
        if changed is not None:
            g = changed
    return g


def _sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two gradients of one tensor; without what only the way back needs."""
    return a + b if mode.enabled else make(a._array + b._array, a.dtype)


def _walk(
    outputs: Sequence[Tensor],
    grads: Sequence[Tensor],
    keep: bool,
    create_graph: bool,
    inputs: Sequence[Tensor] | None = None,
) -> dict[int, Tensor | None]:
    """Send gradients back. With `inputs`, return theirs by id; without, add to those of all leaves."""
    before = mode.enabled
    mode.enabled = create_graph
    try:
        pending: dict[Node, list[Tensor | None]] = {}  # gradient of each output so far
        leaves: dict[int, tuple[Tensor, Tensor]] = {}  # id -> (leaf, gradient)
        heap: list[tuple[int, Node]] = []  # latest first

        def send(grads: Iterable[Tensor | None], edges: Iterable[Edge | None], title: str = "") -> None:
            for at, (g, edge) in enumerate(zip(grads, edges, strict=False)):
                if g is None or edge is None or (reaches is not None and not reaches[edge[0]]):
                    continue
                target, i, shape, dtype = edge
                if g._array.shape != shape or g.dtype is not dtype:
                    g = _fit(g, shape, dtype, title, at)
                if type(target) is Node:
                    slots = pending.get(target)
                    if slots is None:
                        pending[target] = slots = [None] * target.n_outputs
                        heapq.heappush(heap, (-target.order, target))
                    so_far = slots[i]
                    slots[i] = g if so_far is None else _sum(so_far, g)
                else:
                    at_leaf = id(target)
                    leaves[at_leaf] = target, _sum(leaves[at_leaf][1], g) if at_leaf in leaves else g

        captured: dict[int, Tensor | None] = {}
        at_node: dict[Node, list[Tensor]] = {}
        reaches = None
        if inputs is not None:
            wanted = {t._node if t._node is not None else id(t) for t in inputs}
            reaches = _reaching([t._node or t for t in outputs], wanted)
            for t in inputs:
                if t._node is not None:
                    at_node.setdefault(t._node, []).append(t)
        send(grads, [(t._node or t, t._output, t._array.shape, t.dtype) for t in outputs])
        while heap:
            node = heapq.heappop(heap)[1]
            slots = pending.pop(node)
            if node.hooks is not None:
                for i, hooks in node.hooks.items():
                    if (g := slots[i]) is not None:
                        slots[i] = _run_hooks(hooks, g)
            if reaches is not None and node in at_node:
                for t in at_node[node]:
                    captured[id(t)] = slots[t._output]
                if not any(e is not None and reaches.get(e[0]) for e in node.edges):
                    continue
            send(_gradients_of_inputs(node, slots, keep), node.edges, node.title)
        for at, (leaf, g) in leaves.items():
            if leaf._hooks:
                g = _run_hooks(leaf._hooks, g)
            if inputs is None:
                _accumulate(leaf, g)
            else:
                captured[at] = g
        return captured
    finally:
        mode.enabled = before


def _accumulate(leaf: Tensor, g: Tensor) -> None:
    if leaf._grad is None:
        if mode.enabled:
            leaf._grad = g.clone() if g._array.base is not None else g
        else:
            leaf._grad = share(g._array.copy(), g.dtype)
    elif mode.enabled:
        leaf._grad = leaf._grad + g
    else:
        leaf._grad.add_(g)
    if leaf._after_accumulation:
        for hook in list(leaf._after_accumulation.values()):
            hook(leaf)


def _first_gradients(
    outputs: Sequence[Tensor], grads: Tensor | Sequence[Tensor | None] | None
) -> list[Tensor]:
    found = []
    given: list[Tensor | None] = [None] * len(outputs) if grads is None else _listed(grads)
    for i, (t, g) in enumerate(zip(outputs, given, strict=True)):
        if not t.requires_grad:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        if g is None:
            if t._array.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            g = make(np.ones(t._array.shape, t.dtype.storage), t.dtype)
        elif g.shape != t.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a shape "
                f"of {t.shape}."
            )
        found.append(g)
    return found


def _listed(value: Tensor | Iterable[Any]) -> list[Any]:
    return [value] if isinstance(value, Tensor) else list(value)


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of `tensors` to those of the leaves that they depend on."""
    outputs: list[Tensor] = _listed(tensors)
    grads = _first_gradients(outputs, grad_tensors)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        _walk(outputs, grads, keep, create_graph)
        return
    targets: list[Tensor] = _listed(inputs)
    captured = _walk(outputs, grads, keep, create_graph, targets)
    before, mode.enabled = mode.enabled, create_graph
    for t in targets:
        if (g := captured.get(id(t))) is not None:
            _accumulate(t, g)
    mode.enabled = before


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the sum of `outputs` with respect to `inputs`."""
    ends: list[Tensor] = _listed(outputs)
    targets: list[Tensor] = _listed(inputs)
    for t in targets:
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    grads = _first_gradients(ends, grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    captured = _walk(ends, grads, keep, create_graph, targets)
    found = []
    for i, t in enumerate(targets):
        g = captured.get(id(t))
        if g is None:
            if materialize_grads:
                g = make(np.zeros(t._array.shape, t.dtype.storage), t.dtype)
            elif not allow_unused:
                raise RuntimeError(
                    f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set "
                    "allow_unused=True if this is the desired behavior."
                )
        found.append(g)
    return tuple(found)
