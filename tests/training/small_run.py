"""A small model, a text and a plan, for tests that train."""

from dataclasses import replace

import torch
from tests.seed import SEED
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.data.tokens.windows import Batch
from llmguide.models import build
from llmguide.training.config import TrainConfig

V, T = 11, 6
SMALL = ModelConfig(vocab_size=V, context_length=T, n_layers=2, d_model=12, n_heads=3)
QUICK = TrainConfig(n_steps=10, context_length=T, batch_size=4, lr=0.01, checkpoint_every=3)


def new_model(**changes) -> nn.Module:
    """A small model; compare its weights after steps of Adam in float64.

    A gradient that is 0 but for rounding, such as that of a key bias, is scaled up to the learning rate.
    """
    torch.manual_seed(SEED)
    return build(replace(SMALL, **changes))


def some_text(n: int = 200, seed: int = 1) -> Tensor:
    return torch.randint(V, (n,), generator=torch.Generator().manual_seed(seed))


def equal_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(p.equal(q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


class Masked:
    """Sequences with a different number of targets each."""

    def __len__(self) -> int:
        return 8

    def batch(self, first: int, size: int) -> Batch:
        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(V, (8, T + 1), generator=generator)
        targets = ids[:, 1:].clone()
        for i in range(8):
            targets[i, : i % T] = -100
        rows = torch.arange(first, first + size) % 8
        return Batch(ids[rows, :-1], targets[rows])
