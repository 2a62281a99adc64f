from copy import deepcopy
from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch import nn

from llmguide.config import ModelConfig
from llmguide.models import build
from llmguide.training.optim import (
    Optimizer,
    ParamGroup,
    adamw,
    clip_grad_norm_,
    muon,
    orthogonalize,
    param_groups,
)
from llmguide.training.schedules import warmup_cosine

SHAPES = [(7, 5), (3, 11), (13,), ()]


def some_parameters(*shapes: tuple[int, ...], seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def draw_gradients(parameters: list[nn.Parameter], generator: torch.Generator) -> None:
    for p in parameters:
        scale = 10 ** (4 * torch.rand((), generator=generator) - 3)
        p.grad = (scale * torch.randn(p.shape, generator=generator)).to(p.dtype)


def tiny_model() -> nn.Module:
    return build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))


# By hand


def test_adamw_two_steps_by_hand():
    # betas (1/2, 3/4), lr 1, decay 1/10, gradients 2 and then 4, weight 1:
    # m = 1, v = 1; corrected 2 and 4; 0.9 x 1 - 2 / 2 = -0.1
    # m = 2.5, v = 4.75; corrected 2.5 / 0.75 and 4.75 / 0.4375
    p, m, v = torch.tensor(1.0), torch.tensor(0.0), torch.tensor(0.0)
    settings_ = {"lr": 1.0, "betas": (0.5, 0.75), "eps": 0.0, "weight_decay": 0.1}
    p, m, v = adamw(p, torch.tensor(2.0), m, v, step=1, **settings_)
    torch.testing.assert_close(torch.stack([p, m, v]), torch.tensor([-0.1, 1.0, 1.0]))
    p, m, v = adamw(p, torch.tensor(4.0), m, v, step=2, **settings_)
    expected = -0.09 - (2.5 / 0.75) / sqrt(4.75 / 0.4375)
    torch.testing.assert_close(torch.stack([p, m, v]), torch.tensor([expected, 2.5, 4.75]))


def test_muon_of_a_diagonal_by_hand():
    # Orthogonalizing a diagonal matrix applies the polynomial to its normalized entries.
    def f(s: float) -> float:
        return 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5

    s = [0.6, 0.8]
    for _ in range(5):
        s = [f(x) for x in s]
    grad = torch.diag(torch.tensor([3.0, 4.0, 0.0]))[:2]
    p, m = muon(torch.ones(2, 3), grad, torch.zeros(2, 3), lr=0.5, weight_decay=0.2, momentum=0.75)
    expected = torch.full((2, 3), 0.9)
    expected[0, 0] -= 0.5 * 0.2 * sqrt(3) * s[0]
    expected[1, 1] -= 0.5 * 0.2 * sqrt(3) * s[1]
    torch.testing.assert_close(
        p, expected, atol=0.02, rtol=0
    )  # bfloat16 has 8 bits, and the polynomial is steep
    torch.testing.assert_close(m, grad / 4)
    wide, _ = muon(torch.ones(2, 3), grad, torch.zeros(2, 3), lr=0.5, scaling="original")
    tall, _ = muon(torch.ones(3, 2), grad.T, torch.zeros(3, 2), lr=0.5, scaling="original")
    torch.testing.assert_close(wide[0, 0].item(), 1 - 0.5 * s[0], atol=0.02, rtol=0)
    torch.testing.assert_close(tall[0, 0].item(), 1 - 0.5 * sqrt(1.5) * s[0], atol=0.02, rtol=0)


def test_matrices_decay_and_vectors_do_not():
    decaying, rest = param_groups(tiny_model(), weight_decay=0.3)
    assert (decaying.weight_decay, rest.weight_decay) == (0.3, 0.0)
    assert all(name.endswith("weight") and p.ndim == 2 for name, p in decaying.parameters.items())
    assert all("norm" in name or name.endswith("bias") for name in rest.parameters)


def test_muon_takes_the_matrices_of_the_blocks():
    hidden, embeddings, _ = param_groups(tiny_model(), rule="muon")
    assert (hidden.rule, embeddings.rule) == ("muon", "adamw")
    assert len(hidden.parameters) == 2 * 6  # q, k, v, o, up and down of two blocks
    assert list(embeddings.parameters) == ["tokens.weight", "positions.weight"]


