"""The functions of the .ts files, which kernels.mjs adds in the tab; elsewhere numpy does their work.

They are given the addresses of numpy's arrays, `id(array)`, and read the fields themselves: to ask an array
for the address of its data takes as long as a small operation.
"""

import numpy as np

try:
    import torch_kernels
except ImportError:
    torch_kernels = None

FLOAT32 = np.dtype(np.float32)  # the type of their arrays


def find(name):
    """The function of that name, or None."""
    return getattr(torch_kernels, name, None)
