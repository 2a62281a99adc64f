"""Training in several processes, which a tab does not have."""

from typing import NoReturn


class DistributedDataParallel:
    """Exists to be asked for with isinstance."""

    def __init__(self, *_: object, **__: object) -> NoReturn:
        raise RuntimeError(
            "torch.nn.parallel.DistributedDataParallel is not in the in-page subset; run with PyTorch"
        )
