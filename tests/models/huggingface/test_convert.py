"""Our models against those of transformers with the same random weights, in memory and in folders."""

import dataclasses
import json
import struct
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tests.models.tiny import DECODERS, ENCODERS, V, hf_model
from tests.parity import assert_parity

from llmguide.config.model_config import ModelConfig
from llmguide.models import Encoder, build, from_hf, to_hf
from llmguide.models.huggingface.config import config_from_hf, config_to_hf
from llmguide.models.huggingface.convert import load_hf
from llmguide.training.losses import next_token_loss
from llmguide.training.optimizer_state import load_named_state, named_state
from llmguide.training.optimizers import make_optimizer


def logits_of(hf: Any, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    out = hf(ids, **inputs)
    return out.logits if hasattr(out, "logits") else out.last_hidden_state


def ids_of(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


def name_of(hf: Any) -> str:
    return f"transformers.{type(hf).__name__}"


@pytest.mark.parity
@pytest.mark.parametrize("name", DECODERS | ENCODERS)
def test_logits(name):
    hf, ids = hf_model(name), ids_of(2, 23)
    with torch.no_grad():
        assert_parity(
            from_hf(hf)(ids), logits_of(hf, ids), of="llmguide.models.from_hf", against=name_of(hf), atol=1e-5
        )


@pytest.mark.parity
@pytest.mark.parametrize("name", DECODERS)
def test_gradients(name):
    hf, ids = hf_model(name), ids_of(2, 13)
    ours = from_hf(hf)
    for model, logits in ((hf, hf(ids).logits), (ours, ours(ids))):
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        for (
            parameter
        ) in model.parameters():  # let the gradients travel as weights, through the same conversion
            parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    theirs = dict(from_hf(hf).named_parameters())
    for parameter_name, parameter in ours.named_parameters():
        assert_parity(
            parameter,
            theirs[parameter_name],
            of="llmguide.models.from_hf",
            against=f"{name_of(hf)} (gradients)",
            atol=2e-6,
        )


@pytest.mark.parity
@pytest.mark.parametrize("name", DECODERS)
def test_left_padding(name):
    """A padded row has the logits that transformers gives, and those of the row without padding."""
    hf, ids = hf_model(name), ids_of(3, 12)
    mask = torch.ones_like(ids)
    mask[1, :3], mask[2, :7] = 0, 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {} if name == "bloom" else {"position_ids": positions}  # BLOOM counts them itself
    ours = from_hf(hf)
    with torch.no_grad():
        logits = ours(ids, attention_mask=mask)
        real = mask.bool()
        theirs = logits_of(hf, ids, attention_mask=mask, **inputs)
        assert_parity(
            logits[real], theirs[real], of="llmguide.models.from_hf", against=name_of(hf), atol=1e-5
        )
        torch.testing.assert_close(logits[2, 7:], ours(ids[2:, 7:])[0], atol=1e-5, rtol=0)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt2", "llama", "llama3-scaling", "mixtral"])
def test_given_positions(name):
    hf, ids = hf_model(name), ids_of(2, 5)
    positions = torch.tensor([[0, 7, 8, 30, 63], [1, 2, 3, 5, 8]])
    with torch.no_grad():
        ours = from_hf(hf)(ids, positions=positions)
        theirs = hf(ids, position_ids=positions).logits
    assert_parity(ours, theirs, of="llmguide.models.from_hf", against=name_of(hf), atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    [
        "bloom",
        "llama",
        "llama3-scaling",
        "llama-yarn",
        "llama-linear",
        "llama-dynamic",
        "llama-longrope",
        "mistral",
    ],
)
def test_beyond_the_trained_context(name):
    hf, ids = hf_model(name), ids_of(1, 300)
    with torch.no_grad():
        assert_parity(
            from_hf(hf)(ids), hf(ids).logits, of="llmguide.models.from_hf", against=name_of(hf), atol=2e-5
        )


@pytest.mark.parity
@pytest.mark.parametrize("name", ENCODERS)
def test_bert_with_padding_and_token_types(name):
    hf, ids = hf_model(name), ids_of(2, 11)
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    mask[1, 6:], types[:, 4:] = 0, 1
    ours = from_hf(hf)
    holes = mask.clone()
    holes[0, :2] = holes[1, 3] = 0
    with torch.no_grad():
        logits = ours(ids, attention_mask=holes, token_types=types)
        theirs = logits_of(hf, ids, attention_mask=holes, token_type_ids=types)
        torch.testing.assert_close(logits[holes.bool()], theirs[holes.bool()], atol=1e-5, rtol=0)
        logits = ours(ids, attention_mask=mask, token_types=types)
        theirs = logits_of(hf, ids, attention_mask=mask, token_type_ids=types)
        assert_parity(
            logits[mask.bool()],
            theirs[mask.bool()],
            of="llmguide.models.from_hf",
            against=name_of(hf),
            atol=1e-5,
        )
        if isinstance(ours, Encoder):
            pooled = hf(ids, attention_mask=mask, token_type_ids=types).pooler_output
            assert_parity(
                ours.pool(logits),
                pooled,
                of="llmguide.models.encoder.Encoder.pool",
                against=name_of(hf),
                atol=1e-5,
            )


@pytest.mark.parametrize("name", DECODERS | ENCODERS)
def test_there_and_back(name):
    """hf -> ours -> hf gives the same tensors, bit for bit, and ours -> hf -> ours the same config."""
    hf = hf_model(name)
    ours = from_hf(hf)
    back = to_hf(ours)
    assert type(back) is type(hf)
    assert not back.training
    for key, tensor in hf.state_dict().items():
        if name == "bert-mlm-untied" and key == "cls.predictions.bias":
            continue  # transformers keeps it and uses decoder.bias
        assert torch.equal(tensor, back.state_dict()[key]), key
    assert from_hf(back).config == ours.config


@pytest.mark.parametrize("name", ["gpt2", "mixtral", "bert-mlm"])
def test_conversion_copies(name):
    hf, ids = hf_model(name), ids_of(1, 4)
    before = logits_of(hf, ids)
    ours = from_hf(hf)
    exported = to_hf(ours)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert torch.equal(logits_of(hf, ids), before)
    assert torch.equal(logits_of(exported, ids), before)


def test_mode_and_dtype_are_kept():
    hf = hf_model("llama").to(torch.bfloat16).train()
    ours = from_hf(hf)
    assert ours.training
    assert {p.dtype for p in ours.parameters()} == {torch.bfloat16}
    back = to_hf(ours)
    assert back.training
    assert back.dtype == torch.bfloat16


def test_parameters_can_be_trained_and_tied_ones_are_one():
    ours = from_hf(hf_model("gpt2"))
    # in rows or in columns, but without gaps: the kernels of optimizers go straight through the memory
    assert all(p.requires_grad and (p.is_contiguous() or p.mT.is_contiguous()) for p in ours.parameters())
    assert sum(p.numel() for p in ours.parameters()) == ours.config.n_params()


def transposed_and_not():
    """The same weights, as files of GPT-2 have them and in rows."""
    loaded = from_hf(hf_model("gpt2"))
    others = build(loaded.config)
    others.load_state_dict(loaded.state_dict())
    return loaded, others


def steps_with(model, optimizer) -> None:
    for _ in range(3):
        optimizer.zero_grad()
        next_token_loss(model, ids_of(2, 9)).backward()
        optimizer.step()


def test_transposed_weights_are_trained_like_others():
    loaded, others = transposed_and_not()
    for model in (loaded, others):
        steps_with(model, torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-4, fused=True))
    torch.testing.assert_close(loaded.state_dict(), others.state_dict(), atol=1e-5, rtol=0)


def test_transposed_weights_go_on_with_the_state_of_others():
    loaded, others = transposed_and_not()
    first, second = (make_optimizer(model, 1e-2, eps=1e-4) for model in (others, loaded))
    steps_with(others, first)
    loaded.load_state_dict(others.state_dict())
    load_named_state(second, named_state(first))
    steps_with(others, first)
    steps_with(loaded, second)
    torch.testing.assert_close(loaded.state_dict(), others.state_dict(), atol=1e-5, rtol=0)


@pytest.mark.nightly
def test_loading_imports_no_compiler(tmp_path):
    hf_model("gpt2").save_pretrained(tmp_path)
    code = "import sys, llmguide; llmguide.load(sys.argv[1]); print('torch._dynamo' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gpt2", {"activation_function": "silu"}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("bloom", {"apply_residual_connection_post_layernorm": True}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"attention_bias": True}),
        ("llama", {"rope_parameters": {"rope_type": "proportional", "rope_theta": 1e4, "factor": 2.0}}),
        ("qwen2", {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}),
        ("bert", {"is_decoder": True}),
        ("qwen3", {"attention_bias": True}),
        ("gpt2", {"model_type": "qwen4"}),
    ],
)
def test_what_has_no_equal_is_refused(name, change):
    config = (DECODERS | ENCODERS)[name][1]
    altered = type("Altered", (), {**config.to_dict(), **{k: getattr(config, k) for k in _ALIASES}, **change})
    with pytest.raises(ValueError, match="|".join(str(v) for v in [*change, "model_type"])):
        config_from_hf(altered)


