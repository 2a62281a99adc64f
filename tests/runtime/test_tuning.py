"""Training an adapter on 4-bit weights in the tab's Python gives what it gives natively."""

import torch
from site_tools.tab.tab_assets import KERNELS, installed
from tests.runtime.small_q4 import gradients, small_model, trained
from tests.runtime.test_torch_tab import PACKAGES, in_pyodide, needs_numpy
from torch import nn

from llmguide.nn.q4 import Q4Linear

ALL = [*PACKAGES, installed("jinja2"), installed("markupsafe")]
IN_TAB = """
import json
from pathlib import Path
from small_q4 import gradients, small_model, trained
from llmguide.nn import q4
assert q4.rows_kernel
whole = trained()
stopped = [trained(Path(f"/run-{step}"), stop_after=step) for step in (1, 4)]
continued = [trained(Path(f"/run-{step}")) for step in (1, 4)]
json.dumps([gradients(small_model()), whole, stopped, [each == whole for each in continued]])
"""


def assert_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            torch.tensor(found[name]), torch.tensor(value), atol=tolerance, rtol=tolerance, msg=name
        )


def dequantized(model):
    """The same model with float32 weights, through which autograd finds its own way."""
    for path, layer in list(model.named_modules()):
        if isinstance(layer, Q4Linear) and not path.startswith(("head", "tokens")):
            dense = nn.Linear(layer.in_features, layer.out_features, bias=False)
            dense.weight = nn.Parameter(layer.weight, requires_grad=False)
            model.set_submodule(path, dense)
    dense = nn.Linear(model.head.in_features, model.head.out_features, bias=False)
    dense.weight = nn.Parameter(model.head.weight, requires_grad=False)
    model.head = dense
    return model


def test_gradients_are_those_of_the_dequantized_weights():
    assert_close(gradients(small_model()), gradients(dequantized(small_model())), 1e-5)


@needs_numpy
def test_gradients_and_adapter_in_the_tab_are_those_of_torch():
    in_tab, whole, stopped, are_equal = in_pyodide(IN_TAB, None, KERNELS, ALL)
    found = gradients(small_model())
    assert torch.tensor(found["dpo blocks.0.attention.q_proj.adapters.default.A"]).abs().max() > 1e-3
    assert_close(in_tab, found, 1e-5)
    assert_close(whole, trained(), 1e-4)
    assert stopped == [None] * 2
    assert are_equal == [True] * 2, "a run that was stopped ends as one that was not"
