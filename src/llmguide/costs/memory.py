r"""Bytes that a model needs: weights, gradients, optimizer, activations, scores, KV cache.

Counts follow from shapes, so they are exact for what they name; what an allocator adds (fragments,
workspaces, the CUDA context) is left out, as are the logits, $B n V$ values that can exceed a layer's
activations in a small model.

| symbol | meaning |
| --- | --- |
| $\Psi$ | parameters |
| $B$, $n$ | sequences in a batch, tokens in each |
| $L$, $D$, $H$, $K$, $E$ | layers, width, query heads, key/value heads, head width (`config`) |

References: ZeRO (Rajbhandari et al. 2019, arXiv:1910.02054, sections 3, 5 and 7); activations (Korthikanti
et al. 2022, arXiv:2205.05198, section 4); FlashAttention (arXiv:2205.14135); latent attention (DeepSeek-V2,
arXiv:2405.04434, section 2.1). 1 KiB = 1,024 bytes, 1 GB = 10^9 bytes.
"""

from typing import Literal

from llmguide.config.model_config import ModelConfig
from llmguide.costs._checks import require_positive

Recompute = Literal["none", "selective", "full"]


def model_state_bytes(n_params: float, *, zero_stage: int = 0, n_devices: int = 1) -> dict[str, float]:
    r"""Compute the model state of one device in bytes, for Adam in mixed precision: 16 bytes per parameter.

    These are 2 for the 16-bit weight, 2 for its gradient and 12 for the optimizer (float32 weight, first and
    second moment). ZeRO shards the optimizer state (stage 1), the gradients too (2) and the weights too (3,
    as PyTorch's FSDP does).

    Args:
        n_params: Number of parameters $\Psi$.
        zero_stage: ZeRO stage, from 0 (a full copy on each device, as DDP) to 3.
        n_devices: Number of devices that the state is sharded over.

    Returns:
        Bytes of the parts `weights`, `gradients` and `optimizer`.

    Raises:
        ValueError: If there is no such stage, or a count is below 1.

    >>> model_state_bytes(7_500_000_000, zero_stage=1, n_devices=64)  # sum 31.4 GB: ZeRO, figure 1
    {'weights': 15000000000.0, 'gradients': 15000000000.0, 'optimizer': 1406250000.0}
    """
    require_positive(n_params=n_params, n_devices=n_devices)
    _require_stage(zero_stage)
    return {
        "weights": 2 * n_params / (n_devices if zero_stage >= 3 else 1),
        "gradients": 2 * n_params / (n_devices if zero_stage >= 2 else 1),
        "optimizer": 12 * n_params / (n_devices if zero_stage >= 1 else 1),
    }


def data_parallel_traffic(
    n_params: float, *, zero_stage: int = 0, n_devices: int, bytes_per_value: int = 2
) -> float:
    r"""Compute the bytes that each device sends in one data-parallel training step, with ring collectives.

    DDP all-reduces the gradients; ZeRO 1 and 2 reduce-scatter them and all-gather the weights, which has the
    same volume: $2 \Psi (P-1)/P$ values. Stage 3 all-gathers the weights a second time, for the backward
    pass: $3 \Psi (P-1)/P$.

    Args:
        n_params: Number of parameters $\Psi$.
        zero_stage: ZeRO stage, from 0 (DDP) to 3.
        n_devices: Number of devices $P$.
        bytes_per_value: Bytes of a gradient or weight that is sent.

    Returns:
        Bytes sent; as many are received.

    Raises:
        ValueError: If there is no such stage, or a count is below 1.

    >>> data_parallel_traffic(1000, n_devices=4), data_parallel_traffic(1000, zero_stage=3, n_devices=4)
    (3000.0, 4500.0)
    """
    require_positive(n_params=n_params, n_devices=n_devices, bytes_per_value=bytes_per_value)
    _require_stage(zero_stage)
    passes = 3 if zero_stage == 3 else 2
    return passes * n_params * bytes_per_value * (n_devices - 1) / n_devices


