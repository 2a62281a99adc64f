"""The models on their own: sizes, initialization, causality, caches; the 2017 Transformer against torch."""

from dataclasses import replace
from itertools import pairwise, product
from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.models import GPT, Encoder, Llama, MaskedLM, Transformer, build
from llmguide.nn.kv_cache import KVCache
from tests.parity import assert_parity

V = 13
SIZES = {"vocab_size": V, "context_length": 32, "n_layers": 2, "d_model": 12, "n_heads": 3}
LLAMA = {
    "positions": "rope",
    "norm": "rmsnorm",
    "activation": "swiglu",
    "bias": False,
    "tie_embeddings": False,
}
CONFIGS = {
    "gpt": ModelConfig(**SIZES),
    "gpt-1": ModelConfig(**SIZES, norm_position="post"),
    "sinusoidal": ModelConfig(**SIZES, positions="sinusoidal", tie_embeddings=False),
    "no positions": ModelConfig(**SIZES, positions="none"),
    "bloom": ModelConfig(**SIZES, positions="alibi", embedding_norm=True),
    "multi-query": ModelConfig(**SIZES, n_kv_heads=1, head_dim=6),
    "llama": ModelConfig(**SIZES, **LLAMA),
    "mistral": ModelConfig(**SIZES, **LLAMA, sliding_window=3),
    "mixtral": ModelConfig(**SIZES, **LLAMA, n_experts=3, n_experts_per_token=2),
    "mixture in gpt": ModelConfig(**SIZES, n_experts=3, n_experts_per_token=1),
}
SEQ2SEQ = ModelConfig(**SIZES, architecture="encoder-decoder", positions="sinusoidal", norm_position="post")
ENCODER = ModelConfig(
    **SIZES, architecture="encoder", norm_position="post", embedding_norm=True, n_token_types=2
)


def tokens(*shape, seed=0):
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


