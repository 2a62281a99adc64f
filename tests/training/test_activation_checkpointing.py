from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.training.activation_checkpointing import find_blocks, training_blocks
from llmguide.training.losses import next_token_loss

SMALL = ModelConfig(vocab_size=11, context_length=64, n_layers=4, d_model=12, n_heads=3)


def gradients(model: nn.Module, ids: Tensor) -> list[Tensor]:
    model.zero_grad()
    next_token_loss(model, ids).backward()
    return [p.grad for p in model.parameters()]


def saved_bytes(model: nn.Module, ids: Tensor) -> int:
    """Bytes of the activations that the forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        next_token_loss(model, ids)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return sum(n for place, n in kept.items() if place not in weights)


@pytest.mark.parametrize("changes", [{}, {"positions": "rope", "dropout": 0.3}, {"positions": "alibi"}])
def test_recomputing_changes_the_memory_and_nothing_else(changes):
    torch.manual_seed(0)
    model = build(replace(SMALL, **changes))
    ids = torch.randint(11, (2, 64))
    torch.manual_seed(1)
    expected, needed = gradients(model, ids), saved_bytes(model, ids)
    with training_blocks(model, activation_checkpointing=True):
        torch.manual_seed(1)
        found, little = gradients(model, ids), saved_bytes(model, ids)
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, atol=0, rtol=0)
    assert little < 0.4 * needed
    assert saved_bytes(model, ids) == needed  # the blocks are as they were


def test_compiled_blocks_compute_the_same(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function: asked.append(function) or function)
    model, ids = build(SMALL), torch.randint(11, (2, 9))
    expected = gradients(model, ids)
    with training_blocks(model, compiled=True):
        assert len(asked) == 1 + SMALL.n_layers  # one to see whether it works
        for ours, plain in zip(gradients(model, ids), expected, strict=True):
            assert ours.equal(plain)


def test_without_a_compiler_training_goes_on(monkeypatch):
    def missing(function):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", missing)
    model, ids = build(SMALL), torch.randint(11, (2, 9))
    with (
        pytest.warns(UserWarning, match=r"torch.compile does not work here .*no C\+\+ compiler"),
        training_blocks(model, compiled=True),
    ):
        shape = model(ids).shape
    assert shape == (2, 9, 11)


def test_a_model_without_blocks_is_named():
    with pytest.raises(ValueError, match="Linear has no list of modules named"):
        find_blocks(nn.Linear(2, 2))
    with training_blocks(nn.Linear(2, 2)):
        pass  # nothing asked, nothing to find
