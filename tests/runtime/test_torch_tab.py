"""The subset on the tab's Python, numpy and 32-bit integers: the same snippets in Pyodide, under Node."""

import json
import math
import os
import subprocess

import pytest
from site_tools.tab.tab_assets import KERNELS, installed
from tests.runtime import test_nn as nn
from tests.runtime import test_torch_autograd as autograd
from tests.runtime import test_torch_operations as operations
from tests.runtime import test_torch_printing as printing
from tests.runtime import test_torch_random as random
from tests.runtime.subset import REPOSITORY, describe_all, differences

SITE = installed("jaxtyping").parent
PACKAGES = [*SITE.glob("jaxtyping*"), SITE / "wadler_lindig"]  # of llmguide; jaxtyping reads its metadata
NUMPY = next((REPOSITORY / ".cache" / "wheels").glob("numpy-*.whl"), None)
PROGRAM = """
import { loadPyodide } from "pyodide";
import { readFileSync } from "node:fs";
const { repository, wheels, packages, kernel, given, code } = JSON.parse(readFileSync(0, "utf8"));
const { addKernels, withMemory } = await import(`${repository}/runtime/kernels.mjs`);
const stdout = (text) => process.stderr.write(text + "\\n");
const { pyodide, memory } = await withMemory(() => loadPyodide({ stdout }));
await addKernels(pyodide, memory, readFileSync(kernel));
for (const wheel of wheels) pyodide.unpackArchive(new Uint8Array(readFileSync(wheel)), "wheel");
pyodide.mountNodeFS("/runtime", `${repository}/runtime`);
pyodide.mountNodeFS("/guide/tests/runtime", `${repository}/tests/runtime`);
pyodide.mountNodeFS("/src", `${repository}/src`);
for (const [name, folder] of Object.entries(packages)) pyodide.mountNodeFS(`/packages/${name}`, folder);
pyodide.globals.set("given", JSON.stringify(given));
pyodide.runPython("import sys; sys.path[:0] = ['/runtime', '/guide/tests/runtime', '/src', '/packages']");
try {
  process.stdout.write(pyodide.runPython(code));
} catch (error) {  // uncaught, it would come after a megabyte of Pyodide's source
  process.stderr.write(error.message);
  process.exitCode = 1;
}
"""
DESCRIBE = """
import json
import subset
from torch import array_matmul
assert bool(array_matmul.kernel) == %(has_kernel)s
array_matmul.WORTH = 1  # also the small products of the snippets
json.dumps(subset.describe_all(json.loads(given)))
"""
# Programs of the tests below, one after the other, as Pyodide takes seconds to start: the first as where the
# browser cannot run the kernels.
IN_TURN = """
import json, sys, traceback
from pyodide.code import eval_code


def result(code, given):
    try:
        return json.loads(eval_code(code, {"given": json.dumps(given)}))
    except Exception:
        return traceback.format_exc()


without, *others = json.loads(given)
sys.modules["torch_kernels"] = None
found = [result(*without)]
for name in [*sys.modules]:
    if name.partition(".")[0] in {"torch", "torch_kernels", "subset", "llmguide"}:
        del sys.modules[name]
json.dumps(found + [result(*each) for each in others])
"""
# Arrays as they come: turned, with gaps, reversed, not finite. A NaN has many patterns of bits: all count as one.
SAME_BITS = """
import json
import numpy as np
from torch import array_matmul
assert array_matmul.kernel
array_matmul.WORTH = 1
draw = np.random.RandomState(0)


def wild(a):
    found = draw.choice([np.inf, -np.inf, np.nan, -0.0], a.shape)
    return np.where(draw.rand(*a.shape) < 0.02, found, a).astype(np.float32)


forms = {
    "plain": lambda a: a,
    "turned": lambda a: a.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "gaps": lambda a: np.repeat(np.repeat(a, 3, -1), 2, -2)[..., ::2, ::3],
    "reversed": lambda a: a[..., ::-1, ::-1],
    "wild": wild,
}


def bits(a):
    return a.dtype.name, np.where(np.isnan(a), np.float32(np.nan), a).view(np.int32).tolist()


different = []
for shapes in json.loads(given):
    for name, form in forms.items():
        x, y = (form(draw.randn(*shape).astype(np.float32)) for shape in shapes)
        if bits(array_matmul.array_matmul(x, y)) != bits(np.matmul(x, y)):
            different.append([name, *shapes])
json.dumps(different)
"""
# Steps of Adam by the kernel and by numpy, of arrays with gaps, of other types, or that cannot be written to.
SAME_STEPS = """
import json
import numpy as np
import torch
from torch.optim import adam
draw = np.random.RandomState(0)
assert adam.kernel


def moved(kernel, n, form, options):
    adam.kernel = kernel
    p, g, m, v = (form(draw.randn(n, 2).astype(np.float32)) for _ in range(4))
    adam._step([(p, g, m, v * v)], 3, **options)
    return [a.tolist() for a in (p, m)]


forms = [lambda a: a, lambda a: a[::2], lambda a: a[:, :1], lambda a: a.astype(np.float64)]
both = adam.kernel, None
different = []
for n in (1, 2, 3, 7, 500):
    for form in forms:
        for decay, decoupled, maximize in json.loads(given):
            options = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": decay}
            options |= {"decoupled": decoupled, "maximize": maximize}
            state = draw.get_state()
            results = []
            for kernel in both:
                draw.set_state(state)
                results.append(moved(kernel, n, form, options))
            if results[0] != results[1]:
                different.append([n, forms.index(form), decay, decoupled, maximize])
frozen = np.zeros(8, np.float32)
frozen.flags.writeable = False
adam.kernel, rest = both[0], [np.ones(8, np.float32) for _ in range(3)]
try:
    adam._step([(frozen, *rest)], 1, **options)
except ValueError as error:
    assert "read-only" in str(error)
else:
    different.append("read-only")
json.dumps(different)
"""
# The largest relative error of softmax, both norms, GELU and their gradients in float32, against float64.
FUSED_ERRORS = """
import json
import torch
from torch.nn import functional as F
from torch import array_softmax
from torch.nn import _activations, norms
assert array_softmax.kernel and norms.kernel and _activations.kernel


def error(name, shape):
    x, gain, bias = 3 * torch.randn(shape), torch.randn(shape[-1]), torch.randn(shape[-1])
    run = {
        "softmax": lambda x, gain, bias: F.softmax(x, -1) * gain,
        "layer_norm": lambda x, gain, bias: F.layer_norm(x, shape[-1:], gain, bias),
        "rms_norm": lambda x, gain, bias: F.rms_norm(x, shape[-1:], gain, 1e-6),
        "gelu": lambda x, gain, bias: F.gelu(x) * gain,
        "attention": lambda x, gain, bias: F.scaled_dot_product_attention(x, x, x * gain, is_causal=True),
    }[name]
    found = []
    for dtype in (torch.float32, torch.float64):
        inputs = [t.to(dtype).requires_grad_() for t in (x, gain, bias)]
        y = run(*inputs)
        (y * torch.arange(y.numel()).view(y.shape).cos()).sum().backward()
        found.append([y, *(t.grad for t in inputs if t.grad is not None)])
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*found))


json.dumps([error(name, tuple(shape)) for name, shape in json.loads(given)])
"""
# The largest error of a product, relative to the bound of rounding each input to 16 bits of the largest of 16, and of a
# precise layer, what is left of it to 16 bits again.
Q4_ERRORS = """
import json
import torch
from llmguide.nn import q4
assert q4.kernel


PART = 16


def error(tokens, blocks, rows, is_precise):
    x = torch.randn(tokens, blocks * q4.BLOCK)
    x[:, 5] *= 1000  # outliers, as in the residual stream
    x[0] = 0
    layer = q4.Q4Linear(*q4.quantize_q4(torch.randn(rows, blocks * q4.BLOCK)))
    layer.is_precise = is_precise
    weight = layer.weight.double()
    with torch.no_grad():  # otherwise the weights are dequantized
        difference = layer(x).double() - x.double() @ weight.T
    largest = x.double().abs().unflatten(1, (-1, PART)).amax(2)
    bound = largest @ weight.abs().unflatten(1, (-1, PART)).sum(2).T / 2 / 32767
    if is_precise:
        bound /= 2 * 32767
    of_sums = 1e-6 * (x.double().abs() @ weight.abs().T)  # in float32
    return (difference.abs() / (bound + of_sums + 1e-30)).max().item()


json.dumps([error(*shape) for shape in json.loads(given)])
"""
# How many exponentials differ from those in float64, rounded; also into the memory of the numbers themselves.
EXPONENTIALS = """
import json
import numpy as np
from torch import array_exp
assert array_exp.kernel
draw = np.random.RandomState(0)
special = [0.0, -0.0, np.inf, -np.inf, np.nan, 88.72, 88.73, -87.5, -103.9, -104.0, 1e-30]
numbers = [draw.uniform(-110, 95, 100_000), draw.randn(100_000), special]
x = np.concatenate(numbers).astype(np.float32)
exact = np.exp(x.astype(np.float64)).astype(np.float32)
copy = x.copy()
found = [array_exp.array_exp(x), array_exp.array_exp(copy, out=copy), array_exp.array_exp(x[::2])]
json.dumps([
    int((~np.isclose(y, e, rtol=0, atol=0, equal_nan=True)).sum())
    for y, e in zip(found, [exact, exact, np.exp(x[::2])])
])
"""
SNIPPETS = [
    *operations.ELEMENTWISE,
    *operations.REDUCTIONS,
    *operations.PRODUCTS,
    *operations.SHAPES,
    *operations.INDEXING,
    *operations.CREATION,
    *operations.ERRORS,
    *autograd.GRAPHS,
    *autograd.IN_PLACE,
    *autograd.HOOKS,
    *printing.SNIPPETS,
    *random.EXACT,
    *random.CLOSE,
    *nn.FUNCTIONS,
    *nn.LOSSES,
    *nn.ATTENTION,
    *nn.MODULES,
    *nn.STATES,
    *nn.OPTIMIZERS,
    *nn.OTHERS,
]


