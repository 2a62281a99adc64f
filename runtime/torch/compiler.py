"""What turns Python into machine code elsewhere, and is refused here."""

from torch.refusal import refusal
from torch.tensor import function


@function
def compile(model=None, **options):
    """Refuse to compile."""
    raise NotImplementedError("torch.compile is not in the in-page subset; run with PyTorch")


def __getattr__(name):
    raise refusal("torch.compiler", name)
