import pytest
import torch
from tests.runtime.small_q4 import small_model
from torch import nn

from llmguide.post_training.adapters.lora import adapter_state, apply_lora
from llmguide.post_training.adapters.quantized_linear import quantize_model
from llmguide.training.trainable import fingerprint, load_trainable_state, trainable_state


def model(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 2))


def test_frozen_weights_come_from_the_model_that_is_loaded_into():
    saved, other = model(0), model(0)
    for each in (saved, other):
        each[0].requires_grad_(False)
    with torch.no_grad():
        saved[2].weight.fill_(1)
        saved[1].running_mean.fill_(2)
    load_trainable_state(other, trainable_state(saved), fingerprint(saved), of="run")
    for name, tensor in saved.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert "0.weight" not in trainable_state(saved)
    changed = model(1)
    changed[0].requires_grad_(False)
    with pytest.raises(ValueError, match=r"run continues from other frozen weights .* such as 0\.weight"):
        load_trainable_state(changed, trainable_state(saved), fingerprint(saved), of="run")


def test_a_model_that_is_trained_in_full_is_saved_in_full():
    whole = model(0)
    assert trainable_state(whole).keys() == whole.state_dict().keys()
    assert fingerprint(whole) == {}
    with pytest.raises(RuntimeError, match=r"run lacks 2\.weight"):
        load_trainable_state(
            whole, {k: v for k, v in whole.state_dict().items() if k != "2.weight"}, of="run"
        )
    with pytest.raises(RuntimeError, match="run holds more, which"):
        load_trainable_state(whole, whole.state_dict() | {"more": torch.ones(1)}, of="run")


def test_a_quantized_base_is_left_out():
    adapted = apply_lora(
        quantize_model(nn.Sequential(nn.Linear(64, 64)), "0"), rank=2, alpha=4, target_modules="0"
    )
    assert list(trainable_state(adapted)) == ["0.adapters.default.A", "0.adapters.default.B"]
    assert {name.rpartition(".")[2] for name in fingerprint(adapted)} >= {"packed", "bias"}


def test_4_bit_weights_are_left_out_under_each_of_their_names():
    model = small_model()  # whose head is also its embedding
    assert trainable_state(model).keys() == adapter_state(model).keys()
    assert {"head.codes", "head.correction.codes", "tokens.table.codes"} <= fingerprint(model).keys()
