"""What PyTorch asks of the machine, and a tab does not have: threads and kernels of its processor."""

from __future__ import annotations

from types import SimpleNamespace

from torch.tensor import function

ops = SimpleNamespace(mkldnn=SimpleNamespace())  # no kernels; what looks for one finds none


@function
def get_num_threads() -> int:
    """Threads that an operation runs in: one."""
    return 1


@function
def set_num_threads(num: int) -> None:
    """Do nothing; there is one thread."""
    if not isinstance(num, int) or num < 1:
        raise RuntimeError("set_num_threads expects a positive integer")


@function
def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Do nothing; all operations here give the same result each time."""
