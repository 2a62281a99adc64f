from copy import deepcopy

import pytest
import torch

from llmguide.data.tokens.windows import Batch
from llmguide.models import build
from llmguide.post_training.adapters.lora import apply_lora
from llmguide.projects.analysis.profiling import peak_bytes, step_cost
from llmguide.projects.training import small_decoder

CPU = torch.device("cpu")


def test_a_peak_counts_what_is_there_at_one_time():
    def one_after_another():
        for _ in range(5):
            torch.zeros(250_000)

    def together():
        return [torch.zeros(250_000) for _ in range(5)]

    assert peak_bytes(one_after_another, CPU) == pytest.approx(1e6, rel=0.01)
    assert peak_bytes(together, CPU) == pytest.approx(5e6, rel=0.01)


def test_frozen_weights_take_no_gradients_and_no_averages():
    torch.manual_seed(0)
    model = build(small_decoder(31, 16, n_layers=1, d_model=64, n_heads=2))
    before = deepcopy(model.state_dict())
    ids = torch.randint(0, 31, (2, 8))
    every = step_cost(model, Batch(ids, ids))
    n = sum(p.numel() for p in model.parameters())
    assert (every.trained, every.held) == (n, 12 * n)  # a weight and two averages, four bytes each
    assert every.peak >= every.held + 4 * n  # and its gradient
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    adapted = step_cost(apply_lora(model, rank=1, alpha=1, target_modules=["q_proj"]), Batch(ids, ids))
    assert (adapted.trained, adapted.held) == (128, 4 * n + 12 * 128)
    assert adapted.peak < every.peak
    assert adapted.seconds > 0