_ALIASES = ("num_hidden_layers", "hidden_size", "num_attention_heads")


@pytest.mark.parametrize(
    "change",
    [
        {"positions": "sinusoidal"},
        {"norm_position": "post"},
        {"norm": "rmsnorm"},
        {"activation": "swiglu"},
        {"head_dim": 5},
        {"n_kv_heads": 1},
    ],
)
def test_export_refuses_what_no_family_expresses(change):
    config = ModelConfig(
        vocab_size=V, context_length=9, n_layers=1, d_model=24, n_heads=3, activation="gelu_tanh"
    )
    config = dataclasses.replace(config, **change)
    with pytest.raises(ValueError, match=next(iter(change))):
        to_hf(build(config))


def test_dropout_is_exported():
    config = ModelConfig(vocab_size=V, context_length=9, n_layers=1, d_model=24, n_heads=3, dropout=0.25)
    hf = config_to_hf(config)
    assert (hf.resid_pdrop, hf.embd_pdrop, hf.attn_pdrop) == (0.25, 0.25, 0.25)


# --- folders


@pytest.mark.parametrize("name", DECODERS | ENCODERS)
def test_load_folder(name, tmp_path):
    hf, ids = hf_model(name), ids_of(2, 7)
    hf.save_pretrained(tmp_path)
    ours = load_hf(tmp_path)
    assert not ours.training
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), from_hf(hf)(ids), atol=0, rtol=0)