OF_KERNELS = [*operations.PRODUCTS, *nn.FUNCTIONS, *nn.LOSSES, *nn.ATTENTION, *nn.MODULES, *nn.OPTIMIZERS]
WITHOUT_NUMPY = "needs Pyodide's numpy in .cache/wheels: python -m site_tools.tab.pyodide_wheels fetches it"
needs_numpy = pytest.mark.skipif(NUMPY is None and "CI" not in os.environ, reason=WITHOUT_NUMPY)


def in_pyodide(code, given, kernel, packages=PACKAGES, wheels=(NUMPY,)):
    """What code makes of a value that JSON holds, in Pyodide with the kernel."""
    assert NUMPY, WITHOUT_NUMPY
    value = {
        "repository": str(REPOSITORY),
        "wheels": list(map(str, wheels)),
        "packages": {path.name: str(path) for path in packages},
        "kernel": str(kernel),
    }
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", PROGRAM],
        input=json.dumps(value | {"given": given, "code": code}),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


SHAPES = [
    [(4, 1), (1, 1)],
    [(4, 8), (8, 8)],
    [(5, 3), (3, 9)],
    [(37, 19), (19, 23)],
    [(64, 300), (300, 64)],
    [(6, 5, 7), (6, 7, 3)],
    [(2, 3, 9, 17), (2, 3, 17, 10)],
    [(5, 1, 9, 17), (3, 17, 33)],
    [(9, 17), (2, 3, 17, 4)],
    [(2, 3, 4, 9, 17), (3, 1, 17, 33)],
]
FUSED = ["softmax", "layer_norm", "rms_norm", "gelu", "attention"]
FUSED_SHAPES = [(2, 4), (3, 5), (2, 3, 20), (4, 300), (2, 3, 17, 32)]
Q4_SHAPES = [(1, 1, 1), (9, 1, 3), (2, 18, 9), (4, 3, 5), (15, 18, 64), (9, 48, 33), (131, 2, 6)]
OF_ADAM = [(0, True, False), (0.1, True, False), (0.1, False, False), (0.1, True, True)]
SOFTMAX = ["torch.softmax(T([0.0, -86.9, -87.1, -95.0]), 0)"]
PROGRAMS = {  # the last three lower the size from which the kernel multiplies
    "without": (DESCRIBE % {"has_kernel": False}, SNIPPETS),
    "exponentials": (EXPONENTIALS, None),
    "steps": (SAME_STEPS, OF_ADAM),
    "fused": (FUSED_ERRORS, [(name, shape) for name in FUSED for shape in FUSED_SHAPES]),
    "q4": (Q4_ERRORS, [(*shape, is_precise) for is_precise in (False, True) for shape in Q4_SHAPES]),
    "softmax": (DESCRIBE % {"has_kernel": True}, SOFTMAX),
    "bits": (SAME_BITS, SHAPES),
    "snippets": (DESCRIBE % {"has_kernel": True}, OF_KERNELS),
}


