r"""What training costs and what loss it buys: FLOPs, scaling laws, compute-optimal sizes, hours and money.

A multiply and an add are two FLOPs. Losses are nats per token on the data and tokenizer of the paper that
fitted the law, so only differences within one paper mean anything.

| symbol | meaning | unit |
| --- | --- | --- |
| $N$ | parameters (Kaplan et al. count them without embeddings) | |
| $D$ | training tokens | |
| $C$ | training compute | FLOP |
| $n$ | tokens in a sequence | |

References: Kaplan et al. 2020, arXiv:2001.08361; Hoffmann et al. 2022 ("Chinchilla"), arXiv:2203.15556;
Besiroglu et al. 2024 (a refit of Chinchilla's data), arXiv:2404.10102; Chowdhery et al. 2022 (PaLM; MFU),
arXiv:2204.02311, appendix B. Leaves out: recomputed activations, repeated data, inference in the budget.
"""

import math
from dataclasses import dataclass

from llmguide.config import ModelConfig

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
    _require_positive(n_params=n_params, n_tokens=n_tokens)
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

    >>> from llmguide.config import PRESETS
    >>> forward_flops_per_token(PRESETS["gpt2"], 1024)["scores"]  # 2 x 1024 x 768 in 12 layers
    18874368.0
    """
    _require_positive(n_tokens=n_tokens)
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


def attention_share(config: ModelConfig, n_tokens: int, *, causal: bool = False) -> float:
    """Compute the fraction of the layers' FLOPs that attention scores and values take (without the head).

    Args:
        config: A decoder or an encoder.
        n_tokens: Length of the sequence.
        causal: Count half the scores, as in `forward_flops_per_token`.

    Returns:
        A fraction between 0 and 1.

    >>> from llmguide.config import PRESETS
    >>> round(attention_share(PRESETS["llama-2-7b"], 4096), 3)
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

    >>> from llmguide.config import PRESETS
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


@dataclass(frozen=True)
class PowerLaw:
    r"""Loss $(x_c / x)^\alpha$ when only $x$ is the bottleneck.

    >>> law = PowerLaw(scale=100.0, exponent=0.5)
    >>> law(25.0), round(1 - law(50.0) / law(25.0), 3)  # doubling x takes off 1 - 2^-0.5
    (2.0, 0.293)
    """

    scale: float  # x_c
    exponent: float  # alpha

    def __call__(self, x: float) -> float:
        """Predict the loss at `x`."""
        _require_positive(x=x)
        return math.pow(self.scale / x, self.exponent)


# Kaplan et al. 2020, equations 1.1 to 1.3 and appendix A; compute in FLOP
KAPLAN_PARAMS = PowerLaw(8.8e13, 0.076)
KAPLAN_TOKENS = PowerLaw(5.4e13, 0.095)
KAPLAN_COMPUTE = PowerLaw(3.1e8 * PETAFLOP_DAY, 0.050)  # C_min: batches far below the critical size
KAPLAN_COMPUTE_NAIVE = PowerLaw(1.6e7 * PETAFLOP_DAY, 0.057)  # one batch size for all


def kaplan_loss(n_params: float, n_tokens: float) -> float:
    r"""Predict the loss by Kaplan's law, $((N_c/N)^{\alpha_N/\alpha_D} + D_c/D)^{\alpha_D}$.

    Source: Kaplan et al. 2020, equation 1.5 with the joint fit of table 2, whose constants differ from the
    single laws `KAPLAN_PARAMS`, `KAPLAN_TOKENS` and `KAPLAN_COMPUTE`.

    Args:
        n_params: Number of parameters $N$, without embeddings.
        n_tokens: Number of training tokens $D$.

    Returns:
        Loss in nats per token, on WebText2.

    >>> from llmguide import kaplan_loss
    >>> round(kaplan_loss(6.4e13, 1.8e13), 3)  # both terms are 1: 2^0.103
    1.074
    """
    _require_positive(n_params=n_params, n_tokens=n_tokens)
    alpha_n, alpha_d, n_c, d_c = 0.076, 0.103, 6.4e13, 1.8e13
    return math.pow(math.pow(n_c / n_params, alpha_n / alpha_d) + d_c / n_tokens, alpha_d)


