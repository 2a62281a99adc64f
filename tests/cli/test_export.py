"""What is exported does in transformers what it does here: same ids, same logits, same end."""

import json
import os
from itertools import islice

import gguf
import peft
import pytest
import torch
import transformers
from tests.parity import assert_parity

from llmguide import load
from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.data.fetch import PACKAGES
from llmguide.generation.generate import generate
from llmguide.models import build, from_hf, to_hf
from llmguide.post_training.adapters.lora import apply_lora
from llmguide.post_training.adapters.peft_files import save_adapter
from llmguide.post_training.chat import END, START, render_chat
from llmguide.runs.folder import save_run
from llmguide.runs.gguf_file import split_name
from llmguide.runs.packaged import MODELS
from llmguide.runs.resolve import open_model
from llmguide.runs.text_generation import open_writer
from llmguide.runs.transformers_folder import CHATML, save_transformers
from llmguide.tokenization.huggingface import to_hf_tokenizer
from llmguide.tokenization.tokenizer import Tokenizer

OF = "llmguide.cli.export.export"
SAVE_GGUF = "llmguide.runs.gguf_file.save_gguf"
LLAMA3 = (  # of Llama 3's tokenizer.json
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi, é\N{GRINNING FACE}"}]


def opened(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def exported(tmp_path):
    def export(*special_tokens):
        special = ["<|endoftext|>", *special_tokens]
        tokenizer = Tokenizer.train("to be or not to be " * 9, 265, special_tokens=special)
        config = ModelConfig(
            vocab_size=tokenizer.vocab_size,
            context_length=64,
            n_layers=2,
            d_model=16,
            n_heads=2,
            activation="gelu_tanh",
        )
        save_run(tmp_path / "run", build(config), tokenizer)
        assert main(["export", str(tmp_path / "run"), str(tmp_path / "hf")]) == 0
        return tmp_path / "run", tmp_path / "hf"

    return export


@pytest.mark.parity
def test_a_pretrained_run_writes_the_same_text(exported):
    run, folder = exported()
    model, tokenizer = opened(folder)
    ours = open_writer(str(run))
    prompt = ours.encode("or not")
    assert tokenizer.encode("or not") == prompt
    theirs = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)
    mine = generate(ours.model, torch.tensor([prompt]), 20, temperature=0, eos_id=next(iter(ours.end_ids)))
    assert_parity(mine, theirs, of=OF, against="transformers.GenerationMixin.generate", atol=0)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == next(iter(ours.end_ids))


@pytest.mark.parity
def test_a_chat_model_keeps_its_template_and_stops(exported):
    run, folder = exported(START, END)
    model, tokenizer = opened(folder)
    own = Tokenizer.load(run / "tokenizer.json")
    ids = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_dict=False)
    assert_parity(
        render_chat(TALK, own, add_generation_prompt=True).ids,
        ids,
        of=OF,
        against="transformers.apply_chat_template",
        atol=0,
    )
    assert tokenizer.eos_token == END
    assert model.generation_config.eos_token_id == own.special_tokens[END]
    with torch.no_grad():  # the model now says nothing but the end
        model.lm_head.weight.copy_(torch.zeros_like(model.lm_head.weight))
        model.transformer.ln_f.bias.copy_(torch.ones(16))
        model.lm_head.weight[own.special_tokens[END]] = 1
    assert model.generate(torch.tensor([ids]), max_new_tokens=9, do_sample=False).shape[1] == len(ids) + 1


def test_a_round_trip_loses_no_stop_token(tmp_path):
    backend = Tokenizer.train("a", 259, special_tokens=["<|endoftext|>", START, END])
    source = tmp_path / "source"
    to_hf_tokenizer(backend, bos="<|endoftext|>", eos=END).save_pretrained(source)
    hf = to_hf(
        build(
            ModelConfig(
                vocab_size=259, context_length=8, n_layers=1, d_model=8, n_heads=2, activation="gelu_tanh"
            )
        )
    )
    hf.generation_config = transformers.GenerationConfig(
        eos_token_id=[256, 258], temperature=0.6, do_sample=True
    )
    hf.save_pretrained(source)
    assert main(["export", str(source), str(tmp_path / "copy")]) == 0
    model, tokenizer = opened(tmp_path / "copy")
    assert model.generation_config.eos_token_id == [256, 258]
    assert model.generation_config.temperature == 0.6
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", END, END)


