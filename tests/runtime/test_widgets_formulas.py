"""The calculators' formulas: those of llmguide.config and llmguide.costs, on a grid of inputs."""

import json
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import pytest
from site_tools import DOCS
from tests.runtime.node import WIDGETS, node

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.costs import memory, scaling_laws
from llmguide.costs.flops import forward_flops_per_token, training_flops
from llmguide.costs.gpus import gpu_hours
from llmguide.costs.linear_layers import linear_shapes, lora_params, nf4_bits, quantized_bytes

FORMULAS = WIDGETS / "formulas.js"
DECODERS = {name: config for name, config in PRESETS.items() if config.architecture == "decoder"}
ONE_STACK = {name: config for name, config in PRESETS.items() if config.architecture != "encoder-decoder"}
SIZES = [1.0, 124e6, 7e9, 175e9, 1.6e12]
TOKENS = [1.0, 3e8, 2e10, 1.4e12, 1.5e13]
FLOPS = [1e12, 1e18, 5.76e23, 1e27]
FITS = {name: getattr(scaling_laws, name) for name in ("HOFFMANN_ROUNDED", "HOFFMANN", "BESIROGLU")}
LENGTHS = [1, 1000, 4096, 100_000]


def js(function: str, calls: list[tuple[Any, ...]]) -> list[Any]:
    """Results of one function for many lists of arguments; a config goes as JSON."""
    given = [[asdict(a) if isinstance(a, ModelConfig) else a for a in call] for call in calls]
    return node(FORMULAS, f"return given.calls.map((call) => m.{function}(...call))", calls=given)


def assert_same(found: Any, expected: Any) -> None:
    """Up to the last digits of a float: sums and powers may round otherwise."""
    assert found == pytest.approx(expected, rel=1e-12)


def variants() -> list[ModelConfig]:
    """Every preset, and shapes that no preset has."""
    odd = ModelConfig(
        vocab_size=11, context_length=5, n_layers=3, d_model=6, n_heads=3, head_dim=7, d_ff=13, qk_norm=True
    )
    return [
        *PRESETS.values(),
        odd,
        replace(odd, n_experts=4, n_experts_per_token=2, activation="swiglu", tie_embeddings=False),
        replace(odd, norm="rmsnorm", norm_position="post", bias=False, positions="alibi", qkv_bias=True),
    ]


def test_presets_in_the_browser_are_those_of_the_package() -> None:
    written = json.loads((DOCS / "assets" / "vendor" / "presets.json").read_text(encoding="utf-8"))
    assert written == {name: json.loads(json.dumps(asdict(config))) for name, config in PRESETS.items()}


def test_parameters() -> None:
    calls = [(config,) for config in variants()]
    parts = js("nParamsByPart", calls)
    assert parts == [config.n_params_by_part() for config in variants()]
    assert js("nParams", calls) == [config.n_params() for config in variants()]
    assert js("nActiveParams", calls) == [config.n_active_params() for config in variants()]


def test_flops() -> None:
    calls = list(product(SIZES, TOKENS))
    assert_same(js("trainingFlops", calls), [training_flops(*call) for call in calls])
    grid = list(product(ONE_STACK.values(), LENGTHS))
    for found, (config, length) in zip(js("forwardFlopsPerToken", grid), grid, strict=True):
        assert found == forward_flops_per_token(config, length)


def test_losses() -> None:
    calls = list(product(SIZES, TOKENS))
    assert_same(js("kaplanLoss", calls), [scaling_laws.kaplan_loss(*call) for call in calls])
    assert node(FORMULAS, "return m.FITS") == {name: asdict(fit) for name, fit in FITS.items()}
    for fit in FITS.values():
        found = js("chinchillaLoss", [(*call, asdict(fit)) for call in calls])
        assert_same(found, [scaling_laws.chinchilla_loss(*call, fit) for call in calls])


def test_optimal_sizes() -> None:
    for ratio in (1.0, 20.0, 200.0):
        found = js("chinchillaOptimal", [(flops, ratio) for flops in FLOPS])
        for pair, flops in zip(found, FLOPS, strict=True):
            assert_same(pair, list(scaling_laws.chinchilla_optimal(flops, tokens_per_param=ratio)))
    for fit in FITS.values():
        found = js("parametricOptimal", [(flops, asdict(fit)) for flops in FLOPS])
        for pair, flops in zip(found, FLOPS, strict=True):
            assert_same(pair, list(scaling_laws.parametric_optimal(flops, fit)))


def test_hours() -> None:
    calls = list(product(FLOPS, [312e12, 989e12], [0.1, 0.4, 1.0]))
    expected = [gpu_hours(flops, peak_flops=peak, utilization=u) for flops, peak, u in calls]
    assert_same(js("gpuHours", calls), expected)


def test_model_state() -> None:
    calls = list(product(SIZES, range(4), [1, 8, 64]))
    for found, (n, stage, devices) in zip(js("modelStateBytes", calls), calls, strict=True):
        assert_same(found, memory.model_state_bytes(n, zero_stage=stage, n_devices=devices))


def test_activations() -> None:
    calls = list(product(PRESETS.values(), LENGTHS, [1, 3], ["none", "selective", "full"]))
    expected = [memory.activation_bytes(c, n, b, recompute=how) for c, n, b, how in calls]
    assert_same(js("activationBytes", calls), [float(count) for count in expected])


def test_kv_cache() -> None:
    calls = list(product(DECODERS.values(), LENGTHS, [1, 17], [1, 2, 4]))
    expected = [memory.kv_cache_bytes(c, n, b, bytes_per_value=size) for c, n, b, size in calls]
    assert js("kvCacheBytes", calls) == expected
    per_token = [memory.kv_cache_bytes_per_token(config, bytes_per_value=2) for config in DECODERS.values()]
    assert js("kvCacheBytesPerToken", [(config, 2) for config in DECODERS.values()]) == per_token


def test_lora() -> None:
    shapes = [linear_shapes(config) for config in ONE_STACK.values()]
    found = js("linearShapes", [(config,) for config in ONE_STACK.values()])
    assert [{name: tuple(shape) for name, shape in each.items()} for each in found] == shapes
    targets = [["q_proj", "v_proj"], ["up", "down"], ["o_proj"]]
    calls = list(product(ONE_STACK.values(), [1, 8, 256], targets))
    assert js("loraParams", calls) == [lora_params(*call) for call in calls]


def test_quantized_weights() -> None:
    bits = [nf4_bits(), 8 + 16 / 64, 3.0]
    assert node(FORMULAS, "return [m.nf4Bits(), m.nf4Bits(32, 128)]") == [bits[0], nf4_bits(32, 128)]
    calls = list(product(ONE_STACK.values(), bits))
    assert_same(js("quantizedBytes", calls), [quantized_bytes(*call) for call in calls])


@pytest.mark.parametrize(
    "call",
    [
        "trainingFlops(0, 1)",
        "kaplanLoss(1, -1)",
        "chinchillaLoss(NaN, 1, m.FITS.HOFFMANN)",
        "chinchillaOptimal(Infinity)",
        "gpuHours(1, 1, 1.5)",
        "modelStateBytes(1, 0, 0)",
        "loraParams({}, 0, [])",
    ],
)
def test_impossible_inputs_are_refused(call: str) -> None:
    message = node(FORMULAS, f"try {{ m.{call} }} catch (error) {{ return [error.name, error.message] }}")
    assert message[0] == "RangeError"
    assert "must be" in message[1] or "at most 1" in message[1]
