"""Validate the inputs of attention, because broadcasting would hide mismatches."""

import torch
from torch import Tensor

from llmguide.arguments import check_tensor


def require_matching(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None) -> None:
    """Raise an error if shapes or dtypes do not match, before broadcasting hides it, or for other objects."""
    for name, given in (("q", q), ("k", k), ("v", v)):
        check_tensor(name, given)
    q_shape, k_shape, v_shape = tuple(q.shape), tuple(k.shape), tuple(v.shape)
    if min(q.ndim, k.ndim, v.ndim) < 2 or q_shape[-1] != k_shape[-1]:
        raise ValueError(f"q {q_shape} and k {k_shape} must both end in (T, E) with the same width E")
    if k_shape[:-1] != v_shape[:-1]:
        raise ValueError(
            f"k {k_shape} and v {v_shape} must agree in all but the last axis: one value for each key"
        )
    if q_shape[:-2] != k_shape[:-2]:
        heads = q_shape[-3:-2] + k_shape[-3:-2]
        if q.ndim != k.ndim or q_shape[:-3] != k_shape[:-3] or 0 in heads or heads[0] % heads[1]:
            raise ValueError(
                f"q {q_shape} and k {k_shape} must have the same leading axes, "
                "or differ in the head axis only, with query heads a multiple of key heads"
            )
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            f"q {q.dtype}, k {k.dtype} and v {v.dtype} must have one dtype; convert them with .to()"
        )
    scores = (*q_shape[:-1], k_shape[-2])
    for name, extra in (("mask", mask), ("bias", bias)):
        if extra is None:
            continue
        check_tensor(name, extra)
        if name == "mask" and extra.dtype != torch.bool:
            raise ValueError(
                f"mask is {extra.dtype}; a mask is boolean, True = may attend: "
                "use mask.bool() if it holds 0 and 1, or bias= if it is added to the scores"
            )
        pairs = zip(reversed(extra.shape), reversed(scores), strict=False)
        if extra.ndim > len(scores) or any(n not in (1, m) for n, m in pairs):
            raise ValueError(
                f"{name} {tuple(extra.shape)} must broadcast to {scores}, the scores of q {q_shape} and "
                f"k {k_shape}"
            )
