r"""The parts around attention: norms, activations, feed-forward layers, mixtures of experts, blocks.

Each formula is a function, written to be read. A module stands beside it where there are parameters; where
torch has a fused kernel for the formula, the module calls that kernel and gives the same numbers.

References: Ba et al. 2016, arXiv:1607.06450 (LayerNorm); Zhang and Sennrich 2019, arXiv:1910.07467 (RMSNorm);
Hendrycks and Gimpel 2016, arXiv:1606.08415 (GELU and its tanh approximation); Shazeer 2020, arXiv:2002.05202,
section 2 (SwiGLU); Fedus et al. 2021, arXiv:2101.03961, section 2.2 (load balancing); Jiang et al. 2024,
arXiv:2401.04088, section 2 (Mixtral's router); Xiong et al. 2020, arXiv:2002.04745 (where the norm stands).

Glossary: ``B`` batch, ``T`` tokens, ``D`` model width, ``F`` hidden width of the feed-forward layer (`d_ff`),
    ``N``
experts, ``k`` experts that a token visits.

Leaves out: capacity limits, router noise and shared experts.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.config import ModelConfig
from llmguide.nn._linear import Linear
from llmguide.nn.attention import MultiHeadAttention
from llmguide.nn.kv_cache import KVCache


def layer_norm(
    x: Float[Tensor, "*batch D"], weight: Float[Tensor, " D"], bias: Float[Tensor, " D"], eps: float = 1e-5
) -> Float[Tensor, "*batch D"]:
    r"""Shift and scale each vector to mean 0 and variance 1, then apply a learned weight and bias.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \odot w + b$$

    arXiv:1607.06450, equation 4. The variance is the biased one (divided by D), and eps stands inside the
    root.

    Args:
        x: Vectors to normalize, along the last axis.
        weight: Learned scale, initially 1.
        bias: Learned shift, initially 0.
        eps: Keeps the root away from 0.

    Returns:
        The normalized vectors, in the dtype of ``x``; half precision is computed in float32.

    >>> x = torch.tensor([1.0, 2.0, 3.0, 6.0])  # mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5
    >>> (layer_norm(x, torch.ones(4), torch.zeros(4), eps=0.0) * 3.5**0.5).tolist()
    [-2.0, -1.0, 0.0, 3.0]
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return (centred * torch.rsqrt(variance + eps) * weight + bias).to(x.dtype)


def rms_norm(
    x: Float[Tensor, "*batch D"], weight: Float[Tensor, " D"], eps: float = 1e-5
) -> Float[Tensor, "*batch D"]:
    r"""Scale each vector to root mean square 1, then apply a learned weight.

    $$y = \frac{x}{\sqrt{\frac{1}{D} \sum_i x_i^2 + \epsilon}} \odot w$$

    arXiv:1910.07467, equation 4: LayerNorm without its mean and bias.

    Args:
        x: Vectors to normalize, along the last axis.
        weight: Learned scale, initially 1.
        eps: Keeps the root away from 0.

    Returns:
        The normalized vectors, in the dtype of ``x``; half precision is computed in float32.

    >>> rms_norm(torch.tensor([1.0, 7.0]), torch.ones(2), eps=0.0).tolist()  # mean square 25
    [0.2, 1.4]
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps) * weight).to(x.dtype)


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""Weigh each number with the probability that a normal variable lies below it: $x\,\Phi(x)$.

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

    >>> activate(torch.tensor([-1.0, 1.0]), "relu").tolist()
    [0.0, 1.0]
    """
    if activation == "relu":
        return F.relu(x)
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


