r"""Scaling laws: the loss that parameters, tokens and compute buy, and the compute-optimal sizes.

Losses are nats per token on the data and tokenizer of the paper that
fitted the law, so only differences within one paper mean anything.

| symbol | meaning | unit |
| --- | --- | --- |
| $N$ | parameters (Kaplan et al. count them without embeddings) | |
| $D$ | training tokens | |
| $C$ | training compute | FLOP |

References: Kaplan et al. 2020, arXiv:2001.08361; Hoffmann et al. 2022 ("Chinchilla"), arXiv:2203.15556;
Besiroglu et al. 2024 (a refit of Chinchilla's data), arXiv:2404.10102. Leaves out: repeated data, inference
in the budget.
"""

import math
from dataclasses import dataclass

from llmguide.costs._checks import require_positive
from llmguide.costs.flops import PETAFLOP_DAY


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
        require_positive(x=x)
        return math.pow(self.scale / x, self.exponent)


# Kaplan et al. 2020, equations 1.1 to 1.3 and appendix A; compute in FLOP
KAPLAN_PARAMS = PowerLaw(8.8e13, 0.076)
KAPLAN_TOKENS = PowerLaw(5.4e13, 0.095)
KAPLAN_COMPUTE = PowerLaw(3.1e8 * PETAFLOP_DAY, 0.050)  # C_min: batches far below the critical size


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
    require_positive(n_params=n_params, n_tokens=n_tokens)
    alpha_n, alpha_d, n_c, d_c = 0.076, 0.103, 6.4e13, 1.8e13
    return math.pow(math.pow(n_c / n_params, alpha_n / alpha_d) + d_c / n_tokens, alpha_d)


def kaplan_optimal(flops: float) -> tuple[float, float]:
    r"""Split a compute budget by Kaplan's law, $N = 1.3 \cdot 10^9 \, C^{0.73}$ with $C$ in PF-days.

    Source: Kaplan et al. 2020, appendix A. Tokens follow from $C = 6ND$.

    Args:
        flops: Compute budget $C$ in FLOPs.

    Returns:
        Number of parameters $N$ and number of tokens $D$.

    >>> kaplan_optimal(PETAFLOP_DAY)[0]
    1300000000.0
    """
    require_positive(flops=flops)
    n_params = 1.3e9 * math.pow(flops / PETAFLOP_DAY, 0.73)
    return n_params, flops / (6 * n_params)


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
    require_positive(n_params=n_params, n_tokens=n_tokens)
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
    require_positive(flops=flops, tokens_per_param=tokens_per_param)
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
    require_positive(flops=flops)
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
