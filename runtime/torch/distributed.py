"""Several processes, of which a tab has none."""

from torch.refusal import refusal


def is_available():
    """Whether processes can be joined."""
    return False


def is_initialized():
    """Whether they are."""
    return False


def __getattr__(name):
    raise refusal("torch.distributed", name)
