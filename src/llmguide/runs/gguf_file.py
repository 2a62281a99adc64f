"""Write a GGUF file, which llama.cpp, Ollama and LM Studio run: weights, sizes, tokenizer, chat template.

The tensors are those of transformers under the names of the ``gguf`` package. Two things change: in the
``llama`` architecture, rows of queries and keys that RoPE rotates together become neighbors, and GPT-2's
matrices are transposed. Matrices keep their data type; vectors are float32, as llama.cpp expects.

Reference: the GGUF specification, and ``convert_hf_to_gguf.py`` of llama.cpp.

Leaves out: quantization (``llama-quantize`` does it), SentencePiece tokenizers, mixtures of experts, sliding
windows, YaRN. Needs ``llmguide[packaged]``.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmguide.config.model_config import ModelConfig
from llmguide.config.rope_scaling import LinearScaling, Llama3Scaling
from llmguide.extras import import_extra
from llmguide.files import replacing
from llmguide.models import GPT, Llama
from llmguide.nn.rope import rope_frequencies
from llmguide.runs.transformers_folder import as_transformers
from llmguide.tokenization.pretokenize import GPT2_PATTERN

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPLITS = {  # split patterns of tokenizers, by llama.cpp's name for them
    ("ByteLevel",): "gpt-2",
    ("Digits", "ByteLevel"): "smollm",
    (GPT2_PATTERN,): "gpt-2",
    (WORDS.replace("DIGITS", r"\p{N}{1,3}"),): "llama-bpe",
    (WORDS.replace("DIGITS", r"\p{N}"),): "qwen2",
}
ARCHITECTURES = ("gpt2", "llama", "qwen2", "qwen3")


def save_gguf(path: Path, model: GPT | Llama, tokenizer: Any) -> None:
    """Write a decoder and its tokenizer to a GGUF file, whole or not at all.

    Args:
        path: File to write.
        model: Decoder of the family of GPT-2, LLaMA, Qwen2 or Qwen3.
        tokenizer: Byte-level BPE tokenizer of transformers, with its chat template, if it has one.

    Raises:
        ModuleNotFoundError: ``llmguide[packaged]`` is not installed.
        ValueError: llama.cpp has no counterpart of the model or of the tokenizer.
    """
    gguf = import_extra("gguf", "packaged", "a GGUF file")
    hf_model = as_transformers(model, tokenizer)
    family = hf_model.config.model_type
    _require_exportable(family, model.config)
    with replacing(path) as unfinished:
        writer = gguf.GGUFWriter(unfinished, family)
        writer.add_name(path.stem)
        _add_sizes(writer, family, model.config)
        _add_tokenizer(writer, tokenizer, hf_model.generation_config, model.config.vocab_size)
        _add_tensors(writer, gguf, family, hf_model, model.config)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _require_exportable(family: str, config: ModelConfig) -> None:
    problems = [f"the family {family}"] if family not in ARCHITECTURES else []
    if family == "gpt2" and config.activation != "gelu_tanh":
        problems.append(f"activation={config.activation!r} of gpt2")
    scaling = config.rope_scaling
    if not (scaling is None or isinstance(scaling, LinearScaling | Llama3Scaling)) or (
        isinstance(scaling, Llama3Scaling) and family != "llama"
    ):
        problems.append(f"{type(scaling).__name__} of {family}")
    if problems:
        raise ValueError(
            f"cannot write {' and '.join(problems)} as GGUF; export for transformers, and try llama.cpp's "
            "convert_hf_to_gguf.py on that folder"
        )


def _add_sizes(writer: Any, family: str, config: ModelConfig) -> None:
    writer.add_block_count(config.n_layers)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.d_model)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.n_heads)
    writer.add_vocab_size(config.vocab_size)
    if family == "gpt2":
        writer.add_layer_norm_eps(config.norm_eps)
        return
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    if isinstance(config.rope_scaling, LinearScaling):
        writer.add_rope_scaling_type(import_module("gguf").RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling.factor)


def _add_tokenizer(writer: Any, tokenizer: Any, settings: Any, vocab_size: int) -> None:
    kinds = import_module("gguf").TokenType
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split_name(backend))
    names = {i: name for name, i in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    types = [
        kinds.UNUSED
        if i not in names
        else kinds.NORMAL
        if i not in added
        else kinds.CONTROL
        if added[i].special
        else kinds.USER_DEFINED
        for i in range(vocab_size)
    ]
    writer.add_token_list([names.get(i, f"[PAD{i}]") for i in range(vocab_size)])
    writer.add_token_types(types)
    merges = backend["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    ends = settings.eos_token_id
    first, *others = [ends] if ends is None or isinstance(ends, int) else ends
    if tokenizer.eos_token_id in others:
        first, others = tokenizer.eos_token_id, [first, *others]
    ids = {"bos": tokenizer.bos_token_id, "eos": first, "pad": tokenizer.pad_token_id}
    ids["eot"] = next((i for i in others if i != first), None)
    for name, i in ids.items():
        if i is not None:
            getattr(writer, f"add_{name}_token_id")(i)
    begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    writer.add_add_bos_token(begins)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def split_name(backend: dict[str, Any]) -> str:
    """Return llama.cpp's name for the way in which a tokenizer splits text before the merges.

    Raises:
        ValueError: The tokenizer is not byte-level BPE, or llama.cpp has no name for its pattern.
    """
    before = backend["pre_tokenizer"] or {}
    steps = before.get("pretokenizers", [before])
    pattern = tuple(
        step["pattern"].get("Regex") if step["type"] == "Split" else step["type"]
        for step in steps
        if step.get("use_regex", True) and step
    )
    is_plain = backend["normalizer"] in (None, {"type": "NFC"})  # llama.cpp does not normalize
    if backend["model"]["type"] == "BPE" and is_plain and pattern in SPLITS:
        return SPLITS[pattern]
    raise ValueError(
        f"llama.cpp has no known name for the tokenizer's split {pattern}; export for transformers, and try "
        "llama.cpp's convert_hf_to_gguf.py on that folder"
    )


def _add_tensors(writer: Any, gguf: Any, family: str, hf_model: Any, config: ModelConfig) -> None:
    kind = gguf.MODEL_ARCH[family.upper()]
    names = gguf.get_tensor_name_map(kind, config.n_layers)
    dtypes = {torch.float32: "ALL_F32", torch.float16: "MOSTLY_F16", torch.bfloat16: "MOSTLY_BF16"}
    writer.add_file_type(gguf.LlamaFileType[dtypes[hf_model.dtype]])
    if isinstance(config.rope_scaling, Llama3Scaling):
        plain, scaled = (
            rope_frequencies(config.head_dim, config.rope_theta, scaling)
            for scaling in (None, config.rope_scaling)
        )
        writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy())
    for name, parameter in hf_model.named_parameters():
        tensor = parameter.detach().cpu()
        if family == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            tensor = tensor.T
        if family == "llama" and ".q_proj." in name:
            tensor = _neighboring_pairs(tensor, config.n_heads)
        if family == "llama" and ".k_proj." in name:
            tensor = _neighboring_pairs(tensor, config.n_kv_heads)
        _add_tensor(
            writer, gguf, names.get_name(name, try_suffixes=(".weight", ".bias")), tensor.contiguous()
        )


def _add_tensor(writer: Any, gguf: Any, name: str, tensor: Tensor) -> None:
    if tensor.ndim == 1:
        writer.add_tensor(name, tensor.float().numpy())
    elif tensor.dtype == torch.bfloat16:  # which NumPy does not have
        bf16 = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(name, gguf.quants.quantize(tensor.float().numpy(), bf16), raw_dtype=bf16)
    else:
        writer.add_tensor(name, tensor.numpy())


def _neighboring_pairs(rows: Tensor, n_heads: int) -> Tensor:
    """Reorder the rows of each head so that rows i and i + E/2, which RoPE rotates, become neighbors.

    >>> _neighboring_pairs(torch.tensor([0, 1, 2, 3]), 1).tolist()
    [0, 2, 1, 3]
    """
    heads = rows.view(n_heads, 2, -1, *rows.shape[1:])
    return heads.transpose(1, 2).flatten(0, 2)
