"""Training in several processes, which a tab does not have."""


class DistributedDataParallel:
    """Exists to be asked for with isinstance."""

    def __init__(self, *_, **__):
        raise RuntimeError(
            "torch.nn.parallel.DistributedDataParallel is not in the in-page subset; run with PyTorch"
        )
