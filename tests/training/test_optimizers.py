from copy import deepcopy

import pytest
import torch
from tests.parity import assert_parity
from tests.training.test_update_rules import SHAPES, draw_gradients, some_parameters
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.training.optimizer_state import load_named_state, named_state
from llmguide.training.optimizers import AdamW, Muon, make_optimizer, param_groups
from llmguide.training.schedules import warmup_cosine


def tiny_model() -> nn.Module:
    return build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))


def names(group: dict) -> list[str]:
    return [name for name, _ in group["params"]]


def test_matrices_decay_and_vectors_do_not():
    decaying, rest = param_groups(tiny_model(), weight_decay=0.3)
    assert (decaying["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    assert all(name.endswith("weight") and p.ndim == 2 for name, p in decaying["params"])
    assert all("norm" in name or name.endswith("bias") for name in names(rest))


def test_muon_takes_the_matrices_of_the_blocks():
    hidden, embeddings, _ = param_groups(tiny_model(), rule="muon")
    assert (hidden["use_muon"], embeddings["use_muon"]) == (True, False)
    assert len(hidden["params"]) == 2 * 6  # q, k, v, o, up and down of two blocks
    assert names(embeddings) == ["tokens.weight", "positions.weight"]


def test_frozen_parameters_are_left_out():
    model = nn.Linear(2, 3)
    model.weight.requires_grad = False
    assert [names(group) for group in param_groups(model)] == [["bias"]]


# Parity


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("betas", "eps", "weight_decay"), [((0.9, 0.95), 1e-8, 0.1), ((0.8, 0.999), 1e-4, 0.0)]
)
@pytest.mark.parametrize("fused", [False, True])
def test_adamw_equals_torch_over_many_steps(betas, eps, weight_decay, dtype, fused):
    ours, peers = ([nn.Parameter(p.detach().to(dtype)) for p in some_parameters(*SHAPES)] for _ in range(2))
    options = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "fused": fused}
    optimizer, peer = AdamW(ours, lr=1.0, **options), torch.optim.AdamW(peers, lr=1.0, **options)
    generator = torch.Generator().manual_seed(1)
    for step in range(1, 201):
        lr = 0.05 * warmup_cosine(step, n_steps=200, n_warmup=20)
        draw_gradients(ours, generator)
        for i, (a, b) in enumerate(zip(ours, peers, strict=True)):
            a.grad = None if i == step % 7 else a.grad  # some get none, as an idle expert
            b.grad = a.grad
        for each in (optimizer, peer):
            each.param_groups[0]["lr"] = lr
            each.step()
    of = "llmguide.training.optimizers.AdamW"
    for a, b in zip(ours, peers, strict=True):
        assert_parity(a, b, of=of, against="torch.optim.AdamW", atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw"])
def test_muon_and_its_adamw_groups_equal_torch(scaling):
    if not hasattr(torch.optim, "Muon"):  # torch before 2.9
        pytest.skip("this torch has no Muon")
    shapes = [(16, 16), (24, 10), (10, 24)]
    ours, peers = some_parameters(*shapes, (7, 5), (13,)), some_parameters(*shapes, (7, 5), (13,))
    groups = [{"params": ours[:3]}, {"params": ours[3:], "use_muon": False}]
    optimizer = Muon(groups, lr=0.02, momentum=0.9, weight_decay=0.1, scaling=scaling, betas=(0.8, 0.99))
    muon = torch.optim.Muon(peers[:3], lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn=scaling)
    adamw = torch.optim.AdamW(peers[3:], lr=0.02, weight_decay=0.1, betas=(0.8, 0.99))
    generator = torch.Generator().manual_seed(2)
    for _ in range(50):
        draw_gradients(ours, generator)
        for a, b in zip(ours, peers, strict=True):
            b.grad = a.grad
        for each in (optimizer, muon, adamw):
            each.step()
    of = "llmguide.training.optimizers.Muon"
    for a, b in zip(ours[:3], peers[:3], strict=True):
        assert_parity(a, b, of=of, against="torch.optim.Muon", atol=0)
    for a, b in zip(ours[3:], peers[3:], strict=True):
        assert_parity(a, b, of=of, against="torch.optim.AdamW", atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("kind", [AdamW, Muon])
def test_schedulers_of_torch_set_the_learning_rate(kind):
    """The weights after ten steps are those of a loop that sets the same rates by hand."""
    (scheduled,), (by_hand,) = some_parameters((4, 6)), some_parameters((4, 6))
    optimizer, plain = kind([scheduled], lr=0.3), kind([by_hand], lr=0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.1, total_iters=9)
    generator = torch.Generator().manual_seed(1)
    for step in range(10):
        draw_gradients([scheduled], generator)
        by_hand.grad = scheduled.grad
        plain.param_groups[0]["lr"] = 0.3 - 0.03 * step
        optimizer.step()
        plain.step()
        schedule.step()
    torch.testing.assert_close(scheduled, by_hand)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.03)


# Properties


@pytest.mark.parametrize(("rule", "fused"), [("adamw", False), ("adamw", True), ("muon", True)])
@pytest.mark.parametrize("by_name", [False, True])
def test_a_saved_optimizer_goes_on_as_if_nothing_had_happened(rule, fused, by_name):
    def train_on(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            draw_gradients(list(model.parameters()), torch.Generator().manual_seed(seed))
            optimizer.step()

    def new_optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return (Muon if rule == "muon" else AdamW)(param_groups(model, rule=rule), lr=0.01, fused=fused)

    torch.manual_seed(0)
    model, copy = tiny_model(), tiny_model()
    optimizer, resumed = new_optimizer(model), new_optimizer(copy)
    train_on(model, optimizer, range(3))
    saved = deepcopy(named_state(optimizer) if by_name else optimizer.state_dict())
    copy.load_state_dict(model.state_dict())
    train_on(model, optimizer, range(3, 6))
    if by_name:
        load_named_state(resumed, saved)
    else:
        resumed.load_state_dict(saved)
    train_on(copy, resumed, range(3, 6))
    assert all(a.equal(b) for a, b in zip(model.parameters(), copy.parameters(), strict=True))


def test_the_fused_kernel_computes_the_formula():
    plain, fused = some_parameters((37, 41), (13,)), some_parameters((37, 41), (13,))
    for parameters in plain, fused:
        optimizer = AdamW(parameters, lr=0.01, fused=parameters is fused)
        generator = torch.Generator().manual_seed(5)
        for step in range(100):
            draw_gradients(parameters, generator)
            parameters[1].grad = None if step % 3 else parameters[1].grad
            optimizer.step()
    for a, b in zip(plain, fused, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=0)


def test_no_gradient_no_step():
    (p,) = some_parameters((3, 2))
    before = p.detach().clone()
    optimizer = AdamW([("p", p)], lr=1.0, weight_decay=0.5)
    optimizer.step()
    assert p.equal(before)
    assert named_state(optimizer) == {}


def test_a_closure_is_evaluated_with_gradients():
    (p,) = some_parameters((3, 2))
    optimizer = Muon([p], lr=0.1)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        total = p.square().sum()
        total.backward()
        return total

    values = [optimizer.step(loss).item() for _ in range(5)]
    assert values == sorted(values, reverse=True)


def test_wrong_uses_are_named():
    with pytest.raises(ValueError, match="Linear has no parameter named"):
        make_optimizer(nn.Linear(2, 3), rule="muon")
    with pytest.raises(ValueError, match=r"not a parameter of shape \(3,\)"):
        Muon(some_parameters((2, 2), (3,)))
    optimizer = AdamW([("w", nn.Parameter(torch.zeros(2)))])
    for name, size in [("other", 2), ("w", 3)]:
        with pytest.raises(ValueError, match=f"the state holds '{name}' of shape \\({size},\\)"):
            load_named_state(optimizer, {name: {"exp_avg": torch.zeros(size)}})
    momentum = {"w": {"exp_avg": torch.zeros(2)}}
    with pytest.raises(ValueError, match="the state of 'w' is of rule='muon', its group has 'adamw'"):
        load_named_state(optimizer, momentum)
