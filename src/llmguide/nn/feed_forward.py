r"""The feed-forward layer and its activation functions: ReLU, GELU, SwiGLU.

References: Vaswani et al. 2017, arXiv:1706.03762, section 3.3 (the layer); Hendrycks and Gimpel 2016,
arXiv:1606.08415 (GELU and its tanh approximation); Shazeer 2020, arXiv:2002.05202, section 2 (SwiGLU).

Glossary: ``D`` model width, ``F`` hidden width of the layer (`d_ff`).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.nn._linear import Linear


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""Apply GELU: each number times the probability that a normal variable is below it, $x\,\Phi(x)$.

    arXiv:1606.08415, section 2. BERT uses this exact form.

    >>> gelu(torch.tensor([-1.0, 0.0, 1.0])).tolist()  # Phi(1) = 0.8413
    [-0.1587, 0.0000, 0.8413]
    """
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""Approximate `gelu` by a hyperbolic tangent.

    $$\frac{x}{2}\left(1 + \tanh\!\left(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\right)\right)$$

    arXiv:1606.08415, section 2. GPT-2 was trained with it; it differs from `gelu` by up to 5e-4, so they are
    not interchangeable.

    >>> round((gelu_tanh(torch.tensor(1.0)) - gelu(torch.tensor(1.0))).item(), 5)
    -0.00015
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def activate(x: Float[Tensor, "*shape"], activation: str) -> Float[Tensor, "*shape"]:
    """Apply ``relu``, ``gelu`` or ``gelu_tanh`` by name, through torch's fused kernels.

    Raises:
        ValueError: There is no such function, or it takes two inputs, as `swiglu` does.

    >>> activate(torch.tensor([-1.0, 1.0]), "relu").tolist()
    [0.0, 1.0]
    """
    if activation == "relu":
        return F.relu(x)
    if activation not in ("gelu", "gelu_tanh"):
        raise ValueError(f"activation={activation!r} must be relu, gelu or gelu_tanh")
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


def swiglu(gate: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""Apply SwiGLU, in which one projection gates another: $\operatorname{SiLU}(g) \odot u$.

    $\operatorname{SiLU}(g) = g\,\sigma(g)$ with the sigmoid; arXiv:2002.05202, equation 6.

    >>> gate, up = torch.tensor([0.0, 1.0986123]), torch.tensor([5.0, 2.0])
    >>> swiglu(gate, up).tolist()  # the sigmoid of log 3 is 3/4: log 3 * 3/4 * 2
    [0.0, 1.6479]
    """
    return F.silu(gate) * up


class FeedForward(nn.Module):
    r"""Two layers applied to each position separately: $W_\text{down}\, f(W_\text{up}\, x)$.

    arXiv:1706.03762, section 3.3. With SwiGLU there is a third matrix, and f is
    $\operatorname{SiLU}(W_\text{gate}\, x) \odot W_\text{up}\, x$.

    Args:
        config: Model configuration; reads ``d_model``, ``d_ff``, ``activation`` and ``bias``.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = config.activation
        self.up = Linear(config.d_model, config.d_ff, bias=config.bias)
        is_gated = config.activation == "swiglu"
        self.gate = Linear(config.d_model, config.d_ff, bias=config.bias) if is_gated else None
        self.down = Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Apply the layer to each vector."""
        hidden = self.up(x)
        hidden = swiglu(self.gate(x), hidden) if self.gate is not None else activate(hidden, self.activation)
        out: Tensor = self.down(hidden)
        return out