def test_load_shards(tmp_path):
    hf, ids = hf_model("llama"), ids_of(2, 7)
    hf.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1
    with torch.no_grad():
        assert torch.equal(load_hf(tmp_path)(ids), from_hf(hf)(ids))
    shards[0].unlink()
    with pytest.raises(ValueError, match=f"lacks {shards[0].name}"):
        load_hf(tmp_path)


def test_load_exported_model(tmp_path):
    config = ModelConfig(
        vocab_size=V, context_length=9, n_layers=2, d_model=24, n_heads=3, positions="rope", norm="rmsnorm",
        activation="swiglu", bias=False, n_experts=3, n_experts_per_token=1,
    )  # fmt: skip
    model = build(config).eval()
    to_hf(model).save_pretrained(tmp_path)
    loaded = load_hf(tmp_path)
    assert loaded.config == config
    ids = ids_of(1, 9)
    assert torch.equal(loaded(ids), model(ids))


def test_old_names(tmp_path):
    """Checkpoints of 2018 and 2019: no prefix, gamma and beta, masks and heads that can be computed."""
    hf = hf_model("bert-mlm")
    hf.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    old = {}
    for key, tensor in weights.items():
        old[
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        ] = tensor
    old["cls.seq_relationship.weight"] = torch.zeros(2, 24)
    save_file(old, tmp_path / "model.safetensors")
    assert torch.equal(load_hf(tmp_path)(ids_of(1, 5)), from_hf(hf)(ids_of(1, 5)))

    hf = hf_model("gpt2")
    hf.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    old = {key.removeprefix("transformer."): tensor for key, tensor in weights.items()}
    old["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    save_file(old, tmp_path / "model.safetensors")
    assert torch.equal(load_hf(tmp_path)(ids_of(1, 5)), from_hf(hf)(ids_of(1, 5)))


def test_wrong_tensors_are_all_listed(tmp_path):
    hf_model("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["model.norm.weight"]
    weights["lm_head.weight"] = torch.zeros(V + 1, 24)
    weights["model.layers.0.self_attn.q_norm.weight"] = torch.zeros(4)
    save_file(weights, path)
    with pytest.raises(ValueError) as error:
        load_hf(tmp_path)
    message = str(error.value)
    assert "missing: model.norm.weight (24,)" in message
    assert f"wrong shape: lm_head.weight ({V + 1}, 24) instead of ({V}, 24)" in message
    assert "unexpected: model.layers.0.self_attn.q_norm.weight (4,)" in message
    assert message.count("\n") == 3


@pytest.mark.parametrize("keep", [0, 5, 100, 5000, -1])
def test_truncated_file(tmp_path, keep):
    hf_model("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="truncated or damaged"):
        load_hf(tmp_path)


def test_other_numbers_than_one_kind_of_floats(tmp_path):
    hf_model("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    half = {"model.layers.1.mlp.up_proj.weight": weights["model.layers.1.mlp.up_proj.weight"].half()}
    save_file(weights | half, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"torch\.float16 and torch\.float32, which cannot be multiplied"):
        load_hf(tmp_path)
    assert {p.dtype for p in load_hf(tmp_path, dtype=torch.float32).parameters()} == {torch.float32}
    save_file(weights | {"model.norm.weight": torch.ones(24, dtype=torch.long)}, path)
    with pytest.raises(ValueError, match=r"no floats .*: model\.norm\.weight of torch\.int64"):
        load_hf(tmp_path)
    save_file({name: tensor.to(torch.float8_e4m3fn) for name, tensor in weights.items()}, path)
    with pytest.raises(ValueError, match=r"no floats .*: model\.norm\.weight of torch\.float8_e4m3fn"):
        load_hf(tmp_path)


@pytest.mark.parametrize("name", ["gpt2", "bloom", "llama", "bert-mlm"])
def test_a_head_that_differs_is_its_own_whatever_the_config_says(name, tmp_path):
    """As in transformers; a wrong config must not replace the head by the embeddings."""
    hf = hf_model(name)
    hf.config.tie_word_embeddings = False
    hf = type(hf)(hf.config).eval()
    hf.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"tie_word_embeddings": True}))
    peer, ids = type(hf).from_pretrained(tmp_path).eval(), ids_of(1, 7)
    with torch.no_grad():
        expected = hf(ids).logits
        assert torch.equal(peer(ids).logits, expected)
        for model in (load_hf(tmp_path), from_hf(peer)):
            assert (model(ids) - expected).abs().max() < 1e-5


def test_files_beside_the_weights_are_left_alone(tmp_path):
    hf = hf_model("llama")
    hf.save_pretrained(tmp_path)
    for name in ("adapter_model.safetensors", "consolidated.safetensors"):
        save_file({"base_model.model.x.lora_A.weight": torch.ones(3, 3)}, tmp_path / name)
    assert torch.equal(load_hf(tmp_path)(ids_of(1, 5)), from_hf(hf)(ids_of(1, 5)))


@pytest.mark.parametrize(
    "content", ["{", "{}", "[]", "null", '{"weight_map": 3}', '{"weight_map": {"a": 3}}']
)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_damaged_json(tmp_path, name, content):
    hf_model("llama").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError):
        load_hf(tmp_path)


@pytest.mark.parametrize("wrong", [{"hidden_size": "24"}, {"num_attention_heads": 5, "head_dim": None}])
def test_impossible_config(tmp_path, wrong):
    hf_model("llama").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(ValueError):
        load_hf(tmp_path)


def test_folder_without_weights(tmp_path):
    hf_model("llama").config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="lacks a"):
        load_hf(tmp_path)


def test_loaded_weights_are_mapped_and_private(tmp_path):
    """Loading does not read the tensors, and training does not write to the file."""
    hf_model("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    before = path.read_bytes()
    model = load_hf(tmp_path)
    (header_size,) = struct.unpack("<Q", before[:8])
    header = json.loads(before[8 : 8 + header_size])
    start = header["model.embed_tokens.weight"]["data_offsets"][0] + 8 + header_size
    with torch.no_grad():
        model.tokens.weight.fill_(7.0)
    assert path.read_bytes() == before
    assert before[start : start + 4] != struct.pack("<f", 7.0)


def test_load_dtype(tmp_path):
    hf_model("gpt2").save_pretrained(tmp_path)
    assert {p.dtype for p in load_hf(tmp_path, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}
