"""GPUs, of which a tab has none."""

from torch.refusal import refusal


def is_available():
    """Whether there is one."""
    return False


def device_count():
    """How many there are."""
    return 0


def is_bf16_supported(including_emulation=True):
    """Whether one computes in bfloat16."""
    return False


def manual_seed(seed):
    """Seed none."""


def manual_seed_all(seed):
    """Seed none."""


def empty_cache():
    """Free nothing."""


def __getattr__(name):
    raise refusal("torch.cuda", name)
