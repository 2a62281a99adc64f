"""How often a GPU would have to finish its work before Python goes on: where a value is read from it."""

from collections import Counter

import pytest
import torch
from tests.models.test_models import CONFIGS, tokens
from torch.utils._python_dispatch import TorchDispatchMode

from llmguide.data.tokens.windows import Batch
from llmguide.models import build
from llmguide.nn import positions
from llmguide.nn.kv_cache import KVCache
from llmguide.training import _chunked_losses
from llmguide.training.losses import batch_loss, head_logprobs_and_entropy
from llmguide.training.optimizers import make_optimizer
from llmguide.training.step import train_step


class Waits(TorchDispatchMode):
    """Counts the calls whose result depends on the values of tensors: numbers for Python, and sizes."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.found = Counter()
        for module in (positions, _chunked_losses):  # as on a GPU
            monkeypatch.setattr(module, "has_readable_values", lambda _: False)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        is_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if is_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


DENSE = [name for name, each in CONFIGS.items() if each.architecture == "decoder" and not each.n_experts]


def test_what_waits_is_counted(monkeypatch):
    x = torch.arange(3.0)
    with Waits(monkeypatch) as waits:
        _ = x[x > 1], x.sum().item(), bool((x > 5).any()), torch.where(x > 1), x[[0, 1]], x + 1
    assert waits.found == {"index": 1, "_local_scalar_dense": 2, "nonzero": 1}


@pytest.mark.parametrize("name", DENSE)
def test_a_forward_pass_never_waits(name, monkeypatch):
    model, ids = build(CONFIGS[name]), tokens(2, 9)
    window = None if model.config.n_full_layers else model.config.sliding_window
    cache = KVCache(model.config.n_layers, window=window)
    mask = torch.ones_like(ids)
    with Waits(monkeypatch) as waits:
        model(ids)
        model(ids, attention_mask=mask)
        model(ids, document_ids=mask)
        model(ids[:, :6], cache=cache)
        model(ids[:, 6:], cache=cache)
    assert not waits.found


@pytest.mark.parametrize("name", DENSE)
def test_a_training_step_waits_for_four_numbers(name, monkeypatch):
    """The number of targets, twice since it is also a size, the loss and the gradient norm."""
    model, ids = build(CONFIGS[name]), tokens(2, 9)
    batch = Batch(ids[:, :-1], ids[:, 1:].masked_fill(torch.arange(8) < 3, -100))
    optimizer = make_optimizer(model, 0.01)
    with Waits(monkeypatch) as waits:
        train_step(model, [batch], optimizer, 0.01)
    assert waits.found == {"_local_scalar_dense": 3, "nonzero": 1}


def test_log_probabilities_wait_for_the_number_of_targets(monkeypatch):
    model, ids = build(CONFIGS["llama"]), tokens(2, 9)
    with Waits(monkeypatch) as waits:
        logprobs, entropy = head_logprobs_and_entropy(model, model.hidden(ids), ids)
        (logprobs + entropy).sum().backward()
    assert waits.found == {"nonzero": 1}


def test_each_micro_batch_waits_for_its_targets(monkeypatch):
    model, ids = build(CONFIGS["gpt"]), tokens(2, 9)
    with Waits(monkeypatch) as waits:
        batch_loss(model, Batch(ids[:, :-1], ids[:, 1:]))
    assert waits.found == {"_local_scalar_dense": 1, "nonzero": 1}
