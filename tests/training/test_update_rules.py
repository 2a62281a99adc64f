from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity
from torch import nn

from llmguide.training.update_rules import adamw, clip_grad_norm_, muon, orthogonalize

SHAPES = [(7, 5), (3, 11), (13,), ()]


def some_parameters(*shapes: tuple[int, ...], seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def draw_gradients(parameters: list[nn.Parameter], generator: torch.Generator) -> None:
    for p in parameters:
        scale = 10 ** (4 * torch.rand((), generator=generator) - 3)
        p.grad = (scale * torch.randn(p.shape, generator=generator)).to(p.dtype)


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


# Parity


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
    assert_parity(param, theirs, of="llmguide.training.update_rules.muon", against="torch.optim.Muon", atol=0)


@pytest.mark.parity
@pytest.mark.parametrize("max_norm", [0.1, 1.0, 50.0, 1e6])
def test_clipping_equals_torch(max_norm):
    ours, theirs = some_parameters(*SHAPES, (2,)), some_parameters(*SHAPES, (2,))
    for parameters in ours, theirs:
        draw_gradients(parameters[:-1], torch.Generator().manual_seed(3))  # the last has no gradient
    norm = clip_grad_norm_(ours, max_norm)
    peer = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    names = {
        "of": "llmguide.training.update_rules.clip_grad_norm_",
        "against": "torch.nn.utils.clip_grad_norm_",
    }
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


def test_muon_updates_have_the_size_that_moonlight_wants():
    """The root mean square of an orthogonal matrix is 1 / sqrt(max(m, n)), so the update's is about 0.2."""
    for shape in [(32, 32), (64, 16), (16, 64)]:
        grad = torch.randn(shape, generator=torch.Generator().manual_seed(4))
        update, _ = muon(torch.zeros(shape), grad, torch.zeros(shape), lr=1.0)
        assert 0.13 < update.square().mean().sqrt() < 0.25


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_clipping_shows_a_gradient_that_is_not_finite(bad):
    (p,) = some_parameters((3,))
    p.grad = torch.tensor([1.0, bad, 1.0])
    assert not clip_grad_norm_([p], 1.0).isfinite()


def test_clipping_without_gradients_gives_norm_zero():
    assert clip_grad_norm_(some_parameters((3, 2)), 1.0) == 0
