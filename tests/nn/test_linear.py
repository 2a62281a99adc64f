"""Dense layers by oneDNN against torch's own: numbers, gradients of every kind, and what is left to torch."""

import runpy
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.models.test_models import CONFIGS, lively, tokens
from tests.parity import assert_parity
from torch import nn
from torch.func import grad, jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

from llmguide.models import build
from llmguide.nn import _linear as module
from llmguide.nn._linear import Linear, linear
from llmguide.training.losses import next_token_loss

NAMES = {"of": "llmguide.nn._linear.linear", "against": "torch.nn.functional.linear"}


@pytest.fixture
def onednn(monkeypatch):
    """Take oneDNN on every processor and for every size."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch was built without oneDNN")
    monkeypatch.setattr(module, "HAS_FASTER_ONEDNN", True)
    monkeypatch.setattr(module, "FEWEST_PRODUCTS", 1)


def layouts(*shape):
    """Tensors of one shape that lie differently in memory."""
    cut = tuple(slice(1, -1) for _ in shape)
    return [
        torch.randn(shape),
        torch.randn(shape[::-1]).permute(*reversed(range(len(shape)))),
        torch.randn([n + 2 for n in shape])[cut],
        torch.randn(1, *shape[1:]).expand(shape),
        torch.randn(*shape[:-1], 1).expand(shape),
    ]


def is_onednn(out):
    return type(out.grad_fn).__name__ == "_OneDNNLinearBackward"


@pytest.mark.parity
@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (3, 5, 7), (2, 3, 5, 7), (0, 7), (3, 4, 0)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_against_torch_in_every_layout(shape, has_bias):
    torch.manual_seed(0)
    for x, weight, gradient in product(layouts(*shape), layouts(9, shape[-1]), layouts(*shape[:-1], 9)):
        results = []
        for function in (linear, F.linear):
            leaves = [part.detach().clone(memory_format=torch.preserve_format) for part in (x, weight)]
            leaves += [torch.ones(9)] if has_bias else []
            out = function(*[leaf.requires_grad_() for leaf in leaves])
            out.backward(gradient)
            results.append((out, *[leaf.grad for leaf in leaves]))
            assert is_onednn(out) == (function is linear and x.numel() > 0)
        for ours, theirs in zip(*results, strict=True):
            assert_parity(ours, theirs, atol=1e-5, **NAMES)


@pytest.mark.usefixtures("onednn")
def test_only_the_gradients_that_are_wanted():
    x, weight, bias = torch.randn(4, 3), torch.randn(2, 3), torch.randn(2)
    for wanted in product([True, False], repeat=3):
        leaves = [leaf.clone().requires_grad_(w) for leaf, w in zip((x, weight, bias), wanted, strict=True)]
        out = linear(*leaves)
        assert out.requires_grad == any(wanted)
        if any(wanted):
            out.sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == list(wanted)


@pytest.mark.parity
@pytest.mark.usefixtures("onednn")
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap
def test_derivatives_of_other_kinds():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(4, 3, requires_grad=True), torch.randn(2, 3), torch.randn(2)

    def twice(function):
        (first,) = torch.autograd.grad(function(x, weight, bias).tanh().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    def by_row(function):
        return vmap(grad(lambda w, row: function(row[None], w).square().sum()), (None, 0))(weight, x.detach())

    def forward(function):
        inputs = x.detach(), weight, bias
        return jvp(function, inputs, tuple(torch.ones_like(part) for part in inputs))[1]

    @torch.no_grad()
    def forward_without_graph(function):
        return forward(function)

    @torch.no_grad()
    def rows_without_graph(function):
        return vmap(lambda row: function(row[None], weight, bias))(x)

    for derivative in (twice, by_row, forward, forward_without_graph, rows_without_graph):
        assert_parity(derivative(linear), derivative(F.linear), atol=1e-5, **NAMES)


@pytest.mark.parity
@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_models_learn_the_same(name, monkeypatch):
    model, ids = lively(build(CONFIGS[name])), tokens(2, 8)
    results = []
    for fast in (True, False):
        monkeypatch.setattr(module, "HAS_FASTER_ONEDNN", fast)
        loss = next_token_loss(model, ids)
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        results.append(torch.cat([loss.reshape(1), *[g.flatten() for g in gradients if g is not None]]))
    assert_parity(*results, atol=1e-5, **NAMES)


@pytest.mark.usefixtures("onednn")
def test_what_torch_does_itself(monkeypatch):
    x, layer = torch.randn(4, 3), Linear(3, 2)
    assert is_onednn(layer(x))
    assert not is_onednn(layer(x[0]))
    assert not is_onednn(layer.double()(x.double()))
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert not module._suits_onednn(torch.randn(4, 5), layer.weight)  # for an error in torch's words
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not is_onednn(layer(x))


def test_few_products_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(module, "HAS_FASTER_ONEDNN", True)
    assert not is_onednn(Linear(3, 2)(torch.randn(4, 3)))


def test_operations_are_counted_whoever_does_them():
    with FlopCounterMode(display=False) as counter:
        linear(torch.randn(64, 256), torch.randn(256, 256))
    assert counter.get_total_flops() == 2 * 64 * 256 * 256


def test_the_module_can_be_imported_again(monkeypatch):
    path = Path(module.__file__)
    read = Path.read_text
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, *options, **named: (
            "AuthenticAMD" if path == Path("/proc/cpuinfo") else read(path, *options, **named)
        ),
    )
    for _ in range(2):
        again = runpy.run_path(str(path))
    assert again["HAS_FASTER_ONEDNN"] == hasattr(torch.ops.mkldnn, "_linear_pointwise")


def test_a_layer_is_torchs_to_whoever_asks():
    torch.manual_seed(0)
    ours = Linear(3, 2)
    torch.manual_seed(0)
    theirs = nn.Linear(3, 2)
    assert isinstance(ours, nn.Linear)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 3)
    assert ours(x).equal(theirs(x))