def lively(model):
    """Weights large enough for every input to matter."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


# --- sizes


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_exactly_their_parameters(name):
    """Built without memory, on the meta device, up to 405 billion parameters."""
    config = PRESETS[name]
    with torch.device("meta"):
        model = Encoder(config) if config.architecture == "encoder" else build(config)
    assert sum(p.numel() for p in model.parameters()) == config.n_params()


@pytest.mark.parametrize("name", CONFIGS)
def test_small_configs_have_exactly_their_parameters(name):
    model = build(CONFIGS[name])
    assert sum(p.numel() for p in model.parameters()) == CONFIGS[name].n_params()
    assert model(tokens(2, 5)).shape == (2, 5, V)


@pytest.mark.parametrize(
    ("tied", "positions", "norm"), list(product([True, False], ["learned", "none"], ["pre", "post"]))
)
def test_seq2seq_has_exactly_its_parameters(tied, positions, norm):
    config = replace(
        SEQ2SEQ, tie_embeddings=tied, positions=positions, norm_position=norm, embedding_norm=True
    )
    model = build(config)
    assert sum(p.numel() for p in model.parameters()) == config.n_params()
    assert model(tokens(2, 5), tokens(2, 3)).shape == (2, 3, V)


def test_build_picks_the_class():
    assert [type(build(c)) for c in (CONFIGS["gpt"], CONFIGS["llama"], ENCODER, SEQ2SEQ)] == [
        GPT,
        Llama,
        MaskedLM,
        Transformer,
    ]


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIGS["gpt"], n_token_types=2),
        replace(CONFIGS["llama"], n_token_types=2),
        replace(ENCODER, positions="rope"),
        replace(ENCODER, positions="alibi"),
        replace(ENCODER, sliding_window=4),
        replace(SEQ2SEQ, positions="rope"),
        replace(SEQ2SEQ, sliding_window=4),
        replace(SEQ2SEQ, n_token_types=2),
    ],
)
def test_combinations_without_a_class_are_refused(config):
    with pytest.raises(ValueError, match="takes architecture"):
        build(config)


def test_classes_refuse_each_others_configs():
    for kind, config in (
        (GPT, CONFIGS["llama"]),
        (Llama, CONFIGS["gpt"]),
        (Encoder, SEQ2SEQ),
        (Transformer, ENCODER),
    ):
        with pytest.raises(ValueError, match="takes architecture"):
            kind(config)


# --- initialization


def test_gpt2_initialization():
    """Deviation 0.02, and 0.02 / sqrt(2 L) where a sublayer writes into the residual stream; biases 0."""
    torch.manual_seed(0)
    model = build(ModelConfig(vocab_size=300, context_length=300, n_layers=8, d_model=256, n_heads=4))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == (1 if name.endswith("weight") else 0)).all()
        elif name.endswith("bias"):
            assert (parameter == 0).all()
        else:
            is_residual = name.endswith(("o_proj.weight", "down.weight"))
            assert parameter.std().item() == pytest.approx(0.02 / (4 if is_residual else 1), rel=0.03), name
            assert abs(parameter.mean().item()) < 3 * 0.02 / sqrt(parameter.numel())


def test_experts_are_scaled_as_the_dense_layer():
    torch.manual_seed(0)
    model = build(replace(CONFIGS["mixture in gpt"], n_layers=8, d_model=96, head_dim=32, d_ff=384))
    assert model.blocks[0].feed_forward.experts[1].down.weight.std().item() == pytest.approx(0.005, rel=0.05)


def test_fresh_model_predicts_uniformly():
    """The loss of an untrained GPT-2 is close to that of guessing, log V."""
    torch.manual_seed(0)
    model, ids = (
        build(ModelConfig(vocab_size=512, context_length=64, n_layers=4, d_model=64, n_heads=4)),
        None,
    )
    ids = torch.randint(512, (4, 64))
    loss = nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(torch.tensor(512.0).log().item(), abs=0.1)


# --- properties


@pytest.mark.parametrize("name", CONFIGS)
def test_the_future_has_no_influence(name):
    model, ids = lively(build(CONFIGS[name])), tokens(2, 9)
    changed = ids.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % V
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6], atol=1e-6, rtol=0)
    assert not torch.allclose(before[:, 6:], after[:, 6:], atol=1e-3)


def test_the_past_beyond_the_window_of_all_layers_has_no_influence():
    """2 layers of window 3 see 2 x (3 - 1) tokens back."""
    model, ids = lively(build(CONFIGS["mistral"])), tokens(1, 9)
    changed = ids.clone()
    changed[:, 4] = (changed[:, 4] + 1) % V
    difference = (model(ids) - model(changed)).abs().amax(-1)[0]
    assert (difference[[0, 1, 2, 3]] == 0).all()
    assert (difference[4:] > 1e-4).all()
    changed = ids.clone()
    changed[:, 3] = (changed[:, 3] + 1) % V
    assert (model(ids) - model(changed)).abs().amax(-1)[0, 8] < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(CONFIGS)), st.lists(st.integers(1, 8), unique=True))
def test_cache_equals_no_cache(name, cuts):
    config, ids = CONFIGS[name], tokens(2, 9)
    model, cache = lively(build(config)), KVCache(2, window=config.sliding_window)
    with torch.no_grad():
        parts = [model(ids[:, a:b], cache=cache) for a, b in pairwise([0, *sorted(cuts), 9])]
        torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_reach_every_parameter(name):
    model = build(CONFIGS[name])
    model(tokens(4, 16)).square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        if "experts" in parameter_name:  # an expert that no token visits gets none
            continue
        assert parameter.grad is not None, parameter_name
        if CONFIGS[name].n_experts_per_token != 1 or "router" not in parameter_name:
            assert parameter.grad.abs().sum() > 0 or "k_proj.bias" in parameter_name, parameter_name


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_documents_are_strangers(name):
    """Two rows of documents back to back give the logits and gradients of each document alone."""
    model, ids = lively(build(CONFIGS[name])), tokens(2, 12)
    cuts = [[0, 5, 6, 12], [0, 7, 12, 12]]  # the last document of the second row is empty
    document_ids = torch.tensor([[4] * 5 + [-1] + [0] * 6, [2] * 7 + [3] * 5])
    weights = torch.randn(2, 12, V, generator=torch.Generator().manual_seed(1))

    packed = model(ids, document_ids=document_ids)
    gradients = torch.autograd.grad((packed * weights).sum(), list(model.parameters()), allow_unused=True)
    alone = torch.stack(
        [
            torch.cat([model(row[None, a:b])[0] for a, b in pairwise(ends) if a < b])
            for row, ends in zip(ids, cuts, strict=True)
        ]
    )
    expected = torch.autograd.grad((alone * weights).sum(), list(model.parameters()), allow_unused=True)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(model(ids), alone, atol=1e-3)


@pytest.mark.parametrize("name", ["gpt", "bloom", "mistral"])
def test_packed_documents_may_be_padded(name):
    model, ids = lively(build(CONFIGS[name])), tokens(1, 9)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 0, 0]])
    document_ids = torch.tensor([[5, 5, 5, 5, 6, 6, 6, 6, 7]])
    packed = model(ids, attention_mask=mask, document_ids=document_ids)
    for a, b in ((2, 4), (4, 7)):
        torch.testing.assert_close(packed[:, a:b], model(ids[:, a:b]), atol=1e-5, rtol=1e-5)


def test_positions_may_be_given():
    for name in ("gpt", "llama", "sinusoidal"):
        model, ids = lively(build(CONFIGS[name])), tokens(2, 5)
        torch.testing.assert_close(model(ids), model(ids, positions=torch.arange(5)))
        assert not torch.allclose(model(ids), model(ids, positions=torch.tensor([0, 2, 4, 6, 8])), atol=1e-3)


def test_encoder_sees_both_sides():
    model, ids = lively(build(ENCODER)), tokens(1, 6)
    changed = ids.clone()
    changed[:, 5] = (changed[:, 5] + 1) % V
    assert ((model(ids) - model(changed)).abs().amax(-1) > 1e-4).all()


def test_encoder_padding_changes_nothing():
    model, ids = lively(build(ENCODER)), tokens(2, 6)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    out = model(ids, attention_mask=mask)
    torch.testing.assert_close(out[1, :4], model(ids[1:, :4])[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "call", "message"),
    [
        (
            CONFIGS["gpt"],
            lambda m: m(torch.tensor([[0, V]])),
            f"token ids from 0 to {V} are outside 0 to {V - 1}",
        ),
        (CONFIGS["llama"], lambda m: m(torch.tensor([[-1, 0]])), "token ids from -1 to 0"),
        (CONFIGS["llama"], lambda m: m(tokens(1, 2).short()), "ids (1, 2) of torch.int16 must be (B, T)"),
        (CONFIGS["gpt"], lambda m: m(tokens(1, 33)), "beyond the 32 learned ones"),
        (CONFIGS["gpt"], lambda m: m(tokens(1, 4), attention_mask=torch.ones(1, 3).long()), "must be (1, 4)"),
        (CONFIGS["llama"], lambda m: m(tokens(1, 4), document_ids=tokens(1, 4), cache=KVCache(2)), "cache"),
        (ENCODER, lambda m: m(tokens(1, 2), token_types=torch.tensor([[0, 2]])), "token types from 0 to 2"),
        (
            replace(ENCODER, n_token_types=0),
            lambda m: m(tokens(1, 2), token_types=tokens(1, 2)),
            "n_token_types=0",
        ),
        (ENCODER, lambda m: m.encoder.pool(m.encoder(tokens(1, 2))), "pooler=False"),
        (SEQ2SEQ, lambda m: m(tokens(1, 2), torch.tensor([[V]])), "token ids"),
    ],
)
def test_bad_inputs(config, call, message):
    with pytest.raises(ValueError) as error:
        call(build(config))
    assert message in str(error.value)


def test_a_cache_beyond_the_learned_positions_is_refused():
    model, cache = build(CONFIGS["gpt"]), KVCache(2)
    model(tokens(1, 32), cache=cache)
    with pytest.raises(ValueError, match="position 32 is beyond"):
        model(tokens(1, 1), cache=cache)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["gpt", "bloom", "llama", "mistral", "mixtral"])
def test_half_precision(name, dtype):
    model, ids = lively(build(CONFIGS[name])), tokens(2, 9)
    wide = model(ids)
    half = model.to(dtype)(ids)
    assert half.dtype == dtype
    assert (half.float() - wide).abs().max() < 0.1 * wide.abs().max()


@pytest.mark.parametrize("name", ["gpt", "bloom", "llama", "mistral"])
def test_bfloat16_autocast_trains(name):
    model, ids = build(CONFIGS[name]), tokens(2, 9)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(ids).float().logsumexp(-1).mean()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


# --- the Transformer of 2017


def torch_attention(ours, theirs):
    q, k, v = ours.q_proj, ours.k_proj, ours.v_proj
    theirs.in_proj_weight.data = torch.cat([q.weight, k.weight, v.weight])
    theirs.in_proj_bias.data = torch.cat([q.bias, k.bias, v.bias])
    theirs.out_proj.load_state_dict(ours.o_proj.state_dict())


def torch_transformer(ours):
    """torch.nn.Transformer with our weights; its extra final norms only where we have them."""
    config = ours.config
    options = {"dropout": 0.0, "batch_first": True, "activation": config.activation}
    options |= {"dim_feedforward": config.d_ff, "norm_first": config.norm_position == "pre"}
    theirs = nn.Transformer(
        config.d_model,
        config.n_heads,
        custom_encoder=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(config.d_model, config.n_heads, **options),
            config.n_layers,
            norm=nn.LayerNorm(config.d_model) if options["norm_first"] else None,
            enable_nested_tensor=False,
        ),
        custom_decoder=nn.TransformerDecoder(
            nn.TransformerDecoderLayer(config.d_model, config.n_heads, **options),
            config.n_layers,
            norm=nn.LayerNorm(config.d_model) if options["norm_first"] else None,
        ),
        **options,
    )
    pairs = [*zip(ours.encoder_blocks, theirs.encoder.layers, strict=True)]
    pairs += [*zip(ours.decoder_blocks, theirs.decoder.layers, strict=True)]
    for a, b in pairs:
        torch_attention(a.attention, b.self_attn)
        modules = [
            (a.attention_norm, b.norm1),
            (a.feed_forward.up, b.linear1),
            (a.feed_forward.down, b.linear2),
        ]
        if hasattr(a, "cross_attention"):
            torch_attention(a.cross_attention, b.multihead_attn)
            modules += [(a.cross_attention_norm, b.norm2), (a.feed_forward_norm, b.norm3)]
        else:
            modules += [(a.feed_forward_norm, b.norm2)]
        for mine, its in modules:
            its.load_state_dict(mine.state_dict())
    if options["norm_first"]:
        theirs.encoder.norm.load_state_dict(ours.encoder_norm.state_dict())
        theirs.decoder.norm.load_state_dict(ours.decoder_norm.state_dict())
    return theirs


@pytest.mark.parity
@pytest.mark.parametrize(("position", "activation"), list(product(["pre", "post"], ["relu", "gelu"])))
def test_transformer_against_torch(position, activation):
    ours = lively(build(replace(SEQ2SEQ, norm_position=position, activation=activation)))
    theirs = torch_transformer(ours).eval()
    source, target = tokens(2, 7), tokens(2, 5, seed=1)
    source_mask, target_mask = torch.ones_like(source), torch.ones_like(target)
    source_mask[1, 4:], target_mask[1, 3:] = 0, 0
    table = ours.target_tokens.weight
    sines = torch.tensor(
        [
            [f(p / 10000 ** (2 * (i // 2) / 12)) for i, f in enumerate([torch_sin, torch_cos] * 6)]
            for p in range(7)
        ]
    )  # section 3.5, written again
    embedded = [table[ids] * sqrt(12) + sines[: ids.shape[1]] for ids in (source, target)]
    hidden = theirs(
        *embedded,
        tgt_mask=torch.ones(5, 5).triu(1).bool(),
        src_key_padding_mask=source_mask == 0,
        tgt_key_padding_mask=target_mask == 0,
        memory_key_padding_mask=source_mask == 0,
    )
    logits = ours(source, target, source_mask=source_mask, target_mask=target_mask)
    real = target_mask.bool()
    assert_parity(
        logits[real],
        (hidden @ table.T)[real],
        of="llmguide.models.encoder_decoder.Transformer",
        against="torch.nn.Transformer",
        atol=1e-5,
    )


def torch_sin(x):
    return torch.tensor(x).sin().item()


def torch_cos(x):
    return torch.tensor(x).cos().item()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 10), unique=True), st.booleans())
def test_transformer_cache_equals_no_cache(cuts, padded):
    model = lively(build(SEQ2SEQ))
    source, target = tokens(2, 4), tokens(2, 11)
    source_mask = torch.ones_like(source)
    if padded:
        source_mask[0, 2:] = 0
    with torch.no_grad():
        memory = model.encode(source, source_mask=source_mask)
        cache, memory_cache = KVCache(2), KVCache(2)
        parts = [
            model.decode(
                target[:, a:b], memory, source_mask=source_mask, cache=cache, memory_cache=memory_cache
            )
            for a, b in pairwise([0, *sorted(cuts), 11])
        ]
        whole = model(source, target, source_mask=source_mask)
        torch.testing.assert_close(model.unembed(torch.cat(parts, dim=1)), whole, atol=1e-5, rtol=1e-5)
