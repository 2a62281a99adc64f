"""How the losses of many elements become one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.autograd.record import retitled

if TYPE_CHECKING:
    from torch.tensor import Tensor


def check(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> None:
    """Raise an error for an unknown reduction, and for the two arguments that came before it in PyTorch."""
    if size_average is not None or reduce is not None:
        raise NotImplementedError("size_average and reduce are not in the in-page subset; use reduction=...")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def reduced(loss: Tensor, reduction: str, title: str | None = None) -> Tensor:
    """Mean, sum, or each loss; `title` is what torch calls the way back of all of it."""
    out = loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()
    return out if title is None else retitled(out, title)
