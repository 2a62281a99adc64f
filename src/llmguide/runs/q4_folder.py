"""Convert a Q4_1 GGUF file of the LLaMA family to a folder that `llmguide.load` opens with 4-bit weights.

The codes of the matrices are those of the file. Their scales are rounded from 16 to 8 bits, and the
embedding, which is also the output head, from 8 to 4 bits, but for those of the most frequent tokens, whose
rounding errors are stored too. Files have at most 16 MB each, so that a static
host serves them and a browser resumes a download.

Leaves out: other quantization types, other architectures, and an output head of its own.
"""

from collections.abc import Iterable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from llmguide.config.model_config import ModelConfig
from llmguide.extras import import_extra
from llmguide.files import write_json
from llmguide.models.q4_files import PARTS
from llmguide.models.saved import FORMAT, write_tensors
from llmguide.nn.q4 import BLOCK, Q4Linear, compress_q4, quantize_q4
from llmguide.runs.folder import TOKENIZER
from llmguide.tokenization.pretokenize import GPT2_PATTERN
from llmguide.tokenization.tokenizer import Tokenizer

LARGEST = 16_000_000  # bytes of a file
N_FREQUENT = 6144  # tokens, the first in the order of merges, whose embeddings are stored twice as precisely
# GPT-2's, but each digit is a piece, as is the space before it
SMOLLM_PATTERN = GPT2_PATTERN.replace(r" ?\p{N}+", r"\p{N}").replace(
    r"|\s+(?!\S)", r"|\s+(?=\p{N})|\s+(?!\S)"
)
NAMES = {
    "token_embd": "head",
    "output_norm": "final_norm",
    "attn_norm": "attention_norm",
    "attn_q": "attention.q_proj",
    "attn_k": "attention.k_proj",
    "attn_v": "attention.v_proj",
    "attn_output": "attention.o_proj",
    "ffn_norm": "feed_forward_norm",
    "ffn_gate": "feed_forward.gate",
    "ffn_up": "feed_forward.up",
    "ffn_down": "feed_forward.down",
}


def write_q4(file: Path, folder: Path) -> None:
    """Write the folder of a model: config, tokenizer and weights.

    Args:
        file: GGUF file with Q4_1 matrices and the tokenizer of SmolLM2.
        folder: Folder to write to.

    Raises:
        ModuleNotFoundError: ``llmguide[packaged]`` is not installed.
    """
    gguf = import_extra("gguf", "packaged", "a GGUF file")
    reader = gguf.GGUFReader(file)

    def field(name: str) -> Any:
        return reader.fields[name].contents()

    config = ModelConfig(
        vocab_size=field("llama.vocab_size"),
        context_length=field("llama.context_length"),
        n_layers=field("llama.block_count"),
        d_model=field("llama.embedding_length"),
        n_heads=field("llama.attention.head_count"),
        n_kv_heads=field("llama.attention.head_count_kv"),
        d_ff=field("llama.feed_forward_length"),
        positions="rope",
        rope_theta=field("llama.rope.freq_base"),
        norm="rmsnorm",
        norm_eps=field("llama.attention.layer_norm_rms_epsilon"),
        activation="swiglu",
        bias=False,
    )
    tensors: dict[str, Tensor] = {}
    for tensor in reader.tensors:
        tensors |= _converted(tensor, config)
    folder.mkdir(parents=True, exist_ok=True)
    files = _in_files(tensors)
    for i, part in enumerate(files, 1):
        write_tensors(folder / f"model-{i:05}-of-{len(files):05}.safetensors", part)
    names, ends = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    _tokenizer(names, ends).save(folder / TOKENIZER)
    write_json(folder / "config.json", {"format": FORMAT, "weights": "q4", "config": asdict(config)})


def _converted(tensor: Any, config: ModelConfig) -> dict[str, Tensor]:
    """Convert a tensor of a GGUF file to tensors under our names."""
    gguf = import_module("gguf")
    name = tensor.name.removesuffix(".weight")
    if name.startswith("blk."):
        _, layer, name = name.split(".")
        name = f"blocks.{layer}.{NAMES[name]}"
    else:
        name = NAMES[name]
    kind = tensor.tensor_type.name
    if kind == "F32":
        return {f"{name}.weight": torch.from_numpy(np.array(tensor.data))}
    if kind == "Q4_1":
        n_heads = {"q_proj": config.n_heads, "k_proj": config.n_kv_heads}.get(name.rsplit(".", 1)[1], 0)
        return _named(name, compress_q4(*_blocks(np.array(tensor.data), n_heads)))
    weights = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    quantized = quantize_q4(weights)
    errors = weights[:N_FREQUENT] - Q4Linear(*quantized).rows(slice(N_FREQUENT))
    return _named(name, quantized) | _named(f"{name}.correction", quantize_q4(errors))


def _named(name: str, parts: Iterable[Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{part}": value for part, value in zip(PARTS, parts, strict=True)}


def _blocks(data: UInt8[np.ndarray, "rows width"], n_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the codes, steps and minima of Q4_1; rows that llama.cpp has paired for RoPE go back."""
    if n_heads:
        data = data.reshape(n_heads, -1, 2, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
    blocks = data.reshape(len(data), -1, 4 + BLOCK // 2)
    steps, minima = np.moveaxis(blocks[..., :4].copy().view(np.float16).astype(np.float32), -1, 0)
    packed = blocks[..., 4:]  # the low halves hold the first 16 codes
    codes = np.concatenate([packed & 15, packed >> 4], axis=-1)
    return torch.from_numpy(codes), torch.from_numpy(steps), torch.from_numpy(minima)


def _in_files(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Distribute tensors over files, in order."""
    files: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if size + tensor.nbytes > LARGEST - 2**17:  # for the header
            files.append({})
            size = 0
        files[-1][name] = tensor
        size += tensor.nbytes
    return files


def _tokenizer(names: list[str], types: list[int]) -> Tokenizer:
    """Build the tokenizer from the tokens of a file; merges have the order of their tokens.

    Bytes without a token, which UTF-8 text hardly ever has, get ids beyond the vocabulary.
    """
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    bytes_of = {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
    special = {name: i for i, name in enumerate(names) if types[i] == import_module("gguf").TokenType.CONTROL}
    ranks = {bytes(map(bytes_of.__getitem__, name)): i for i, name in enumerate(names) if name not in special}
    missing = [bytes([byte]) for byte in range(256) if bytes([byte]) not in ranks]
    ranks |= {byte: len(names) + i for i, byte in enumerate(missing)}
    return Tokenizer(ranks, pattern=SMOLLM_PATTERN, special_tokens=special)