def test_frozen_parameters_are_left_out():
    model = nn.Linear(2, 3)
    model.weight.requires_grad = False
    assert [list(group.parameters) for group in param_groups(model)] == [["bias"]]


# Parity


@pytest.mark.parity
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("betas", "eps", "weight_decay"), [((0.9, 0.95), 1e-8, 0.1), ((0.8, 0.999), 1e-4, 0.0)]
)
@pytest.mark.parametrize("fused", [False, True])
def test_adamw_equals_torch_over_many_steps(betas, eps, weight_decay, dtype, fused):
    ours, peers = ([nn.Parameter(p.detach().to(dtype)) for p in some_parameters(*SHAPES)] for _ in range(2))
    named = {str(i): p for i, p in enumerate(ours)}
    optimizer = Optimizer([ParamGroup(named, weight_decay=weight_decay)], betas=betas, eps=eps, fused=fused)
    peer = torch.optim.AdamW(peers, lr=1.0, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)
    generator = torch.Generator().manual_seed(1)
    for step in range(1, 201):
        lr = 0.05 * warmup_cosine(step, n_steps=200, n_warmup=20)
        draw_gradients(ours, generator)
        for i, (a, b) in enumerate(zip(ours, peers, strict=True)):
            a.grad = None if i == step % 7 else a.grad  # some get none, as an idle expert
            b.grad = a.grad
        peer.param_groups[0]["lr"] = lr
        optimizer.step(lr)
        peer.step()
    name = "llmguide.training.optim.Optimizer" if fused else "llmguide.training.optim.adamw"
    for a, b in zip(ours, peers, strict=True):
        assert_parity(a, b, of=name, against="torch.optim.AdamW", atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(16, 16), (24, 10), (10, 24)])