@pytest.fixture(scope="module")
def results():
    """The result of each program in Pyodide, or its error."""
    return dict(zip(PROGRAMS, in_pyodide(IN_TURN, [*PROGRAMS.values()], KERNELS), strict=True))


@needs_numpy
def test_subset_in_pyodide_equals_torch(results):
    assert_equal_torch(SNIPPETS, results["without"])


@needs_numpy
def test_subset_with_the_kernel_equals_torch(results):
    assert_equal_torch(OF_KERNELS, results["snippets"])


def assert_equal_torch(snippets, mine):
    assert not isinstance(mine, str), mine
    found = [
        f"{snippet}\n  {difference}"
        for snippet, one, other in zip(snippets, mine, describe_all(snippets), strict=True)
        for difference in differences(one, other, tolerance=2e-5)
    ]
    assert not found, f"{len(found)} differences in {len(snippets)} snippets\n" + "\n".join(found)


@needs_numpy
def test_products_of_the_kernel_have_the_bits_of_numpy(results):
    assert results["bits"] == []


@needs_numpy
def test_steps_of_adam_by_the_kernel_have_the_bits_of_numpy(results):
    assert results["steps"] == []


@needs_numpy
def test_fused_kernels_are_precise(results):
    errors = results["fused"]
    assert isinstance(errors, list), errors
    assert 0 < max(errors) < 5e-6


@needs_numpy
def test_products_with_4_bit_weights_are_those_with_the_dequantized_ones(results):
    errors = results["q4"]
    assert isinstance(errors, list), errors
    assert 0 < max(errors) < 1


@needs_numpy
def test_softmax_of_the_kernel_has_no_subnormal_numbers(results):
    (mine,), (theirs,) = results["softmax"], describe_all(SOFTMAX)
    ours, exact = mine["result"][0]["tensor"], theirs["result"][0]["tensor"]
    assert ours[:2] == pytest.approx(exact[:2], rel=1e-6, abs=0)
    assert ours[2:] == [0, 0]
    assert min(exact) == pytest.approx(math.exp(-95), rel=1e-4, abs=0)


@needs_numpy
def test_exponentials_of_the_kernel_are_correctly_rounded(results):
    assert results["exponentials"] == [0, 0, 0]