def test_a_tokenizer_without_an_end_takes_that_of_the_settings(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    to_hf_tokenizer(Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"])).save_pretrained(source)
    sizes = {"context_length": 8, "n_layers": 1, "d_model": 8, "n_heads": 2, "activation": "gelu_tanh"}
    hf = to_hf(build(ModelConfig(vocab_size=257, **sizes)))
    hf.generation_config = transformers.GenerationConfig(eos_token_id=256)
    hf.save_pretrained(source)
    assert main(["export", str(source), str(copy)]) == 0
    assert opened(copy)[0].generation_config.eos_token_id == 256


def test_transformers_shows_no_progress_bar(exported, capsys):
    before = transformers.utils.logging.is_progress_bar_enabled()
    exported()
    assert "Writing model shards" not in capsys.readouterr().err
    assert transformers.utils.logging.is_progress_bar_enabled() == before


def test_an_existing_folder_is_left_alone(exported, capsys):
    run, folder = exported()
    before = sorted(path.name for path in folder.iterdir())
    assert main(["export", str(run), str(folder)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == before


def small(family, **changes):
    """A tiny model of transformers of one of the families that GGUF takes."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 300, **changes}
    if family == "gpt2":
        sizes = {
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 1024,
            "vocab_size": 300,
        }  # 1024: not read
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **sizes)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms of a new model are all 0 or 1
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parity
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gpt2", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"tie_word_embeddings": False, "head_dim": 16}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 128}),
    ],
    ids=["gpt2", "llama", "wide-llama", "qwen2", "qwen3"],
)
def test_a_gguf_file_is_what_transformers_reads_from_it(family, changes, tmp_path):
    own = Tokenizer.train("to be or not to be " * 9, 268, special_tokens=["<|endoftext|>", START, END])
    source = small(family, **changes)
    source.save_pretrained(tmp_path / "hf")
    tokenizer = to_hf_tokenizer(own, bos=START, eos=END)
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(tmp_path / "hf")
    file = tmp_path / "model.gguf"
    assert main(["export", str(tmp_path / "hf"), str(file), "--format", "gguf"]) == 0

    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name).eval()
    ids = torch.tensor([[5, 7, 256, 31, 299]])
    with torch.no_grad():
        assert_parity(
            read(ids).logits,
            source(ids).logits,
            of=SAVE_GGUF,
            against="transformers.AutoModelForCausalLM",
            atol=1e-5,
        )
    again = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    text = f"to be, é 123\n{END} or"
    assert again.encode(text) == tokenizer.encode(text)

    fields = gguf.GGUFReader(file).fields
    assert fields["tokenizer.ggml.tokens"].contents()[:3] == ["Ā", "ā", "Ă"]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        gguf.TokenType.NORMAL: 265,
        gguf.TokenType.CONTROL: 3,
        gguf.TokenType.UNUSED: 300 - 268,
    }
    # transformers opens any tokenizer beside a Qwen2 with Qwen2's split
    split = "qwen2" if family == "qwen2" else "gpt-2"
    assert fields["tokenizer.ggml.pre"].contents() == split
    assert fields["tokenizer.ggml.bos_token_id"].contents() == own.special_tokens[START]
    assert fields["tokenizer.ggml.eos_token_id"].contents() == own.special_tokens[END]
    assert fields["tokenizer.ggml.add_bos_token"].contents() is True
    assert fields["tokenizer.chat_template"].contents() == "{{ messages }}"


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "smollm2-135m-instruct"])
def test_llama_cpp_writes_the_same_tokens(name, tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs pip install llama-cpp-python")
    source = name  # of a package
    if name not in MODELS:
        own = Tokenizer.train("to be or not to be " * 9, 265, special_tokens=["<|endoftext|>", START, END])
        source = str(tmp_path / "hf")
        small(name).save_pretrained(source)
        to_hf_tokenizer(own, eos=END).save_pretrained(source)
    file = tmp_path / "model.gguf"
    assert main(["export", source, str(file), "--format", "gguf"]) == 0
    model, tokenizer = open_model(source)
    text = f"{START}user\nTo be, or not to be?{END}\n{START}assistant\n"
    prompt = tokenizer.encode(text, add_special_tokens=False)
    float32 = llama_cpp.GGML_TYPE_F32
    peer = llama_cpp.Llama(str(file), n_ctx=64, type_k=float32, type_v=float32, verbose=False)
    assert peer.tokenize(text.encode(), add_bos=False, special=True) == prompt
    theirs = list(islice(peer.generate(prompt, temp=0), 24))
    mine = generate(model, torch.tensor([prompt]), 24, temperature=0)[0, len(prompt) :]
    assert mine.tolist() == theirs


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bloom", {"n_head": 4}, "the family bloom"),
        ("mistral", {"sliding_window": 8}, "the family mistral"),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "rope_theta": 1e4,
                    "factor": 2.0,
                    "original_max_position_embeddings": 32,
                }
            },
            "YarnScaling of llama",
        ),
    ],
    ids=["bloom", "window", "yarn"],
)
def test_what_gguf_cannot_hold_is_refused(family, changes, message, tmp_path, capsys):
    small(family, **changes).save_pretrained(tmp_path / "hf")
    to_hf_tokenizer(Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"])).save_pretrained(
        tmp_path / "hf"
    )
    assert main(["export", str(tmp_path / "hf"), str(tmp_path / "x.gguf"), "--format", "gguf"]) == 1
    assert f"cannot write {message} as GGUF" in capsys.readouterr().err
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([{"type": "ByteLevel", "use_regex": True}], "gpt-2"),
        ([{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "use_regex": True}], "smollm"),
        (
            [{"type": "Split", "pattern": {"Regex": LLAMA3}}, {"type": "ByteLevel", "use_regex": False}],
            "llama-bpe",
        ),
        ([{"type": "Split", "pattern": {"Regex": LLAMA3.replace("{1,3}", "")}}], "qwen2"),
    ],
    ids=["gpt-2", "smollm", "llama-bpe", "qwen2"],
)
def test_llama_cpp_names_of_splits(steps, name):
    backend = {
        "model": {"type": "BPE"},
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
    }
    assert split_name(backend) == name
    with pytest.raises(ValueError, match="no known name for the tokenizer's split"):
        split_name(backend | {"model": {"type": "Unigram"}})


def test_llama_3_scaling_goes_into_the_file_as_factors_of_the_frequencies(tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    source = small("llama", rope_parameters=rope)
    source.save_pretrained(tmp_path / "hf")
    to_hf_tokenizer(Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"])).save_pretrained(
        tmp_path / "hf"
    )
    assert main(["export", str(tmp_path / "hf"), str(tmp_path / "x.gguf"), "--format", "gguf"]) == 0
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    plain = small("llama").model.rotary_emb.inv_freq
    expected = plain / source.model.rotary_emb.inv_freq
    assert expected[-1] == pytest.approx(8.0)
    torch.testing.assert_close(torch.tensor(tensors["rope_freqs.weight"]), expected)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["ours", "transformers"])
def test_an_adapter_opens_in_peft_with_its_base(kind, tmp_path, capsys):
    base, run, folder = tmp_path / "base", tmp_path / "run", tmp_path / "peft"
    own = Tokenizer.train("to be or not to be " * 9, 268, special_tokens=["<|endoftext|>", START, END])
    if kind == "ours":
        sizes = {"context_length": 64, "n_layers": 1, "d_model": 16, "n_heads": 2, "activation": "gelu_tanh"}
        save_run(base, build(ModelConfig(vocab_size=268, **sizes)), own)
    else:
        small("llama").save_pretrained(base)
        tokenizer = to_hf_tokenizer(own, eos=END)
        tokenizer.chat_template = CHATML
        tokenizer.save_pretrained(base)
    data = tmp_path / "talks.jsonl"
    data.write_text('{"prompt": "to be", "completion": "or not"}\n' * 9)
    args = ["--data", str(data), "--model", str(base), "--output", str(run), "--held-out", "0"]
    assert main(["sft", *args, "--lora-rank", "2", "--n-steps", "2", "--lr", "0.1"]) == 0, (
        capsys.readouterr().err
    )
    assert main(["export", str(run), str(folder), "--format", "peft"]) == 0
    needed = folder / "base" if kind == "ours" else base
    assert (
        f"set base_model_name_or_path in adapter_config.json to a copy of {needed}\n"
        in capsys.readouterr().out
    )
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    assert theirs.peft_config["default"].base_model_name_or_path == str(needed)
    ids = torch.tensor([[5, 7, 256, 31]])
    with torch.no_grad():
        mine = load(run)(ids)
        assert_parity(mine, theirs(ids).logits, of=OF, against="peft.AutoPeftModelForCausalLM", atol=1e-5)
        assert not torch.allclose(mine, load(base)(ids), atol=1e-3)
    assert transformers.AutoTokenizer.from_pretrained(folder).eos_token == END
    assert main(["export", str(base), str(tmp_path / "none"), "--format", "peft"]) == 1
    assert "has no adapter" in capsys.readouterr().err


def test_an_adapter_names_its_base_as_the_hub_does(tmp_path, capsys):
    """Not the folder in the cache of this machine where the packaged model is unpacked."""
    name = "smollm2-135m-instruct"
    base = tmp_path / f"{name}-{PACKAGES[name].sha256[:16]}-unpacked"
    small("llama").save_pretrained(base)
    own = Tokenizer.train("to be or not to be " * 9, 268, special_tokens=["<|endoftext|>", START, END])
    tokenizer = to_hf_tokenizer(own, eos=END)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(base)
    adapted = apply_lora(load(base), rank=2, alpha=4, target_modules=("q_proj", "o_proj"))
    save_adapter(adapted, tmp_path / "adapter", base=str(base))
    assert main(["export", str(tmp_path / "adapter"), str(tmp_path / "peft"), "--format", "peft"]) == 0
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config["target_modules"] == ["o_proj", "q_proj"]
    printed = capsys.readouterr().out
    assert "opens it on HuggingFaceTB/SmolLM2-135M-Instruct\n" in printed
    assert "a copy of that model in 4 bits" in printed


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_the_files_of_a_run_have_one_mode(tmp_path):
    tokenizer = to_hf_tokenizer(Tokenizer.train("a", 257, special_tokens=["<|endoftext|>"]))
    save_transformers(tmp_path, from_hf(small("llama")), tokenizer)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
