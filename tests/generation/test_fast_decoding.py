"""The step by hand against the model that it stands for, in every kind of model and through every kernel."""

from copy import deepcopy
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.test_models import CONFIGS, SIZES, lively, tokens
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.generation import _fast_decoding, _fast_linear
from llmguide.generation._fast_decoding import decoding_step
from llmguide.generation.generate import generate
from llmguide.generation.steps import new_cache, next_logits
from llmguide.models import Llama, Transformer, build
from llmguide.models.encoder_decoder import EncodedSource
from llmguide.nn._int4 import pack_int4
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.q4 import Q4Linear, quantize_q4

MODELS = CONFIGS | {
    "post-norm llama": ModelConfig(
        **SIZES,
        positions="rope",
        n_kv_heads=1,
        norm_position="post",
        activation="swiglu",
        embedding_norm=True,
    ),
    "windowed bloom": ModelConfig(**SIZES, positions="alibi", sliding_window=4, activation="relu"),
}


def logits_of_steps(model, ids, mask, *, prompt, **hints):
    """Read the prompt as a whole and the rest token by token; logits of the last prompt token onwards."""
    cache, step = new_cache(model, ids.shape[1]), decoding_step(model, **hints)
    out = [next_logits(model, ids[:, :prompt], None if mask is None else mask[:, :prompt], cache)]
    rest = range(prompt + 1, ids.shape[1] + 1)
    out += [step(ids[:, n - 1], None if mask is None else mask[:, :n], cache) for n in rest]
    return torch.stack(out, dim=1)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    rows=st.integers(1, 3),
    padding=st.integers(0, 3),
    tokens_hint=st.sampled_from([1, 1000]),
    maker=st.sampled_from(["", "GenuineIntel", "AuthenticAMD"]),
)
def test_steps_give_the_logits_of_the_model(name, rows, padding, tokens_hint, maker):
    model, ids, mask = lively(build(MODELS[name])), tokens(rows, 12), None
    if padding:
        mask = torch.ones_like(ids)
        mask[-1, :padding] = 0
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(_fast_linear, "processor", lambda: maker)
        steps = logits_of_steps(model, ids, mask, prompt=4, rows=rows, tokens=tokens_hint)
        torch.testing.assert_close(steps, model(ids, attention_mask=mask)[:, 3:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("norm_position", "positions"), [*product(("pre", "post"), ("learned", "sinusoidal"))]
)
@pytest.mark.parametrize("is_padded", [False, True])
def test_steps_of_an_encoder_decoder(norm_position, positions, is_padded):
    changes = {"norm_position": norm_position, "positions": positions, "n_kv_heads": 1}
    model = lively(Transformer(ModelConfig(**SIZES, architecture="encoder-decoder", **changes)))
    source, target = tokens(2, 7), tokens(2, 9, seed=1)
    source_mask = torch.tensor([[1] * 7, [1, 0, 0, 1, 1, 1, 0]]) if is_padded else None
    encoded = EncodedSource(model, source, source_mask)
    steps = logits_of_steps(encoded, target, None, prompt=1, rows=2, tokens=1000)
    with torch.no_grad():
        expected = model(source, target, source_mask=source_mask)
    torch.testing.assert_close(steps, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens_hint", [1, 1000])
@pytest.mark.parametrize("name", ["gpt", "llama", "bloom", "mixtral"])
def test_bfloat16_is_as_close_to_float32_as_the_model(name, tokens_hint):
    model, ids = lively(build(MODELS[name])), tokens(2, 10)
    half = deepcopy(model).bfloat16()
    with torch.no_grad():
        exact, rounded = model(ids)[:, 3:], half(ids)[:, 3:].float()
    steps = logits_of_steps(half, ids, None, prompt=4, rows=2, tokens=tokens_hint).float()
    assert (steps - exact).square().mean() < 2 * (rounded - exact).square().mean()


@pytest.mark.parametrize("rows", [1, 3])
def test_steps_with_4_bit_weights(rows):
    """In float32 as the model; in bfloat16, by another kernel, about as close to it as the model is."""
    config = MODELS["llama"].replace(d_model=64, d_ff=96, n_heads=4, n_kv_heads=2)
    model, ids = lively(build(config)), tokens(rows, 12)
    for name, module in list(model.blocks.named_modules()):
        if isinstance(module, nn.Linear):
            model.blocks.set_submodule(name, Q4Linear(*quantize_q4(module.weight.detach())))
    half = deepcopy(model).bfloat16()
    with torch.no_grad():
        exact, rounded = model(ids)[:, 3:], half(ids)[:, 3:].float()
        steps = logits_of_steps(model, ids, None, prompt=4, rows=rows)
        torch.testing.assert_close(steps, exact, atol=1e-5, rtol=1e-5)
        pack_int4(half)
        steps = logits_of_steps(half, ids, None, prompt=4, rows=rows).float()
    assert (steps - exact).square().mean() < 2 * (rounded - exact).square().mean()


def test_the_same_text_as_from_the_whole_model():
    """Greedy generation with steps, against running everything again for each token."""
    for name in ("gpt", "bloom", "mistral", "mixtral"):
        model, ids = lively(build(MODELS[name])), tokens(3, 5)
        with_steps = generate(model, ids, 20, temperature=0)
        assert torch.equal(with_steps, generate(model, ids, 20, temperature=0, use_cache=False))


def test_weights_are_not_copied_for_few_tokens_or_large_models(monkeypatch):
    """A step sees a weight change unless it holds copies; every kernel that copies is tried."""
    model = lively(build(MODELS["gpt"]))
    ids = tokens(2, 3)

    def sees_changes(**hints):
        step, cache = decoding_step(model, rows=2, **hints), KVCache(2)
        before = step(ids[:, 0], None, cache)
        with torch.no_grad():
            model.blocks[0].attention.o_proj.weight.mul_(1.5)
        cache.crop(0)
        return not torch.equal(before, step(ids[:, 0], None, cache))

    monkeypatch.setattr(_fast_linear, "processor", lambda: "GenuineIntel")
    assert sees_changes(tokens=1)
    assert not sees_changes(tokens=1000)
    monkeypatch.setattr(_fast_decoding, "LARGEST_COPY", 1000)
    assert sees_changes(tokens=1000)


def test_replaced_layers_are_called():
    """An adapter in place of a layer takes part."""

    class Adapter(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base

        def forward(self, x):
            return 2 * self.base(x)

    model, ids = lively(build(MODELS["llama"])), tokens(2, 8)
    model.blocks[1].attention.v_proj = Adapter(model.blocks[1].attention.v_proj)
    model.blocks[0].feed_forward.up = Adapter(model.blocks[0].feed_forward.up)
    with torch.no_grad():
        steps = logits_of_steps(model, ids, None, prompt=2, rows=2, tokens=1000)
        torch.testing.assert_close(steps, model(ids)[:, 1:], atol=1e-5, rtol=1e-5)


def test_unknown_models_have_no_steps():
    class Variant(Llama):
        """May do anything in its forward."""

    model = build(MODELS["gpt"]).eval()
    assert decoding_step(Variant(MODELS["llama"])) is None
    assert decoding_step(lambda ids: ids) is None
    handle = model.blocks[0].feed_forward.register_forward_hook(lambda *_: None)
    assert decoding_step(model) is None
    handle.remove()
    assert decoding_step(model) is not None