@dataclass(frozen=True)
class ChinchillaConstants:
    r"""A fit of $L(N, D) = E + A/N^\alpha + B/D^\beta$; $E$ is the loss that no model goes below."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float


# Equation 10 as printed: good for a loss, but not for its optimum. At 1e24 FLOP it asks for
# 98 tokens a parameter, the unrounded fit (from the TeX source, via Besiroglu et al.) for 62
HOFFMANN_ROUNDED = ChinchillaConstants(1.69, 406.4, 410.7, 0.34, 0.28)
HOFFMANN = ChinchillaConstants(1.6934, 406.4, 410.7, 0.3392, 0.2849)
BESIROGLU = ChinchillaConstants(1.8172, 482.01, 2085.43, 0.3478, 0.3658)


def chinchilla_loss(
    n_params: float, n_tokens: float, constants: ChinchillaConstants = HOFFMANN_ROUNDED
) -> float:
    r"""Predict the loss by Chinchilla's law, $E + A/N^\alpha + B/D^\beta$.

    Source: Hoffmann et al. 2022, equation 10.

    Args:
        n_params: Number of parameters $N$.
        n_tokens: Number of training tokens $D$.
        constants: Fitted constants of the law.

    Returns:
        Loss in nats per token, on MassiveText.

    >>> from llmguide import chinchilla_loss
    >>> round(chinchilla_loss(70e9, 1.4e12), 3)  # 1.69 + 0.083 + 0.163
    1.937
    """
    _require_positive(n_params=n_params, n_tokens=n_tokens)
    c = constants
    return c.E + c.A / math.pow(n_params, c.alpha) + c.B / math.pow(n_tokens, c.beta)


def chinchilla_optimal(flops: float, *, tokens_per_param: float = 20.0) -> tuple[float, float]:
    r"""Split a compute budget into parameters and tokens at a fixed ratio: $N = \sqrt{C / (6r)}$, $D = rN$.

    Approaches 1 and 2 of Hoffmann et al. 2022 find about 20 tokens per parameter (tables 3 and A3).

    Args:
        flops: Compute budget $C = 6ND$ in FLOPs.
        tokens_per_param: Training tokens per parameter, $r$.

    Returns:
        Number of parameters $N$ and number of tokens $D$.

    >>> from llmguide import chinchilla_optimal
    >>> n, d = chinchilla_optimal(5.76e23)  # Chinchilla's own budget; it has 70B parameters, 1.4T tokens
    >>> f"{n:.3g} {d:.3g}"
    '6.93e+10 1.39e+12'
    """
    _require_positive(flops=flops, tokens_per_param=tokens_per_param)
    n_params = math.sqrt(flops / (6 * tokens_per_param))
    return n_params, tokens_per_param * n_params


def parametric_optimal(flops: float, constants: ChinchillaConstants) -> tuple[float, float]:
    r"""Find the parameters and tokens that minimize `chinchilla_loss` at $C = 6ND$ (approach 3).

    $N = G (C/6)^{\beta/(\alpha+\beta)}$, $D = G^{-1} (C/6)^{\alpha/(\alpha+\beta)}$,
    $G = (\alpha A / \beta B)^{1/(\alpha+\beta)}$. Source: Hoffmann et al. 2022, equation 4.

    Args:
        flops: Compute budget $C = 6ND$ in FLOPs.
        constants: Fitted constants of the law; `HOFFMANN_ROUNDED` is too coarse for this.

    Returns:
        Number of parameters $N$ and number of tokens $D$.

    >>> n, d = parametric_optimal(1e24, BESIROGLU)
    >>> f"{n:.3g} {d:.3g}"
    '9.59e+10 1.74e+12'
    """
    _require_positive(flops=flops)
    c = constants
    g = math.pow(c.alpha * c.A / (c.beta * c.B), 1 / (c.alpha + c.beta))
    n_params = g * math.pow(flops / 6, c.beta / (c.alpha + c.beta))
    return n_params, flops / (6 * n_params)


# Parameters and the FLOPs for which they are optimal, Hoffmann et al. 2022, tables 3 and A3. Table A3 prints
# 1.26e24 for approach 3's 175B: a misprint, 6ND with its 12.0T tokens is 1.26e25
_SIZES = (400e6, 1e9, 10e9, 67e9, 175e9, 280e9, 520e9, 1e12, 10e12)
_BUDGETS = {
    1: (1.92e19, 1.21e20, 1.23e22, 5.76e23, 3.85e24, 9.90e24, 3.43e25, 1.27e26, 1.30e28),
    2: (1.84e19, 1.20e20, 1.32e22, 6.88e23, 4.54e24, 1.18e25, 4.19e25, 1.59e26, 1.75e28),
    3: (2.21e19, 1.62e20, 2.46e22, 1.71e24, 1.26e25, 3.52e25, 1.36e26, 5.65e26, 8.55e28),
}


def tabulated_optimal(flops: float, approach: int) -> tuple[float, float]:
    """Interpolate the optimal parameters and tokens in the paper's table of one of its three approaches.

    Parameters are interpolated on logarithmic scales; tokens follow from $C = 6ND$.

    Args:
        flops: Compute budget $C$ in FLOPs, within the table (about 2e19 to 1e28).
        approach: 1 (envelope of training curves), 2 (profiles of equal compute) or 3 (parametric fit).

    Returns:
        Number of parameters $N$ and number of tokens $D$.

    Raises:
        ValueError: If there is no such approach, or $C$ is outside its table.

    >>> n, d = tabulated_optimal(1e21, 1)  # the paper's appendix D.4 says 2.86B
    >>> f"{n:.3g} {d:.2g}"
    '2.86e+09 5.8e+10'
    """
    if approach not in _BUDGETS:
        raise ValueError(f"approach={approach} must be 1, 2 or 3")
    budgets = _BUDGETS[approach]
    if not budgets[0] <= flops <= budgets[-1]:
        raise ValueError(
            f"flops={flops:.3g} is outside approach {approach}'s table, {budgets[0]} to {budgets[-1]}"
        )
    i = max(i for i, budget in enumerate(budgets[:-1]) if budget <= flops)
    position = math.log(flops / budgets[i]) / math.log(budgets[i + 1] / budgets[i])
    n_params = _SIZES[i] * math.pow(_SIZES[i + 1] / _SIZES[i], position)
    return n_params, flops / (6 * n_params)


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
    _require_positive(flops=flops, hours=hours, peak_flops=peak_flops)
    return flops / (hours * 3600 * peak_flops)


def gpu_hours(flops: float, *, peak_flops: float, utilization: float) -> float:
    """Convert FLOPs to device-hours at a given utilization.

    Args:
        flops: FLOPs that the model needs.
        peak_flops: FLOP/s of one device.
        utilization: MFU in (0, 1]; large runs report 0.3 to 0.5.

    Returns:
        Device-hours; divide by the number of devices for the duration.

    >>> round(gpu_hours(3.14e23, peak_flops=312e12, utilization=0.4))  # GPT-3 on A100s
    698896
    """
    _require_positive(flops=flops, peak_flops=peak_flops, utilization=utilization)
    if utilization > 1:
        raise ValueError(f"utilization={utilization} is a fraction: at most 1")
    return flops / (utilization * peak_flops) / 3600


def cost(flops: float, *, peak_flops: float, utilization: float, price_per_hour: float) -> float:
    """Estimate what a computation costs on rented devices.

    Args:
        flops: FLOPs that the model needs.
        peak_flops: FLOP/s of one device.
        utilization: MFU in (0, 1].
        price_per_hour: Price of one device-hour, in any currency.

    Returns:
        The cost, in the currency of `price_per_hour`.

    >>> round(cost(3.6e18, peak_flops=1e15, utilization=0.5, price_per_hour=2.0), 9)  # 2 hours at 2 dollars
    4.0
    """
    _require_positive(price_per_hour=price_per_hour)
    return price_per_hour * gpu_hours(flops, peak_flops=peak_flops, utilization=utilization)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value} must be a finite number above 0")
