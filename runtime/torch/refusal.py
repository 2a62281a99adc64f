"""The error for a name that the subset lacks: a gap where PyTorch has the name, a misspelling elsewhere."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.tensor import Tensor


def refusal(owner: str, name: str) -> AttributeError:
    """Return the AttributeError to raise; Python itself adds what a misspelled name may have meant."""
    if is_gap(owner, name):
        shown = f"{owner}.{name}"
        # a `name` that is set and is None keeps Python from suggesting another one
        return AttributeError(f"{shown} is not in the in-page subset; run with PyTorch", name=None)
    kind = "'Tensor' object" if owner == "torch.Tensor" else f"module {owner!r}"
    return AttributeError(f"{kind} has no attribute {name!r}")


def is_gap(owner: str, name: str) -> bool:
    """Whether PyTorch has a public name ``owner.name``; yes for owners whose names are not listed."""
    names = _names(owner)
    return name.startswith("_") or names is None or name in names


@cache
def _names(owner: str) -> set[str] | None:
    from torch.names import MODULES, NAMES  # noqa: PLC0415 (of use only after a mistake)

    return {*NAMES[owner].split(), *MODULES.get(owner, "").split()} if owner in NAMES else None


def refuse_gradient(name: str, *tensors: Tensor) -> None:
    """Raise NotImplementedError if a gradient is wanted of an operation that has none here."""
    if any(t.requires_grad for t in tensors):
        raise NotImplementedError(
            f"the gradient of torch.{name} is not in the in-page subset; run with PyTorch"
        )
