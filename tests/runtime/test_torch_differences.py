"""Where the subset differs from PyTorch: what PyTorch does, and what the subset does instead."""

import os
import subprocess
import sys

import pytest
import torch
from tests.runtime.subset import describe_all, run_in_subset

SAMPLE = "import torch; torch.manual_seed(0); print(torch.randn(1000).tolist())"


def both(*snippets):
    """What the last line of each snippet gives in the subset, and in PyTorch."""
    pairs = zip(run_in_subset(snippets), describe_all(snippets), strict=True)
    return [[found["result"][0] for found in pair] for pair in pairs]


def refused(*snippets):
    """The error of the subset, for each of the snippets, which PyTorch runs."""
    for theirs in describe_all(snippets):
        assert "error" not in theirs, theirs
    return [f"{ours['error']}: {ours['message']}" for ours in run_in_subset(snippets)]


@pytest.mark.nightly
@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="needs AVX2")
def test_many_normal_numbers_depend_on_the_processor_in_pytorch_only():
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run(
        [sys.executable, "-c", SAMPLE], env=environment, capture_output=True, text=True, check=True
    )
    torch.manual_seed(0)
    plain, here = torch.tensor(eval(done.stdout)), torch.randn(1000)
    assert not torch.equal(plain, here)
    assert torch.allclose(plain, here, rtol=0, atol=1e-5)
    (ours,) = run_in_subset(["torch.randn(1000)"])
    assert torch.equal(torch.tensor(ours["result"][0]["tensor"]), here)


