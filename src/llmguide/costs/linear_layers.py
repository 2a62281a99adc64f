r"""The linear layers of a block: their sizes, what LoRA adds to them, and their bytes when quantized.

References: LoRA (Hu et al. 2021, arXiv:2106.09685), whose rank is $r$; QLoRA (Dettmers et al. 2023,
arXiv:2305.14314, section 3). 1 GB = 10^9 bytes.
"""

from collections.abc import Collection

from llmguide.config.model_config import ModelConfig
from llmguide.costs._checks import require_positive


def linear_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """List the input and output sizes of the linear layers in one block, by their names in `llmguide`.

    >>> from llmguide.config.presets import PRESETS
    >>> linear_shapes(PRESETS["gpt2"])["up"]
    (768, 3072)
    """
    d, query, key_value = (
        config.d_model,
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
    )
    attention = {
        "q_proj": (d, query),
        "k_proj": (d, key_value),
        "v_proj": (d, key_value),
        "o_proj": (query, d),
    }
    feed_forward = {"up": (d, config.d_ff), "down": (config.d_ff, d)}
    gate = {"gate": (d, config.d_ff)} if config.activation == "swiglu" else {}
    return attention | gate | feed_forward


def lora_params(config: ModelConfig, rank: int, targets: Collection[str] | None = None) -> int:
    r"""Count the trainable parameters of LoRA: $r \times (\mathrm{in} + \mathrm{out})$ per adapted matrix.

    Args:
        config: A decoder or an encoder; every expert of a mixture gets an adapter.
        rank: Rank $r$ of the adapters.
        targets: Names from `linear_shapes` of the layers to adapt; None adapts all of them.

    Returns:
        Number of trainable parameters.

    Raises:
        ValueError: If the rank is below 1, or a target does not exist.

    >>> from llmguide.config.presets import PRESETS
    >>> lora_params(PRESETS["llama-2-7b"], 8, ["q_proj", "v_proj"])  # 32 x 2 x 8 x (4096 + 4096)
    4194304
    """
    require_positive(rank=rank)
    shapes = linear_shapes(config)
    targets = shapes if targets is None else targets
    if unknown := set(targets) - set(shapes):
        raise ValueError(f"targets {sorted(unknown)} do not exist; this model has {', '.join(shapes)}")
    return rank * sum(sum(shapes[name]) * _copies(config, name) for name in targets)


def nf4_bits(block_size: int = 64, scale_block_size: int = 256) -> float:
    """Compute the bits per weight in NF4 with double quantization: 4, and a fraction of two levels of scales.

    Args:
        block_size: Number of weights that share an 8-bit scale.
        scale_block_size: Number of scales that share a float32 scale.

    Returns:
        Bits per weight.

    Raises:
        ValueError: If a size is below 1.

    >>> round(nf4_bits(), 3)  # 4 + 8/64 + 32/(64 x 256)
    4.127
    """
    require_positive(block_size=block_size, scale_block_size=scale_block_size)
    return 4 + 8 / block_size + 32 / (block_size * scale_block_size)


def quantized_bytes(config: ModelConfig, bits: float) -> float:
    """Compute the bytes of a model whose blocks have quantized linear layers; the rest stays at 16 bits.

    Args:
        config: A decoder or an encoder.
        bits: Bits per quantized weight, scales included (`nf4_bits()`, or 8 + 16/block).

    Returns:
        Bytes of the whole model.

    Raises:
        ValueError: If `bits` is not above 0.

    >>> from llmguide.config.presets import PRESETS
    >>> round(quantized_bytes(PRESETS["llama-2-7b"], nf4_bits()) / 1e9, 2)  # in bf16 13.48
    3.87
    """
    if not bits > 0:
        raise ValueError(f"bits={bits} must be above 0")
    quantized = sum(n * m * _copies(config, name) for name, (n, m) in linear_shapes(config).items())
    return quantized * bits / 8 + (config.n_params() - quantized) * 2


def _copies(config: ModelConfig, name: str) -> int:
    if config.architecture == "encoder-decoder":
        raise ValueError(
            "architecture='encoder-decoder' has two kinds of block: count a decoder or an encoder"
        )
    is_expert = name in {"gate", "up", "down"}
    return config.n_layers * (max(1, config.n_experts) if is_expert else 1)
