"""Count the work of tensor operations, for exercises that limit it."""

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_PRODUCTS = {"matmul", "rmatmul", "linear", "einsum", "mm", "bmm", "addmm", "baddbmm"}


class TensorWork(TorchFunctionMode):
    """Counts results of tensor functions while the block runs.

    Attributes:
        products: Number of entries of the results of all matrix products.
        largest_product: Number of entries of the largest of these results.
        largest: Number of entries of the largest result of any function that copies its input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products = self.largest_product = self.largest = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        if isinstance(result, Tensor) and name not in {"expand", "expand_as", "broadcast_to"}:
            self.largest = max(self.largest, result.numel())
            if name in _PRODUCTS:
                self.products += result.numel()
                self.largest_product = max(self.largest_product, result.numel())
        return result