def swiglu(gate: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""Let one projection gate another: $\operatorname{SiLU}(g) \odot u$.

    $\operatorname{SiLU}(g) = g\,\sigma(g)$ with the sigmoid; arXiv:2002.05202, equation 6.

    >>> gate, up = torch.tensor([0.0, 1.0986123]), torch.tensor([5.0, 2.0])
    >>> swiglu(gate, up).tolist()  # the sigmoid of log 3 is 3/4: log 3 * 3/4 * 2
    [0.0, 1.6479]
    """
    return F.silu(gate) * up


class LayerNorm(nn.Module):
    """`layer_norm` with its parameters, through torch's fused kernel.

    Args:
        d_model: Width D.
        eps: Keeps the root away from 0.
    """

    def __init__(self, d_model: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Normalize the last axis."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """`rms_norm` with its parameter, through torch's fused kernel.

    Args:
        d_model: Width D.
        eps: Keeps the root away from 0.
    """

    def __init__(self, d_model: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Normalize the last axis."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def make_norm(config: ModelConfig) -> LayerNorm | RMSNorm:
    """Make the norm that a config names."""
    return (RMSNorm if config.norm == "rmsnorm" else LayerNorm)(config.d_model, config.norm_eps)


class FeedForward(nn.Module):
    r"""Two layers applied to each position alone: $W_\text{down}\, f(W_\text{up}\, x)$.

    arXiv:1706.03762, section 3.3. With SwiGLU there is a third matrix, and f is
    $\operatorname{SiLU}(W_\text{gate}\, x) \odot W_\text{up}\, x$.

    Args:
        config: Reads ``d_model``, ``d_ff``, ``activation`` and ``bias``.
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


def route(
    logits: Float[Tensor, "*batch N"], k: int
) -> tuple[Float[Tensor, "*batch k"], Int[Tensor, "*batch k"]]:
    r"""Choose k experts for each token and the weights of their outputs.

    The weights are the softmax over the chosen k logits alone (arXiv:2401.04088, section 2), which is the
    same as the softmax over all N, restricted to the k largest and divided by their sum.

    Args:
        logits: Router scores of each expert.
        k: Experts for each token, 1 to N.

    Returns:
        Weights that sum to 1, in float32, largest first, and the experts they belong to.

    >>> weights, experts = route(torch.tensor([1.0986123, 0.0, -5.0]), k=2)  # log 3 and 0: 3 to 1
    >>> weights.tolist(), experts.tolist()
    ([0.75, 0.25], [0, 1])
    """
    values, experts = logits.float().topk(k, dim=-1)
    return values.softmax(dim=-1), experts


def load_balancing_loss(
    logits: Float[Tensor, "*tokens N"], k: int, mask: Bool[Tensor, "*tokens"] | None = None
) -> Float[Tensor, ""]:
    r"""Penalty that is smallest, k, when the router uses all experts equally: $N \sum_i f_i\, p_i$.

    $f_i$ is the number of choices of expert i per token, $p_i$ its mean probability; only $p_i$ has a
    gradient. With k = 1 it is equation 4 of arXiv:2101.03961 without its factor, there 0.01. For several
    layers, transformers averages over the tokens of all of them: concatenate their logits.

    Args:
        logits: Router scores, one row for each token.
        k: Experts that a token visits.
        mask: True for tokens that count, False for padding.

    Returns:
        The penalty, between k (balanced) and N.

    >>> load_balancing_loss(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), k=1).item()  # one token for each expert
    1.0
    >>> load_balancing_loss(torch.tensor([[9.0, -9.0], [9.0, -9.0]]), k=1).item()  # both for the first
    2.0
    """
    N = logits.shape[-1]
    probabilities = logits.float().softmax(dim=-1)
    chosen = F.one_hot(probabilities.topk(k, dim=-1).indices, N).sum(dim=-2)  # k ones in each row
    counts = torch.ones(logits.shape[:-1], device=logits.device) if mask is None else mask.float()
    share = (chosen * counts[..., None]).flatten(0, -2).sum(dim=0) / counts.sum()
    mean_probability = (probabilities * counts[..., None]).flatten(0, -2).sum(dim=0) / counts.sum()
    return N * (share * mean_probability).sum()


class MixtureOfExperts(nn.Module):
    r"""N feed-forward layers, of which each token visits the k that a router picks for it.

    $$y = \sum_{i \in \text{chosen}} w_i \cdot \text{expert}_i(x)$$

    arXiv:2401.04088, section 2. Parameters grow with N, work for one token with k. The weights are those of
    `route`.

    Args:
        config: Reads ``n_experts``, ``n_experts_per_token`` and what `FeedForward` reads.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.k = config.n_experts_per_token
        self.router = Linear(config.d_model, config.n_experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(config) for _ in range(config.n_experts))

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Send each vector through its experts."""
        tokens = x.flatten(0, -2)  # (tokens, D)
        weights, chosen = route(self.router(tokens), self.k)
        out = torch.zeros_like(tokens)
        for i, expert in enumerate(self.experts):
            rows, slots = torch.where(chosen == i)
            if len(rows):
                part = expert(tokens[rows]) * weights[rows, slots, None]
                out = out.index_add(0, rows, part.to(out.dtype))
        return out.view_as(x)


@contextmanager
def record_router_logits(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the router scores of every mixture in a model while the block runs, for `load_balancing_loss`.

    Yields:
        A list that each mixture adds its ``(tokens, N)`` scores to, in the order in which they run.

    >>> config = ModelConfig(vocab_size=5, context_length=3, n_layers=1, d_model=4, n_heads=1,
    ...                      n_experts=2, n_experts_per_token=1)
    >>> mixture = MixtureOfExperts(config)
    >>> with record_router_logits(mixture) as logits:
    ...     _ = mixture(torch.ones(3, 4))
    >>> [x.shape for x in logits]
    [torch.Size([3, 2])]
    """
    logits: list[Tensor] = []
    routers = [module.router for module in model.modules() if isinstance(module, MixtureOfExperts)]
    hooks = [
        router.register_forward_hook(lambda _module, _args, out: logits.append(out)) for router in routers
    ]
    try:
        yield logits
    finally:
        for hook in hooks:
            hook.remove()


def residual(
    x: Float[Tensor, "B T D"],
    sublayer: Callable[[Tensor], Tensor],
    norm: Callable[[Tensor], Tensor],
    *,
    norm_position: str,
) -> Float[Tensor, "B T D"]:
    r"""Add a sublayer to the residual stream, normalizing before it or after the sum.

    Pre-norm (GPT-2, LLaMA): $x + f(\operatorname{norm}(x))$, which leaves a path of plain sums from the
    output to the input. Post-norm (2017, BERT): $\operatorname{norm}(x + f(x))$. arXiv:2002.04745, figure 1.

    Args:
        x: The residual stream.
        sublayer: Attention or feed-forward.
        norm: The norm that belongs to it.
        norm_position: ``pre`` or ``post``.

    Returns:
        The residual stream after the sublayer.

    >>> x = torch.full((1, 1, 1), 3.0)
    >>> double, halve = lambda x: 2 * x, lambda x: x / 2  # sublayer and norm
    >>> residual(x, double, halve, norm_position="pre").item()  # 3 + 2 (3 / 2)
    6.0
    >>> residual(x, double, halve, norm_position="post").item()  # (3 + 6) / 2
    4.5
    """
    if norm_position == "pre":
        return x + sublayer(norm(x))
    return norm(x + sublayer(x))


class Block(nn.Module):
    """One layer of a decoder or encoder: self-attention, then a feed-forward layer or a mixture of experts.

    Args:
        config: Reads the fields that its parts read, ``norm_position`` and ``dropout``.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm_position = config.norm_position
        self.attention_norm = make_norm(config)
        self.attention = MultiHeadAttention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = MixtureOfExperts(config) if config.n_experts else FeedForward(config)
        self.dropout = config.dropout

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        *,
        mask: Bool[Tensor, "..."] | None = None,
        bias: Float[Tensor, "..."] | None = None,
        is_causal: bool = False,
        rope: tuple[Tensor, Tensor] | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "B T D"]:
        """Update the residual stream; the arguments after ``x`` go to `MultiHeadAttention`."""

        def attend(x: Tensor) -> Tensor:
            out, _ = self.attention(
                x, mask=mask, bias=bias, is_causal=is_causal, rope=rope, cache=cache, layer=layer
            )
            return F.dropout(out, self.dropout, self.training)

        def feed_forward(x: Tensor) -> Tensor:
            return F.dropout(self.feed_forward(x), self.dropout, self.training)

        x = residual(x, attend, self.attention_norm, norm_position=self.norm_position)
        return residual(x, feed_forward, self.feed_forward_norm, norm_position=self.norm_position)
