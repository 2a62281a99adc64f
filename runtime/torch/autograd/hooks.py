"""Functions that see a gradient on its way back, and may change it."""

import itertools

from torch.tensor import method


class RemovableHandle:
    """Takes a hook away again."""

    _ids = itertools.count()

    def __init__(self, hooks, hook):
        self.hooks, self.id = hooks, next(self._ids)
        hooks[self.id] = hook

    def remove(self):
        """Take the hook away."""
        self.hooks.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


@method
def register_hook(self, hook):
    """Call `hook` with the gradient on its way back; what it returns, if anything, goes on instead."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self._node is None:
        if self._hooks is None:
            self._hooks = {}
        return RemovableHandle(self._hooks, hook)
    if self._node.hooks is None:
        self._node.hooks = {}
    return RemovableHandle(self._node.hooks.setdefault(self._output, {}), hook)


@method
def register_post_accumulate_grad_hook(self, hook):
    """Call `hook` with this leaf after its gradient has been added to."""
    if self._node is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    if self._after_accumulation is None:
        self._after_accumulation = {}
    return RemovableHandle(self._after_accumulation, hook)


@method
def retain_grad(self):
    """Let `backward` leave a gradient here although this is no leaf."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self._node is None or self._retains:
        return
    self._retains = True
    tensor = self

    def keep(g):
        tensor._grad = g if tensor._grad is None else tensor._grad + g

    self.register_hook(keep)