def activation_bytes(
    config: ModelConfig,
    n_tokens: int,
    batch: int,
    *,
    recompute: Recompute = "none",
) -> int:
    r"""Compute the bytes of activations kept for the backward pass: $L B n D (34 + 5 H n / D)$.

    Source: Korthikanti et al. 2022, equation 1, for GPT layers ($F = 4D$, GELU, dropout) in 16 bits on one
    device. The 5 are softmax, its dropout mask and its output; `selective` recomputes them, as
    FlashAttention does. `full` keeps only each layer's input, 2 bytes a value, and computes the layer
    again. A SwiGLU layer differs by a few of the 34.

    Args:
        config: Sizes of the model; layers, width and heads matter.
        n_tokens: Tokens in each sequence, $n$.
        batch: Sequences in the batch, $B$.
        recompute: Which activations the backward pass computes again instead of keeping them.

    Returns:
        Bytes, without embeddings and logits.

    Raises:
        ValueError: If a count is below 1.

    >>> from llmguide.config.presets import PRESETS
    >>> gpt3 = PRESETS["gpt3-175b"]  # 5 x 96 x 2048 / 12288 = 80, so selective recomputation saves 80 of 114
    >>> activation_bytes(gpt3, 2048, 1, recompute="selective") / activation_bytes(gpt3, 2048, 1)
    0.298
    """
    require_positive(n_tokens=n_tokens, batch=batch)
    values = config.n_layers * batch * n_tokens * config.d_model
    scores = config.n_layers * batch * n_tokens**2 * config.n_heads
    match recompute:
        case "none":
            return 34 * values + 5 * scores
        case "selective":
            return 34 * values
        case "full":
            return 2 * values
        case _:
            raise ValueError(f"recompute={recompute!r} must be 'none', 'selective' or 'full'")


def memory_estimate(
    config: ModelConfig,
    n_tokens: int,
    batch: int = 1,
    *,
    zero_stage: int = 0,
    n_devices: int = 1,
    recompute: Recompute = "selective",
) -> dict[str, float]:
    """Estimate the memory of each device in training: model state and activations.

    Args:
        config: Sizes of the model.
        n_tokens: Tokens in each sequence.
        batch: Sequences in the batch of one device.
        zero_stage: ZeRO stage, from 0 (a full copy on each device, as DDP) to 3 (as FSDP).
        n_devices: Number of devices that the model state is sharded over.
        recompute: Which activations the backward pass computes again, as in `activation_bytes`.

    Returns:
        Bytes of the parts `weights`, `gradients`, `optimizer` and `activations`. Logits and the workspace of
        the framework come on top.

    Raises:
        ValueError: If a count is below 1, or there is no such stage or choice.

    >>> from llmguide import PRESETS, memory_estimate
    >>> parts = memory_estimate(PRESETS["gpt2"], n_tokens=1024, batch=8)
    >>> {name: round(size / 1e9, 2) for name, size in parts.items()}  # 2, 2, 12 bytes a parameter
    {'weights': 0.25, 'gradients': 0.25, 'optimizer': 1.49, 'activations': 2.57}
    """
    state = model_state_bytes(config.n_params(), zero_stage=zero_stage, n_devices=n_devices)
    return state | {"activations": activation_bytes(config, n_tokens, batch, recompute=recompute)}


def attention_score_bytes(n_tokens: int, n_heads: int, batch: int = 1, *, bytes_per_value: int = 2) -> int:
    """Compute the bytes of one layer's stored score matrices: quadratic in the sequence length.

    Args:
        n_tokens: Tokens in each sequence.
        n_heads: Number of query heads.
        batch: Sequences in the batch.
        bytes_per_value: Bytes of one score; 2 in half precision.

    Returns:
        Bytes of one layer.

    Raises:
        ValueError: If a count is below 1.

    >>> attention_score_bytes(100_000, 1)  # 20 GB for one head
    20000000000
    """
    require_positive(n_tokens=n_tokens, n_heads=n_heads, batch=batch, bytes_per_value=bytes_per_value)
    return batch * n_heads * n_tokens**2 * bytes_per_value


