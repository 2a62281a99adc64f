"""The subset invents no names, and refuses by name what it lacks."""

import json
import subprocess
import sys

import pytest
import torch
from site_tools.tab import torch_names
from tests.python_path import importing_from
from tests.runtime.subset import RUNTIME, run_in_subset

LISTING = """
import inspect, json, torch
modules = ["torch.nn", "torch.nn.functional", "torch.nn.init", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data", "torch.distributions", "torch.linalg", "torch.special", "torch.autograd", "torch.random"]
names = {"torch": [n for n in vars(torch) if not n.startswith("_")], "torch.Tensor": [n for n in dir(torch.Tensor) if not n.startswith("_")]}
for path in modules:
    module = torch
    for part in path.split(".")[1:]:
        module = getattr(module, part)
    names[path] = [n for n in getattr(module, "__all__", []) if not inspect.ismodule(getattr(module, n))] or [
        n for n, value in vars(module).items() if not n.startswith("_") and getattr(value, "__module__", None) == path
    ]
print(json.dumps(names))
"""
# how the subset is cut into files, which nobody is to import
OWN_FILES = {path.stem for path in (RUNTIME / "torch").glob("*.py")}


def public_names():
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        capture_output=True,
        text=True,
        env=importing_from(RUNTIME),
        check=True,
    )
    return json.loads(done.stdout)


def test_every_public_name_is_one_of_torch():
    unknown = {}
    for path, names in public_names().items():
        real = torch
        for part in path.split(".")[1:]:
            real = getattr(real, part)
        mine = [
            name for name in names if not hasattr(real, name) and not (path == "torch" and name in OWN_FILES)
        ]
        if mine:
            unknown[path] = mine
    assert unknown == {}


MISSING = [("torch.fft", "torch.fft"), ("torch.conv2d", "torch.conv2d"), ("T([1.0]).geqrf()", "torch.Tensor.geqrf"), ("torch.sparse_coo_tensor", "torch.sparse_coo_tensor"), ("torch.linalg.eig", "torch.linalg.eig"), ("torch.autograd.functional", "torch.autograd.functional"), ("torch.special.zeta", "torch.special.zeta"), ("torch.compiler.is_compiling", "torch.compiler.is_compiling"), ("torch.nn.utils.rnn.pack_sequence", "torch.nn.utils.rnn.pack_sequence"), ("torch.nn.Linear(1, 1).to_empty", "torch.nn.Module.to_empty")]  # fmt: skip


def test_what_is_missing_is_refused_by_name():
    snippets = [snippet for snippet, _ in MISSING]
    for (_, name), found in zip(MISSING, run_in_subset(snippets), strict=True):
        assert found["error"] == "AttributeError", name
        assert name in found["message"]
        assert "in-page subset; run with PyTorch" in found["message"]


NOT_IMPORTED = [
    ("from torch.utils.data import ConcatDataset", "torch.utils.data.ConcatDataset"),
    ("from torch.distributions import Beta", "torch.distributions.Beta"),
    ("import torch.fft", "torch.fft"),
    ("from torch import vmap", "torch.vmap"),
    ("from torch.nn import TransformerEncoder", "torch.nn.TransformerEncoder"),
    ("from torch.autograd import Variable", "torch.autograd.Variable"),
    ("from torch.optim.lr_scheduler import OneCycleLR", "torch.optim.lr_scheduler.OneCycleLR"),
]


def test_what_is_missing_cannot_be_imported():
    snippets = [f"{snippet}\n0" for snippet, _ in NOT_IMPORTED]
    for (_, name), found in zip(NOT_IMPORTED, run_in_subset(snippets), strict=True):
        message = f"{name} is not in the in-page subset; run with PyTorch"
        assert found == {"error": "ImportError", "message": message}


MISSPELLED = [
    ("torch.softmx", "module 'torch' has no attribute 'softmx'"),
    ("T([1.0]).shap", "'Tensor' object has no attribute 'shap'"),
    ("torch.nn.functional.rellu", "module 'torch.nn.functional' has no attribute 'rellu'"),
    ("torch.nn.Liner", "module 'torch.nn' has no attribute 'Liner'"),
    ("torch.nn.Linear(1, 1).weights", "'Linear' object has no attribute 'weights'"),
    ("torch.os", "module 'torch' has no attribute 'os'"),
]


def test_a_misspelled_name_is_no_gap():
    found = run_in_subset([snippet for snippet, _ in MISSPELLED])
    assert found == [{"error": "AttributeError", "message": message} for _, message in MISSPELLED]


@pytest.mark.parametrize(
    ("code", "last_line"),
    [
        ("import torch\ntorch.softmx", "AttributeError: module 'torch' has no attribute 'softmx'. Did you mean: 'softmax'?"),
        ("import torch\ntorch.ones(2).shap", "AttributeError: 'Tensor' object has no attribute 'shap'. Did you mean: 'shape'?"),
        ("from torch import softmx", "ImportError: cannot import name 'softmx' from 'torch'"),
        ("import torch.optimizers", "ModuleNotFoundError: No module named 'torch.optimizers'"),
        ("import torch\ntorch.conv2d", "AttributeError: torch.conv2d is not in the in-page subset; run with PyTorch"),
    ],
)  # fmt: skip
def test_python_suggests_a_name_for_a_misspelling_and_none_for_a_gap(code, last_line):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=importing_from(RUNTIME), check=False
    )
    assert done.stderr.splitlines()[-1].startswith(last_line)


def test_the_names_of_torch_are_those_of_the_torch_installed():
    program = "from site_tools.tab import torch_names; print(torch_names.source(), end='')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    written = torch_names.TARGET.read_text(encoding="utf-8")
    assert done.stdout == written, "run python -m site_tools.tab.torch_names"


def test_eight_bits_are_converted_and_not_computed_with():
    operations = ("x + x", "x.neg()", "x.clone()", "x.sum()")
    snippets = [f"x = T([1.0]).to(torch.float8_e4m3fn); {operation}" for operation in operations]
    for operation, found in zip(operations, run_in_subset(snippets), strict=True):
        assert found["error"] == "NotImplementedError", operation
        assert "torch.float8_e4m3fn are not in the in-page subset; convert to float32" in found["message"]
