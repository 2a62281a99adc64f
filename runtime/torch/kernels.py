"""The functions of the .ts files, which kernels.mjs adds in the tab; elsewhere numpy does their work.

They are given the addresses of numpy's arrays, `id(array)`, and read the fields themselves: to ask an array
for the address of its data takes as long as a small operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


try:
    import torch_kernels
except ImportError:
    torch_kernels = None

FLOAT32 = np.dtype(np.float32)  # the type of their arrays


def find(name: str) -> Callable[..., Any] | None:
    """The function of that name, or None."""
    return getattr(torch_kernels, name, None)
