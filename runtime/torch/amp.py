"""Automatic mixed precision, which is always off here: numpy has no fast bfloat16."""

from torch.dtypes import bfloat16
from torch.refusal import refusal
from torch.tensor import function


@function
class autocast:
    """A context and decorator that may be entered switched off; switched on it is refused."""

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        if enabled:
            raise NotImplementedError(
                "torch.autocast is not in the in-page subset, which computes in the type of its inputs; run "
                "with PyTorch, or pass enabled=False"
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __call__(self, wrapped):
        """Return a function as it is."""
        return wrapped


@function
def is_autocast_enabled(device_type="cpu"):
    """Whether autocast is on."""
    return False


@function
def get_autocast_dtype(device_type):
    """Type that autocast would compute in, if it were on."""
    return bfloat16


def __getattr__(name):
    raise refusal("torch.amp", name)
