r"""A LoRA layer: a frozen linear layer plus the product of two thin matrices.

$$y = x W^\top + b + s\, (x A^\top) B^\top, \qquad A \in \mathbb{R}^{r \times D_\text{in}},\;
B \in \mathbb{R}^{D_\text{out} \times r}, \qquad s = \frac{\alpha}{r}$$

A is initialized randomly and B with zeros, so training starts at the base model. Gradients and optimizer
state are kept for $r (D_\text{in} + D_\text{out})$ parameters per layer instead of $D_\text{in}
D_\text{out}$.

References: Hu et al. 2021, arXiv:2106.09685, section 4.1; rsLoRA's $s = \alpha / \sqrt{r}$, with which the
gradient does not shrink as the rank grows (Kalajdzievski 2023, arXiv:2312.03732). A is initialized as in
PEFT, uniformly within $\pm 1 / \sqrt{D_\text{in}}$; the paper samples it from a normal distribution.

Glossary: ``N`` rows, ``D_in`` and ``D_out`` widths of the layer, ``r`` rank.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmguide.nn.q4 import Q4Linear
from llmguide.post_training.adapters._fused_lora import add_low_rank_
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear


def add_low_rank(
    out: Float[Tensor, "*batch D_out"],
    x: Float[Tensor, "*batch D_in"],
    A: Float[Tensor, "r D_in"],
    B: Float[Tensor, "D_out r"],
    scaling: float,
) -> Float[Tensor, "*batch D_out"]:
    r"""Add the LoRA update $s\,(x A^\top) B^\top$ to the output of a frozen linear layer: the formula.

    `LoRALinear` computes the same with `llmguide.post_training.adapters._fused_lora`.

    Args:
        out: Output of the frozen layer.
        x: Input of the layer, after dropout.
        A: Down-projection matrix.
        B: Up-projection matrix.
        scaling: Scaling factor $s = \alpha / r$.

    Returns:
        The output of the adapted layer.

    >>> x, A, B = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[5.0], [6.0]])
    >>> add_low_rank(torch.tensor([[1.0, 1.0]]), x, A, B, scaling=0.5).tolist()  # x A = 11: 1 + 0.5 x 11 x 5
    [[28.5, 34.0]]
    """
    return out + scaling * (x @ A.T) @ B.T


class Adapter(nn.Module):
    """The two matrices of one adapter of one layer, and their scaling.

    They are float32 even if the base is in half precision, where rounding would lose small optimizer updates.

    Args:
        in_features: Width of the layer's input.
        out_features: Width of the layer's output.
        rank: Rank r, from 1 to the smaller width.
        alpha: Numerator of the scaling factor, above 0: the update is multiplied by alpha / r, or alpha /
            sqrt(r).
        dropout: Dropout probability of the adapter's input in training, in [0, 1).
        rslora: Whether to divide alpha by sqrt(r) (rsLoRA) instead of r.

    >>> from llmguide import Adapter
    >>> adapter = Adapter(6, 4, rank=2, alpha=8)
    >>> adapter.scaling, adapter.delta().abs().sum().item()
    (4.0, 0.0)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        rslora: bool = False,
    ):
        super().__init__()
        if not 1 <= rank <= min(in_features, out_features):
            raise ValueError(
                f"rank={rank} must be between 1 and {min(in_features, out_features)}, the smaller side of a "
                f"{out_features} x {in_features} weight: a larger one trains more numbers than the weight has"
            )
        if not alpha > 0:
            raise ValueError(f"alpha={alpha} must be above 0; a common choice is the rank or twice the rank")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must be in [0, 1)")
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.rslora = rslora
        self.A = nn.Parameter(torch.empty(rank, in_features, dtype=torch.float32))
        self.B = nn.Parameter(torch.zeros(out_features, rank, dtype=torch.float32))
        nn.init.kaiming_uniform_(self.A, a=sqrt(5))  # that is, uniform within 1 / sqrt(in_features)

    @property
    def scaling(self) -> float:
        """Scaling factor s of the update."""
        return self.alpha / (sqrt(self.rank) if self.rslora else self.rank)

    def delta(self) -> Float[Tensor, "D_out D_in"]:
        """Compute the update of the weight, s B A."""
        return self.scaling * (self.B @ self.A)


class LoRALinear(nn.Module):
    """A frozen linear layer with named adapters, of which one or none is active.

    The update is added to the output of ``base`` in place, so a hook on ``base`` sees the adapted output.

    Args:
        base: Linear layer to adapt; it stays frozen.

    >>> from llmguide import Adapter, LoRALinear
    >>> layer = LoRALinear(nn.Linear(3, 2, bias=False))
    >>> layer.adapters["default"] = Adapter(3, 2, rank=1, alpha=2.0)
    >>> layer.active = "default"
    >>> with torch.no_grad():
    ...     _ = layer.base.weight.zero_(), layer.adapters["default"].A.fill_(1.0)
    ...     _ = layer.adapters["default"].B.copy_(torch.tensor([[1.0], [-1.0]]))
    >>> layer(torch.tensor([[1.0, 2.0, 3.0]])).tolist()  # 2 x (1 + 2 + 3)
    [[12.0, -12.0]]
    """

    def __init__(self, base: nn.Linear | QuantizedLinear | Q4Linear):
        super().__init__()
        self.base = base
        self.in_features = base.in_features
        self.out_features = base.out_features
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        self.merged: str | None = None

    @property
    def active_adapter(self) -> Adapter | None:
        """The adapter that is added in the forward pass; None: the base alone, or the adapter is merged."""
        if self.active is None or self.active == self.merged:
            return None
        adapter = self.adapters[self.active]
        assert isinstance(adapter, Adapter)
        return adapter

    @property
    def weight(self) -> Float[Tensor, "D_out D_in"]:
        """Effective weight of the layer without dropout, for code that reads it, such as an output head."""
        weight = self.base.weight
        adapter = self.active_adapter
        return weight if adapter is None else weight + adapter.delta().to(weight.dtype)

    @property
    def bias(self) -> Float[Tensor, " D_out"] | None:
        """Bias of the base layer."""
        return self.base.bias

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        """Apply the frozen layer and add the active adapter: out + s B A dropout(x)."""
        adapter = self.active_adapter
        if adapter is None:
            out: Tensor = self.base(x)
            return out
        rows = x.flatten(0, -2) if x.ndim > 1 else x[None]
        dropped = F.dropout(rows, adapter.dropout, self.training) if adapter.dropout else rows
        out = add_low_rank_(self.base(rows), dropped, adapter.A, adapter.B, adapter.scaling)
        return out.view(*x.shape[:-1], self.out_features)