@pytest.mark.parametrize("values", [[3, 1, 1, 3, 1] * 20, [3.0, 1.0, 1.0, 3.0, 1.0] * 20])
def test_equal_elements_keep_their_order(values):
    calls = {
        f"T({values}).{call}": torch.tensor(values).sort(descending=is_descending, stable=True).indices
        for is_descending in (False, True)
        for call in (
            f"sort(descending={is_descending}).indices",
            f"argsort(descending={is_descending})",
            f"topk(30, largest={is_descending}).indices",
        )
    }
    for ours, theirs, stable in zip(run_in_subset(calls), describe_all(calls), calls.values(), strict=True):
        order = ours["result"][0]["tensor"]
        assert order == stable[: len(order)].tolist()
        assert order != theirs["result"][0]["tensor"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_rounded_and_stored_in_four_bytes(dtype):
    ((ours, theirs),) = both(f"x = T([1.0, 3.0], dtype=torch.{dtype}) / 3; [x.tolist(), x.element_size()]")
    assert ours == theirs
    assert ours["items"][0]["items"][0] != 1 / 3
    ones = f"torch.ones(8, dtype=torch.{dtype})"
    (stored,) = run_in_subset([f"{ones}._array.nbytes"])
    assert stored["result"][0] == 4 * 8
    for message in refused(f"torch.randn(16, dtype=torch.{dtype})", f"{ones}.view(torch.int16)"):
        assert "not in the in-page subset" in message


def test_empty_tensors_hold_zeros():
    (ours,) = run_in_subset(["[torch.full((1000,), 7.0).sum() for _ in range(9)]; torch.empty(1000)"])
    assert ours["result"][0]["tensor"] == [0.0] * 1000


REFUSED = [
        "torch.Tensor([1, 2])",
        *(f"sum(t.sum() for t in torch.linalg.{name}(torch.eye(3).requires_grad_())).backward()" for name in ("qr", "svd", "eigh")),
        "torch.linalg.cholesky(torch.eye(3).requires_grad_()).sum().backward()",
        "torch.linalg.lstsq(torch.eye(3).requires_grad_(), torch.ones(3, 1)).solution.sum().backward()",
        "T([1.0, 2.0]).requires_grad_().quantile(0.5).backward()",
        "x = T([1.0, 2.0]).requires_grad_(); x.scatter_reduce(0, T([0, 0]), x, 'prod').sum().backward()",
        *(f"torch.nn.functional.{loss}, {before}=False)" for loss in ("mse_loss(leaf(2), leaf(2)", "kl_div(leaf(2), leaf(2)", "cross_entropy(leaf(2), T(1)", "nll_loss(leaf(2), T(1)") for before in ("reduce", "size_average")),
]  # fmt: skip


def test_what_pytorch_does_is_refused():
    for snippet, message in zip(REFUSED, refused(*REFUSED), strict=True):
        assert "not in the in-page subset" in message, snippet


def test_most_functions_take_no_out():
    calls = ("exp(T([1.0])", "matmul(torch.ones(2, 2), torch.ones(2, 2)", "zeros(2", "arange(2", "nn.functional.normalize(torch.ones(1, 1)")  # fmt: skip
    for message in refused(*(f"torch.{call}, out=torch.empty(0))" for call in calls)):
        assert message.startswith("TypeError")
    calls = ("cat([T([[2.0]])]", "mm(T([[2.0]]), T([[3.0]])", "log_softmax(T([[2.0]]), 0")
    for ours, theirs in both(*(f"out = torch.ones(1, 1); torch.{call}, out=out); out" for call in calls)):
        assert ours["tensor"] == theirs["tensor"] != [[1.0]]


def test_only_relu_and_dropout_write_in_place():
    names = ("silu", "leaky_relu", "elu")
    for message in refused(*(f"torch.nn.functional.{name}(T([1.0]), inplace=True)" for name in names)):
        assert message.startswith("TypeError")


def test_there_is_one_device_and_one_thread():
    devices = ("cuda", "mps", "meta")
    threads = "torch.set_num_threads(4); torch.get_num_threads()"
    *moved, n = run_in_subset([*(f"torch.ones(2).to({device!r})" for device in devices), threads])
    for device, found in zip(devices, moved, strict=True):
        assert found == {
            "error": "RuntimeError",
            "message": f"the in-page subset has the CPU only, not {device}; run with PyTorch",
        }
    assert n["result"][0] == 1


def test_attention_has_no_second_derivative():
    form = (
        "x = leaf({}); g, = torch.autograd.grad(torch.nn.functional.scaled_dot_product_attention(x, x, x)"
        ".pow(3).sum(), x, create_graph=True); torch.autograd.grad(g.sum(), x)[0]"
    )
    assert refused(form.format("1, 3, 4"))[0].startswith("RuntimeError: the gradient of ")
    for found in (*run_in_subset([form.format("1, 1, 3, 4")]), *describe_all([form.format("1, 1, 3, 4")])):
        assert found["error"] == "RuntimeError"


def test_hooks():
    tensor = "x = leaf(1); x.register_hook(lambda g: 2 * g); x.sum().backward(); x.grad"
    module = "m = torch.nn.Identity(); m.register_forward_hook(lambda m, x, y: 2 * y); m(T([1.0]))"
    for ours, theirs in both(tensor, module):
        assert ours["tensor"] == theirs["tensor"] == [2.0]
    for message in refused(
        "torch.nn.Identity().register_full_backward_hook(print) and 0",
        "leaf(1).exp().grad_fn.register_hook(print) and 0",
        "torch.optim.SGD([leaf(1)], 0.1).register_step_post_hook(print) and 0",
    ):
        assert message.startswith("AttributeError")


def test_checkpointing_computes_once():
    ((ours, theirs),) = both(
        "calls = []; x = leaf(3); y = torch.utils.checkpoint.checkpoint(lambda t: calls.append(1) or t.exp() * t, x, "
        "use_reentrant=False); y.sum().backward(); [len(calls), x.grad]"
    )
    assert [found["items"][0] for found in (ours, theirs)] == [1, 2]
    assert ours["items"][1]["tensor"] == pytest.approx(theirs["items"][1]["tensor"])


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_options_of_optimizers(name):
    missing = ("amsgrad", "capturable", "differentiable")
    step = "x = leaf(3); o = torch.optim.{}([x], 0.1{}); x.sum().backward(); o.step(); x.detach()"
    *errors, plain, foreach, fused = run_in_subset(
        [
            *(f"torch.optim.{name}([leaf(1)], {option}=True)" for option in missing),
            *(step.format(name, option) for option in ("", ", foreach=True", ", fused=True")),
        ]
    )
    for option, found in zip(missing, errors, strict=True):
        assert found["message"] == f"{option}=True is not in the in-page subset; run with PyTorch"
    assert plain == foreach == fused


def test_neither_loads_the_files_of_the_other(tmp_path):
    theirs, ours = tmp_path / "theirs.pt", tmp_path / "ours.pt"
    torch.save({"w": torch.ones(2)}, theirs)
    saved, loaded, other, pickled = run_in_subset(
        [
            f"torch.save({{'w': torch.ones(2)}}, {str(ours)!r}); 0",
            f"torch.load({str(ours)!r})['w']",
            f"torch.load({str(theirs)!r})",
            f"torch.load({str(ours)!r}, weights_only=False)",
        ]
    )
    assert "error" not in saved
    assert loaded["result"][0]["tensor"] == [1.0, 1.0]
    assert "is no file of the in-page subset's torch.save" in other["message"]
    assert "not in the in-page subset" in pickled["message"]
    with pytest.raises(RuntimeError):
        torch.load(ours)


def test_a_wrong_argument_gets_the_message_of_python():
    ours, theirs = *run_in_subset(["T([1.0]).sum(foo=1)"]), *describe_all(["T([1.0]).sum(foo=1)"])
    assert ours["error"] == theirs["error"] == "TypeError"
    assert ours["message"] == "sum() got an unexpected keyword argument 'foo'"
    assert ours["message"] != theirs["message"]