def flash_attention_bytes(n_tokens: int, n_heads: int, batch: int = 1) -> int:
    """Compute the bytes that FlashAttention keeps instead: one float32 log-sum-exp per row of scores.

    Args:
        n_tokens: Tokens in each sequence.
        n_heads: Number of query heads.
        batch: Sequences in the batch.

    Returns:
        Bytes of one layer.

    Raises:
        ValueError: If a count is below 1.

    >>> flash_attention_bytes(100_000, 1)
    400000
    """
    require_positive(n_tokens=n_tokens, n_heads=n_heads, batch=batch)
    return batch * n_heads * n_tokens * 4


def kv_cache_bytes_per_token(config: ModelConfig, *, bytes_per_value: int = 2) -> int:
    r"""Compute the KV cache of one token in bytes: $2 L K E$ values over all layers.

    Args:
        config: A decoder.
        bytes_per_value: Bytes of one value; 2 in half precision, 1 for an 8-bit cache.

    Returns:
        Bytes per token.

    Raises:
        ValueError: If the model is not a decoder.

    >>> from llmguide.config.presets import PRESETS
    >>> kv_cache_bytes_per_token(PRESETS["llama-2-7b"]) / 1024  # 2 x 32 x 32 x 128 x 2 bytes
    512.0
    """
    require_positive(bytes_per_value=bytes_per_value)
    if config.architecture != "decoder":
        raise ValueError(
            f"architecture={config.architecture!r}: a cache of its own tokens is kept by a decoder"
        )
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * bytes_per_value


def kv_cache_bytes(config: ModelConfig, n_tokens: int, batch: int = 1, *, bytes_per_value: int = 2) -> int:
    """Compute the KV cache of a batch in bytes; with a sliding window it stops growing at the window.

    Args:
        config: A decoder.
        n_tokens: Tokens in each sequence, prompt and output together.
        batch: Sequences in the batch.
        bytes_per_value: Bytes of one value; 2 in half precision, 1 for an 8-bit cache.

    Returns:
        Bytes of the whole batch.

    Raises:
        ValueError: If a count is below 1, or the model is not a decoder.

    >>> from llmguide.config.presets import PRESETS
    >>> kv_cache_bytes(PRESETS["llama-2-7b"], 4096) / 2**30
    2.0
    """
    require_positive(n_tokens=n_tokens, batch=batch)
    kept, n_full = min(n_tokens, config.sliding_window or n_tokens), config.n_full_layers
    per_token = kv_cache_bytes_per_token(config, bytes_per_value=bytes_per_value)
    return batch * (n_full * n_tokens + (config.n_layers - n_full) * kept) * per_token // config.n_layers


def latent_cache_bytes_per_token(
    n_layers: int, *, latent_dim: int, rope_dim: int, bytes_per_value: int = 2
) -> int:
    """Compute the cache of one token in latent attention, in bytes: one latent and one rotated key per layer.

    Args:
        n_layers: Number of layers.
        latent_dim: Width of the latent vector from which keys and values are computed.
        rope_dim: Width of the key that carries the position, shared by the heads.
        bytes_per_value: Bytes of one value; 2 in half precision.

    Returns:
        Bytes per token.

    Raises:
        ValueError: If a count is below 1.

    >>> latent_cache_bytes_per_token(61, latent_dim=512, rope_dim=64)  # DeepSeek-V3: 61 x 576 x 2
    70272
    """
    require_positive(
        n_layers=n_layers, latent_dim=latent_dim, rope_dim=rope_dim, bytes_per_value=bytes_per_value
    )
    return n_layers * (latent_dim + rope_dim) * bytes_per_value


def _require_stage(zero_stage: int) -> None:
    if zero_stage not in range(4):
        raise ValueError(f"zero_stage={zero_stage} must be 0, 1, 2 or 3")
