r"""The compute that a model needs: FLOPs of a forward pass and of training, and utilization.

A multiply and an add are two FLOPs.

| symbol | meaning | unit |
| --- | --- | --- |
| $N$ | parameters | |
| $D$ | training tokens | |
| $C$ | training compute | FLOP |
| $n$ | tokens in a sequence | |

References: Kaplan et al. 2020, arXiv:2001.08361, section 2.1 (the rule 6ND); Chowdhery et al. 2022 (PaLM;
MFU), arXiv:2204.02311, appendix B. Leaves out: recomputed activations.
"""

from llmguide.config.model_config import ModelConfig
from llmguide.costs._checks import require_positive

PETAFLOP_DAY = 1e15 * 24 * 3600  # FLOP


def training_flops(n_params: float, n_tokens: float) -> float:
    r"""Estimate training compute, $C \approx 6ND$ FLOPs: 2 per parameter and token forward, 4 backward.

    Source: Kaplan et al. 2020, section 2.1. Leaves out attention's scores and values, which add $12 L H E n$
    a token (`3 * (scores + values)` of `forward_flops_per_token`): 16% for LLaMA-2 7B at 4,096 tokens.

    Args:
        n_params: Number of parameters $N$; the active ones in a mixture of experts.
        n_tokens: Number of training tokens $D$.

    Returns:
        FLOPs of the whole training run.

    >>> from llmguide import training_flops
    >>> f"{training_flops(6_738_415_616, 2e12):.3g}"  # LLaMA-2 7B, 2T tokens
    '8.09e+22'
    """
    require_positive(n_params=n_params, n_tokens=n_tokens)
    return 6.0 * n_params * n_tokens


def forward_flops_per_token(config: ModelConfig, n_tokens: int, *, causal: bool = False) -> dict[str, float]:
    r"""Count the FLOPs of one forward pass, per token of a sequence, by part.

    A weight matrix costs 2 FLOPs a weight; scores $QK^\top$ and values $AV$ cost $2HE$ each per visible token
    and layer. Norms, activations, softmax and the embedding lookup are left out.

    Args:
        config: A decoder or an encoder.
        n_tokens: Length $n$ of the sequence.
        causal: Count half the scores, as a kernel that skips the masked ones computes; False counts all, as
            PaLM's appendix B does.

    Returns:
        Parts `projections`, `scores`, `values`, `feed_forward`, `router`, `head`.

    Raises:
        ValueError: `n_tokens` is below 1, or the model has two sequences (encoder-decoder).

    >>> from llmguide.config.presets import PRESETS
    >>> forward_flops_per_token(PRESETS["gpt2"], 1024)["scores"]  # 2 x 1024 x 768 in 12 layers
    18874368.0
    """
    require_positive(n_tokens=n_tokens)
    if config.architecture == "encoder-decoder":
        raise ValueError(
            "an encoder-decoder reads two sequences: count its encoder and its decoder as two configs"
        )
    d = config.d_model
    query, key_value = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    window = min(n_tokens, config.sliding_window or n_tokens)
    # mean over the positions: n/2 without a window
    windowed, full = (kept * (1 - kept / (2 * n_tokens)) if causal else kept for kept in (window, n_tokens))
    visible = windowed + (full - windowed) * config.n_full_layers / config.n_layers  # mean over the layers
    matrices = 3 if config.activation == "swiglu" else 2
    each_layer = {
        "projections": 2.0 * (2 * d * query + 2 * d * key_value),
        "scores": 2.0 * visible * query,
        "values": 2.0 * visible * query,
        "feed_forward": 2.0 * max(1, config.n_experts_per_token) * matrices * d * config.d_ff,
        "router": 2.0 * d * config.n_experts,
    }
    head = 2.0 * config.vocab_size * d if config.architecture == "decoder" else 0.0
    return {part: config.n_layers * flops for part, flops in each_layer.items()} | {"head": head}


def attention_fraction(config: ModelConfig, n_tokens: int, *, causal: bool = False) -> float:
    """Compute the fraction of the layers' FLOPs that attention scores and values take (without the head).

    Args:
        config: A decoder or an encoder.
        n_tokens: Length of the sequence.
        causal: Count half the scores, as in `forward_flops_per_token`.

    Returns:
        A fraction between 0 and 1.

    >>> from llmguide.config.presets import PRESETS
    >>> round(attention_fraction(PRESETS["llama-2-7b"], 4096), 3)
    0.142
    """
    parts = forward_flops_per_token(config, n_tokens, causal=causal)
    return (parts["scores"] + parts["values"]) / (sum(parts.values()) - parts["head"])


def attention_crossover(config: ModelConfig, *, causal: bool = False) -> float:
    """Find the sequence length from which scores and values cost more FLOPs than the weights of the layers.

    With multi-head attention and $F = 4D$ it is $6D$, or $12D$ for a causal kernel: $4nD$ against $24D^2$.

    Args:
        config: A decoder or an encoder without a sliding window.
        causal: Count half the scores, as in `forward_flops_per_token`.

    Returns:
        Length in tokens.

    Raises:
        ValueError: With a sliding window the cost of a token stops growing.

    >>> from llmguide.config.presets import PRESETS
    >>> attention_crossover(PRESETS["gpt2"]), attention_crossover(PRESETS["gpt2"], causal=True)
    (4608.0, 9216.0)
    """
    if config.sliding_window is not None:
        raise ValueError(
            f"sliding_window={config.sliding_window} bounds the scores of a token: set it to None"
        )
    one = forward_flops_per_token(
        config, 1, causal=causal
    )  # scores and values are proportional to the length
    weights = one["projections"] + one["feed_forward"] + one["router"]
    return weights / (one["scores"] + one["values"])


def mfu(flops: float, hours: float, *, peak_flops: float) -> float:
    """Compute the model FLOPs utilization: FLOPs that the model needs over the hardware's peak.

    Source: Chowdhery et al. 2022, appendix B.

    Args:
        flops: FLOPs that the model needs (`training_flops`), without recomputation.
        hours: Device-hours, summed over devices.
        peak_flops: FLOP/s of one device in the format used: A100 bf16 dense 312e12, H100 SXM 989e12.

    Returns:
        A fraction between 0 and 1; a value above 1 means that an input is wrong.

    >>> round(mfu(training_flops(6_738_415_616, 2e12), 184_320, peak_flops=312e12), 3)  # LLaMA-2 7B
    0.391
    """
    require_positive(flops=flops, hours=hours, peak_flops=peak_flops)
    return flops / (hours * 3600 * peak_flops)
