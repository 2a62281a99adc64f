"""Several processes, of which a tab has none."""


def is_available():
    """Whether processes can be joined."""
    return False


def is_initialized():
    """Whether they are."""
    return False


def __getattr__(name):
    raise AttributeError(f"torch.distributed.{name} is not in the in-page subset; run with PyTorch")