def test_muon_equals_torch_over_many_steps(shape, scaling):
    if not hasattr(torch.optim, "Muon"):  # torch before 2.9
        pytest.skip("this torch has no Muon")
    (ours,), (theirs,) = some_parameters(shape), some_parameters(shape)
    peer = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn=scaling)
    generator = torch.Generator().manual_seed(2)
    param, buffer = ours.detach(), torch.zeros(shape)
    for _ in range(50):
        draw_gradients([theirs], generator)
        param, buffer = muon(
            param, theirs.grad, buffer, lr=0.02, momentum=0.9, weight_decay=0.1, scaling=scaling
        )
        peer.step()
    assert_parity(param, theirs, of="llmguide.training.optim.muon", against="torch.optim.Muon", atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("max_norm", [0.1, 1.0, 50.0, 1e6])
def test_clipping_equals_torch(max_norm):
    ours, theirs = some_parameters(*SHAPES, (2,)), some_parameters(*SHAPES, (2,))
    for parameters in ours, theirs:
        draw_gradients(parameters[:-1], torch.Generator().manual_seed(3))  # the last has no gradient
    norm = clip_grad_norm_(ours, max_norm)
    peer = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    names = {"of": "llmguide.training.optim.clip_grad_norm_", "against": "torch.nn.utils.clip_grad_norm_"}
    assert_parity(norm, peer, **names, atol=1e-5)
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        assert_parity(a.grad, b.grad, **names, atol=1e-6)


# Properties


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_orthogonalize_brings_singular_values_near_one_and_keeps_directions(m, n, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=generator, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    out = orthogonalize(matrix)
    inner = u.T @ out @ vh.T
    away = inner - torch.diag(inner.diagonal())
    assert away.abs().max() < 1e-9
    kept = inner.diagonal()[s / s.norm() > 0.003]
    assert ((kept > 0.68) & (kept < 1.21)).all()  # the range of five iterations of the polynomial
    torch.testing.assert_close(out, orthogonalize(1000 * matrix))
    torch.testing.assert_close(out.T, orthogonalize(matrix.T))


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_adamw_ignores_the_scale_of_the_gradient(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    zero = torch.zeros(5, dtype=torch.float64)
    a = b = (zero, zero, zero)
    for step in range(1, 6):
        grad = torch.randn(5, generator=generator, dtype=torch.float64)
        a = adamw(a[0], grad, *a[1:], step=step, lr=0.1, eps=0.0)
        b = adamw(b[0], scale * grad, *b[1:], step=step, lr=0.1, eps=0.0)
    torch.testing.assert_close(a[0], b[0])


def test_one_step_is_a_function_that_leaves_its_arguments_alone():
    tensors = [torch.full((2, 2), x) for x in (1.0, 2.0, 3.0, 4.0)]
    adamw(*tensors, step=3, lr=0.1, weight_decay=0.1)
    muon(*tensors[:3], lr=0.1, weight_decay=0.1)
    assert [t.unique().tolist() for t in tensors] == [[1.0], [2.0], [3.0], [4.0]]


@pytest.mark.parametrize(("rule", "fused"), [("adamw", False), ("adamw", True), ("muon", True)])
def test_a_saved_optimizer_goes_on_as_if_nothing_had_happened(rule, fused):
    def train_on(model: nn.Module, optimizer: Optimizer, seeds: range) -> None:
        for seed in seeds:
            draw_gradients(list(model.parameters()), torch.Generator().manual_seed(seed))
            optimizer.step(0.01)

    torch.manual_seed(0)
    model, copy = tiny_model(), tiny_model()
    optimizer = Optimizer(param_groups(model, rule=rule), fused=fused)
    train_on(model, optimizer, range(3))
    saved = deepcopy(optimizer.state_dict())
    copy.load_state_dict(model.state_dict())
    train_on(model, optimizer, range(3, 6))
    resumed = Optimizer(param_groups(copy, rule=rule), fused=fused)
    resumed.load_state_dict(saved)
    train_on(copy, resumed, range(3, 6))
    assert all(a.equal(b) for a, b in zip(model.parameters(), copy.parameters(), strict=True))


def test_the_fused_kernel_computes_the_formula():
    plain, fused = some_parameters((37, 41), (13,)), some_parameters((37, 41), (13,))
    for parameters in plain, fused:
        named = {str(i): p for i, p in enumerate(parameters)}
        optimizer = Optimizer([ParamGroup(named, weight_decay=0.1)], fused=parameters is fused)
        generator = torch.Generator().manual_seed(5)
        for step in range(100):
            draw_gradients(parameters, generator)
            parameters[1].grad = None if step % 3 else parameters[1].grad
            optimizer.step(0.01)
    for a, b in zip(plain, fused, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=0)


def test_muon_updates_have_the_size_that_moonlight_wants():
    """The root mean square of an orthogonal matrix is 1 / sqrt(max(m, n)), so the update's is about 0.2."""
    for shape in [(32, 32), (64, 16), (16, 64)]:
        grad = torch.randn(shape, generator=torch.Generator().manual_seed(4))
        update, _ = muon(torch.zeros(shape), grad, torch.zeros(shape), lr=1.0)
        assert 0.13 < update.square().mean().sqrt() < 0.25


def test_no_gradient_no_step():
    (p,) = some_parameters((3, 2))
    before = p.detach().clone()
    optimizer = Optimizer([ParamGroup({"p": p}, weight_decay=0.5)])
    optimizer.step(1.0)
    assert p.equal(before)
    assert optimizer.state_dict() == {}
    assert clip_grad_norm_([p], 1.0) == 0
    p.grad = torch.ones(3, 2)
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_clipping_shows_a_gradient_that_is_not_finite(bad):
    (p,) = some_parameters((3,))
    p.grad = torch.tensor([1.0, bad, 1.0])
    assert not clip_grad_norm_([p], 1.0).isfinite()


def test_wrong_uses_are_named():
    with pytest.raises(ValueError, match="Linear has no parameter named"):
        param_groups(nn.Linear(2, 3), rule="muon")
    optimizer = Optimizer([ParamGroup({"w": nn.Parameter(torch.zeros(2))})])
    for name, size in [("other", 2), ("w", 3)]:
        with pytest.raises(ValueError, match=f"the state holds '{name}' of shape \\({size},\\)"):
            optimizer.load_state_dict({name: {"exp_avg": torch.zeros(size)}})
    momentum = {"w": {"exp_avg": torch.zeros(2)}}
    with pytest.raises(ValueError, match="the state of 'w' is of rule='muon', its group has 'adamw'"):
        optimizer.load_state_dict(momentum)
