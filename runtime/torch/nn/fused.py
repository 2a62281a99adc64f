"""Operations that are computed as one: forward and backward by numpy, in as few passes as there can be.

Most of the time of a small model goes by between the operations, so the frequent ones are fused. Each also
has a composite, the same formula in tensor operations, which gradients of gradients go through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from torch.autograd.engine import grad
from torch.autograd.modes import mode
from torch.autograd.record import record
from torch.tensor import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch.tensor import Tensor
    from torch.types import Array, DType

    # the gradient of the output and which inputs want one -> their gradients
    Backward: TypeAlias = Callable[[Array, Sequence[bool]], Iterable[Array | None]]


def fused(
    title: str,
    array: Array,
    inputs: Sequence[Tensor],
    backward: Backward,
    composite: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Make the output of a fused operation and record its way back.

    Args:
        title: torch's name for the way back.
        array: The result.
        inputs: Tensors that it depends on.
        backward: From the array of the output's gradient and a list of booleans, saying which inputs want a
            gradient, to one array (or None) for each input.
        composite: The same operation of the same inputs, in tensor operations; None if gradients of its
            gradients are not to be had.
    """

    def gradients(g: Tensor) -> list[Tensor | None]:
        wanted = [t._wants_grad for t in inputs]
        if not mode.enabled:
            dtype = g.dtype
            return [None if each is None else make(each, dtype) for each in backward(g._array, wanted)]
        if composite is None:
            raise RuntimeError(
                f"the gradient of {title} has none of its own: torch's kernel for it has none either"
            )
        apart = [t.view_as(t) for t in inputs]  # one may be made of another
        trained = [t for t in apart if t.requires_grad]
        found = iter(grad(composite(*apart), trained, g, create_graph=True))
        return [next(found) if is_wanted else None for is_wanted in wanted]

    return record(title, array, inputs[0].dtype, inputs, gradients, saved=inputs)


def c_name(dtype: DType) -> str:
    """What messages of torch's kernels call a type."""
    return {"float32": "float", "float64": "double", "int64": "long int", "int32": "int"}.get(
        dtype.name, dtype.name
    )
