"""Types that several signatures name; for mypy only, so it is not sent to the tab."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from numpy.typing import NDArray

from torch.attributes import device, layout
from torch.dtypes import dtype
from torch.tensor import Tensor

Array: TypeAlias = NDArray[Any]
Compute: TypeAlias = Callable[..., Any]  # a function of arrays, numpy's or one like them
DType: TypeAlias = dtype  # where an argument is called dtype
Device: TypeAlias = device | str | None
Layout: TypeAlias = layout
Number: TypeAlias = bool | int | float | complex
Operand: TypeAlias = Tensor | Number
Shape: TypeAlias = tuple[int, ...]
Sizes: TypeAlias = Sequence[Any]  # integers, or one sequence of them
Dims: TypeAlias = int | Sequence[int] | None
# from the gradient of the output, and perhaps the output, to the gradient of an input
Vjp: TypeAlias = Callable[..., Tensor | None]
Hooks: TypeAlias = dict[int, Callable[[Tensor], Tensor | None]]  # by a number that a handle knows
Definition = TypeVar("Definition", bound=Callable[..., Any])  # what a decorator returns as it is
