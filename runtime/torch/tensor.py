"""The tensor: a numpy array, its element type, and where its gradient goes.

The other files add the operations: `function` makes a name of the namespace ``torch``, `method` one of the
class `Tensor`, and both may stand over one definition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch.attributes import CPU, Size, strided
from torch.dtypes import float32
from torch.refusal import refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, Self

    from torch.autograd.record import Node
    from torch.methods import Methods
    from torch.types import Array, Definition, DType, Hooks
else:
    Methods = object  # the others add them when they are imported

NAMES: dict[str, Any] = {}  # what `torch` offers, collected by `function`


def function(definition: Definition) -> Definition:
    """Offer a definition as ``torch.name``."""
    NAMES[definition.__name__] = definition
    return definition


def method(definition: Definition) -> Definition:
    """Offer a definition as ``Tensor.name``."""
    setattr(Tensor, definition.__name__, definition)
    return definition


def alias(name: str, definition: Callable[..., Any]) -> None:
    """Offer a definition under another name as well."""
    NAMES[name] = definition
    setattr(Tensor, name, definition)


class Tensor(Methods):
    """A numpy array with an element type and, if gradients are wanted, a way back.

    Half precision is stored as float32 (see `dtypes`). Views share memory, as numpy's do.
    """

    _array: Array
    dtype: DType

    # what most tensors have; an instance holds only what differs
    _wants_grad = False  # a gradient is wanted for it or for something that it was made from
    _node: Node | None = None  # the autograd.Node that made it
    _output = 0  # which of the node's outputs it is
    _grad: Tensor | None = None
    _hooks: Hooks | None = None  # of a leaf; others have theirs at the node
    _after_accumulation: Hooks | None = None  # hooks of a leaf that run once it has its gradient
    _root: Tensor | None = None  # tensor that counts the changes of the memory, if it is not this one
    _changes = 0  # how often the memory was written to
    _parent: Tensor | None = None  # of a view: the tensor that it looks into
    _replay: Callable[[Tensor], Tensor] | None = None  # of a view: makes it again from its parent
    _seen: int | None = 0  # of a view: the changes when its node was made
    _retains = False

    __array_priority__ = 1000  # numpy leaves `array * tensor` to us
    is_cuda = is_sparse = is_quantized = is_meta = is_mkldnn = is_mps = False
    device = CPU
    layout = strided
    output_nr = property(lambda self: self._output)

    def __new__(cls, *size: Any) -> Tensor:
        """Make an empty tensor, the only one that this name makes here."""
        if not size:
            return make(np.zeros(0, np.float32), float32)
        raise TypeError(
            "torch.Tensor(...) is not in the in-page subset; write torch.tensor(...) or torch.empty(...)"
        )

    if not TYPE_CHECKING:  # else mypy would take any name

        def __getattr__(self, name: str) -> NoReturn:
            raise refusal("torch.Tensor", name)

    @property
    def shape(self) -> Size:
        """Size of each axis."""
        return Size(self._array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    def dim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    def size(self, dim: int | None = None) -> Any:
        """Shape, or the size of one axis."""
        if dim is None:
            return Size(self._array.shape)
        return self._array.shape[check_dim(dim, self._array.ndim)]

    def numel(self) -> int:
        """Number of elements."""
        return self._array.size

    nelement = numel

    def stride(self, dim: int | None = None) -> Any:
        """Elements between neighbors along each axis."""
        array = self._array
        steps = tuple(each // array.itemsize for each in array.strides)
        return steps if dim is None else steps[check_dim(dim, array.ndim)]

    def element_size(self) -> int:
        """Bytes an element."""
        return self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._array.size * self.dtype.itemsize

    def is_floating_point(self) -> bool:
        """Whether the elements are floating point numbers."""
        return self.dtype.kind == 2

    def is_complex(self) -> bool:
        """Whether the elements are complex."""
        return self.dtype.kind == 3

    def is_signed(self) -> bool:
        """Whether the elements can be negative."""
        return self.dtype.is_signed

    def is_contiguous(self, memory_format: object = None) -> bool:
        """Whether the elements lie in memory in their order."""
        return bool(self._array.flags.c_contiguous)

    def get_device(self) -> int:
        """Number of the device: -1 for the CPU."""
        return -1

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is wanted."""
        return self._wants_grad if self._parent is None else refresh(self)

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if not wanted and self._node is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed "
                "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if wanted and self.dtype.kind < 2:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        self._wants_grad = bool(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask for a gradient, or no longer."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        self.requires_grad  # noqa: B018  # a view may have to be looked up again
        return self._node is None

    @property
    def grad_fn(self) -> Node | None:
        """The recorded operation that made it, or None."""
        self.requires_grad  # noqa: B018
        return self._node

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has left, or None."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value)}"
                )
            if value.shape != self.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: expected {list(self.shape)}, got "
                    f"{list(value.shape)}"
                )
        self._grad = value

    @property
    def retains_grad(self) -> bool:
        """Whether `backward` will leave a gradient although this is no leaf."""
        return self._retains

    @property
    def _version(self) -> int:
        return (self if self._root is None else self._root)._changes

    @property
    def _base(self) -> Tensor | None:
        parent = self._parent
        while parent is not None and parent._parent is not None:
            parent = parent._parent
        return parent

    def _is_view(self) -> bool:
        return self._parent is not None

    def detach(self) -> Tensor:
        """Return the same memory, without a way back."""
        out = share(self._array, self.dtype)
        out._root = self if self._root is None else self._root
        return out

    def detach_(self) -> Self:
        """Forget the way back."""
        self._node, self._parent, self._wants_grad = None, None, False
        return self

    @property
    def data(self) -> Tensor:
        """The same memory, outside of what autograd watches."""
        return share(self._array, self.dtype)

    @data.setter
    def data(self, value: Tensor) -> None:
        self._array, self.dtype = value._array, value.dtype


_new = object.__new__


def make(array: Array | np.generic, dtype: DType) -> Tensor:
    """Make a tensor of a numpy array that nothing else will write to; half precision is rounded here."""
    out = _new(Tensor)
    if type(array) is not np.ndarray:  # numpy makes scalars of results without axes
        array = np.asarray(array)
    if dtype.rounded is not None:
        array = dtype.rounded(array)
    out._array = array
    out.dtype = dtype
    return out


def packed(array: Array | np.generic) -> Array:
    """The array with its elements in order, as torch lays out what it sums, joins and picks, numpy not."""
    return np.asarray(array, order="C")


def share(array: Array, dtype: DType) -> Tensor:
    """Make a tensor in the memory of an array whose numbers are rounded already."""
    out = _new(Tensor)
    out._array = array
    out.dtype = dtype
    return out


def refresh(view: Tensor) -> bool:
    """Look up again how a view was made, if its memory was written to since; say if it wants a gradient."""
    changes = (view if view._root is None else view._root)._changes
    if view._seen != changes:
        view._seen = changes
        parent, replay = view._parent, view._replay
        if parent is not None and replay is not None and parent.requires_grad:
            again = replay(parent)
            view._node, view._output = again._node, again._output
            if view._node is not None:
                view._node.title = "AsStridedBackward0"
                view._wants_grad = True
    return view._wants_grad


def check_dim(dim: int, ndim: int) -> int:
    """Count an axis from the left, or raise IndexError."""
    size = ndim or 1  # a number without axes takes 0 and -1
    if not -size <= dim < size:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-size}, {size - 1}], but got {dim})"
        )
    return dim + size if dim < 0 else dim
