r"""LoRA: train a small correction of a frozen weight, the product of two thin matrices.

$$y = x W^\top + b + s\, (x A^\top) B^\top, \qquad A \in \mathbb{R}^{r \times D_\text{in}},\;
B \in \mathbb{R}^{D_\text{out} \times r}, \qquad s = \frac{\alpha}{r}$$

A starts random and B at zero, so training starts at the base model. Gradients and the optimizer's state exist
for $r (D_\text{in} + D_\text{out})$ numbers of each layer instead of $D_\text{in} D_\text{out}$. After
training, $W + s B A$ is one matrix again (`merge_lora`), and the model costs what the base costs.

`apply_lora` puts adapters into a model. Several can live in one model under different names; `set_adapter`
switches between them, and to the base, which so serves as its own reference model. Adapters can sit on the
4-bit layers of `llmguide.post_training.adapters.quantization`: that is QLoRA.
`llmguide.post_training.adapters.peft_files` reads and writes PEFT's files.

References: Hu et al. 2021, arXiv:2106.09685, section 4.1; rsLoRA's $s = \alpha / \sqrt{r}$, with which the
gradient does not shrink as the rank grows (Kalajdzievski 2023, arXiv:2312.03732); QLoRA (Dettmers et al.
2023, arXiv:2305.14314). A starts as in PEFT, uniform within $\pm 1 / \sqrt{D_\text{in}}$; the paper draws it
from a normal distribution.

Leaves out: adapters on embeddings, DoRA, and initializations that change the base weight (PiSSA, OLoRA).
"""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain
from math import sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmguide.post_training.adapters.quantization import QuantizedLinear


def add_low_rank(
    out: Float[Tensor, "N D_out"],
    x: Float[Tensor, "N D_in"],
    A: Float[Tensor, "r D_in"],
    B: Float[Tensor, "D_out r"],
    scaling: float,
) -> Float[Tensor, "N D_out"]:
    r"""Add $s\,(x A^\top) B^\top$ to the output of a linear layer, in place.

    The second product, the scaling and the sum are one call (`addmm`), which touches ``out`` once; written
    out, three tensors of that size would be made, and as many in the backward pass.

    Args:
        out: Output of the frozen layer; overwritten.
        x: Its input, in the adapter's view: after dropout.
        A: Down-projection.
        B: Up-projection.
        scaling: $s$.

    Returns:
        ``out``.

    >>> x, A, B = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[5.0], [6.0]])
    >>> add_low_rank(torch.tensor([[1.0, 1.0]]), x, A, B, scaling=0.5).tolist()  # x A = 11: 1 + 0.5 x 11 x 5
    [[28.5, 34.0]]
    """
    low = F.linear(x, A.to(x.dtype)).to(out.dtype)  # autocast may have made out narrower than x
    # for a transposed view autograd would lay the gradient of B out alike, in a product twice as slow
    return out.addmm_(low, B.to(out.dtype).T.contiguous(), alpha=scaling)


class Adapter(nn.Module):
    """The two matrices of one adapter of one layer, and their scaling.

    They are float32 even where the base is in half precision: an optimizer's small steps would be rounded
    away there.

    Args:
        in_features: Width of the input.
        out_features: Width of the output.
        rank: r.
        alpha: The correction is multiplied by alpha / r, or alpha / sqrt(r).
        dropout: Share of the adapter's input that is zeroed in training.
        rslora: Whether to divide by sqrt(r).

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
        """The factor s."""
        return self.alpha / (sqrt(self.rank) if self.rslora else self.rank)

    def delta(self) -> Float[Tensor, "D_out D_in"]:
        """The correction of the weight, s B A."""
        return self.scaling * (self.B @ self.A)


class LoRALinear(nn.Module):
    """A frozen linear layer with named adapters, of which one or none is active.

    Args:
        base: The layer.

    >>> from llmguide import LoRALinear
    >>> layer = LoRALinear(nn.Linear(3, 2, bias=False))
    >>> layer.adapters["default"] = Adapter(3, 2, rank=1, alpha=2.0)
    >>> layer.active = "default"
    >>> with torch.no_grad():
    ...     _ = layer.base.weight.zero_(), layer.adapters["default"].A.fill_(1.0)
    ...     _ = layer.adapters["default"].B.copy_(torch.tensor([[1.0], [-1.0]]))
    >>> layer(torch.tensor([[1.0, 2.0, 3.0]])).tolist()  # 2 x (1 + 2 + 3)
    [[12.0, -12.0]]
    """

    def __init__(self, base: nn.Linear | QuantizedLinear):
        super().__init__()
        self.base = base
        self.in_features = base.in_features
        self.out_features = base.out_features
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        self.merged: str | None = None

    @property
    def active_adapter(self) -> Adapter | None:
        """The adapter that takes part in the forward pass beside the base."""
        if self.active is None or self.active == self.merged:
            return None
        adapter = self.adapters[self.active]
        assert isinstance(adapter, Adapter)
        return adapter

    @property
    def weight(self) -> Float[Tensor, "D_out D_in"]:
        """The weight that this layer amounts to without dropout, for code that reads it, such as a head."""
        weight = self.base.weight
        adapter = self.active_adapter
        return weight if adapter is None else weight + adapter.delta().to(weight.dtype)

    @property
    def bias(self) -> Float[Tensor, " D_out"] | None:
        """The base's bias."""
        return self.base.bias

    def forward(self, x: Float[Tensor, "*batch D_in"]) -> Float[Tensor, "*batch D_out"]:
        """Apply the base and the active adapter."""
        adapter = self.active_adapter
        if adapter is None:
            out: Tensor = self.base(x)
            return out
        rows = x.flatten(0, -2) if x.ndim > 1 else x[None]
        kept = F.dropout(rows, adapter.dropout, self.training) if adapter.dropout else rows
        out = add_low_rank(self.base(rows), kept, adapter.A, adapter.B, adapter.scaling)
        return out.view(*x.shape[:-1], self.out_features)


LINEAR = nn.Linear | QuantizedLinear | LoRALinear


def apply_lora(
    model: nn.Module,
    *,
    rank: int,
    alpha: float,
    targets: Collection[str],
    dropout: float = 0.0,
    rslora: bool = False,
    name: str = "default",
) -> nn.Module:
    """Freeze a model and give its linear layers an adapter, in place.

    Called again with another name, it adds a second adapter, which becomes the active one.

    Args:
        model: Any model; its linear layers may be those of `llmguide.post_training.adapters.quantization`.
        rank: r, at most the smaller side of each weight.
        alpha: Strength; the correction is multiplied by alpha / r.
        targets: Layers, by the end of their dotted names: ``"q_proj"`` is that of every block,
            ``"blocks.0.attention.q_proj"`` that of the first.
        dropout: On the adapter's input, in training.
        rslora: Multiply by alpha / sqrt(r) instead.
        name: Of the adapter.

    Returns:
        The model. Only the new adapter's parameters are trainable.

    Raises:
        ValueError: A target matches no layer, or one that is not linear or shares its weight; the rank is
            too large; the name is taken or contains a dot.

    >>> from llmguide import ModelConfig, apply_lora, build
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))
    >>> _ = apply_lora(model, rank=2, alpha=4, targets=["q_proj", "v_proj"])
    >>> sum(p.numel() for p in model.parameters() if p.requires_grad)  # 2 layers x 2 x 2 x (12 + 12)
    192
    """
    layers = find_linear(model, targets)
    made = {
        path: Adapter(
            layer.in_features, layer.out_features, rank=rank, alpha=alpha, dropout=dropout, rslora=rslora
        )
        for path, layer in layers.items()
    }
    insert_adapter(model, made, name)
    return model


def insert_adapter(model: nn.Module, made: dict[str, Adapter], name: str) -> None:
    """Put adapters at dotted paths of a model under one name and make it the active, trainable one."""
    if name in adapter_names(model) or not name or "." in name:
        raise ValueError(
            f"adapter name {name!r} is taken, empty or has a dot; there are {adapter_names(model)}"
        )
    _require_unmerged(model)
    model.requires_grad_(False)
    for path, adapter in made.items():
        layer = model.get_submodule(path)
        if not isinstance(layer, LoRALinear):
            assert isinstance(layer, nn.Linear | QuantizedLinear)
            layer = LoRALinear(layer).train(layer.training)
            model.set_submodule(path, layer)
        device = next(chain(layer.base.parameters(), layer.base.buffers())).device
        layer.adapters[name] = adapter.to(device).train(layer.training)
    set_adapter(model, name)


def set_adapter(model: nn.Module, name: str | None) -> None:
    """Make one adapter the active and only trainable one, or with None go back to the base model.

    Raises:
        ValueError: There is no such adapter, or one is merged into the weights.

    >>> model = nn.Sequential(nn.Linear(4, 4))
    >>> _ = apply_lora(model, rank=1, alpha=1, targets=["0"], name="french")
    >>> set_adapter(model, None)
    >>> [p.requires_grad for p in model.parameters()]
    [False, False, False, False]
    """
    if name is not None and name not in adapter_names(model):
        raise ValueError(f"no adapter is named {name!r}; there are {adapter_names(model)}")
    _require_unmerged(model)
    for _, layer in lora_layers(model):
        layer.active = name if name is not None and name in layer.adapters else None
        for key, adapter in layer.adapters.items():
            adapter.requires_grad_(key == name)


@torch.no_grad()
def merge_lora(model: nn.Module) -> nn.Module:
    """Add the active adapter to the frozen weights, in place: the model then costs what the base costs.

    Args:
        model: A model with adapters; they stay, so that `unmerge_lora` can subtract again.

    Returns:
        The model.

    Raises:
        ValueError: No adapter is active, one is merged already, or the weights are quantized.

    >>> from llmguide import apply_lora, merge_lora
    >>> model = apply_lora(nn.Sequential(nn.Linear(4, 4)), rank=1, alpha=1, targets=["0"])
    >>> x = torch.ones(1, 4)
    >>> before = model(x)
    >>> torch.allclose(merge_lora(model)(x), before)
    True
    """
    _require_unmerged(model)
    layers = [layer for _, layer in lora_layers(model) if layer.active is not None]
    if not layers:
        raise ValueError(f"no adapter is active; call set_adapter with one of {adapter_names(model)}")
    if any(isinstance(layer.base, QuantizedLinear) for layer in layers):
        raise ValueError("a sum cannot be stored in 4 bits: call dequantize_model on the model first")
    for layer in layers:
        _add_delta(layer, +1)
        layer.merged = layer.active
    return model


@torch.no_grad()
def unmerge_lora(model: nn.Module) -> nn.Module:
    """Subtract the merged adapter from the weights again, in place.

    The weights come back up to rounding, 1e-7 of their size in float32; in bfloat16 it is 4e-3, so keep a
    copy of the base there.

    Args:
        model: A model after `merge_lora`.

    Returns:
        The model.

    Raises:
        ValueError: Nothing is merged.

    >>> from llmguide import apply_lora, merge_lora, unmerge_lora
    >>> model = merge_lora(apply_lora(nn.Sequential(nn.Linear(4, 4)), rank=1, alpha=1, targets=["0"]))
    >>> unmerge_lora(model)[0].merged is None
    True
    """
    layers = [layer for _, layer in lora_layers(model) if layer.merged is not None]
    if not layers:
        raise ValueError("no adapter is merged into the weights; merge_lora comes first")
    for layer in layers:
        _add_delta(layer, -1)
        layer.merged = None
    return model


def remove_lora(model: nn.Module) -> nn.Module:
    """Take all adapters out, in place; what was merged stays in the weights, which become trainable again.

    >>> remove_lora(apply_lora(nn.Sequential(nn.Linear(4, 4)), rank=1, alpha=1, targets=["0"]))
    Sequential(
      (0): Linear(in_features=4, out_features=4, bias=True)
    )
    """
    for path, layer in list(lora_layers(model)):
        model.set_submodule(path, layer.base)
    return model.requires_grad_(True)


def adapter_state(model: nn.Module, name: str = "default") -> dict[str, Tensor]:
    """Collect the tensors of one adapter, for a checkpoint; ``load_state_dict(..., strict=False)`` reads it.

    Raises:
        ValueError: There is no such adapter.

    >>> model = apply_lora(nn.Sequential(nn.Linear(4, 4)), rank=1, alpha=1, targets=["0"])
    >>> list(adapter_state(model))
    ['0.adapters.default.A', '0.adapters.default.B']
    """
    if name not in adapter_names(model):
        raise ValueError(f"no adapter is named {name!r}; there are {adapter_names(model)}")
    return {
        f"{path}.adapters.{name}.{key}": tensor
        for path, layer in lora_layers(model)
        if name in layer.adapters
        for key, tensor in layer.adapters[name].state_dict().items()
    }


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """List the layers that have adapters, with their dotted paths."""
    for path, module in model.named_modules():
        if isinstance(module, LoRALinear):
            yield path, module


def adapter_names(model: nn.Module) -> list[str]:
    """List the names of all adapters in a model, in the order in which they came."""
    return list(dict.fromkeys(name for _, layer in lora_layers(model) for name in layer.adapters))


def find_linear(model: nn.Module, targets: Collection[str]) -> dict[str, LINEAR]:
    """Find the linear layers whose dotted names end in one of the targets."""
    inside = {id(part) for _, layer in lora_layers(model) for part in layer.modules() if part is not layer}
    modules = {path: module for path, module in model.named_modules() if id(module) not in inside}
    places = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    found: dict[str, LINEAR] = {}
    for target in targets:
        matches = {path: m for path, m in modules.items() if f".{path}".endswith(f".{target}")}
        if not matches or not all(isinstance(m, LINEAR) for m in matches.values()):
            names = {path.rpartition(".")[2] for path, m in modules.items() if isinstance(m, LINEAR)}
            kinds = {type(m).__name__ for m in matches.values()} or {"nothing"}
            raise ValueError(
                f"target {target!r} names {', '.join(sorted(kinds))}, and only linear layers take LoRA; "
                f"there are {', '.join(sorted(names))}"
            )
        for path, module in matches.items():
            assert isinstance(module, LINEAR)
            if any(places[id(p)] > 1 for p in module.parameters()):
                raise ValueError(
                    f"the weight of {path!r} is tied to another layer, which merging would change too; "
                    "untie them first (tie_embeddings=False)"
                )
            found[path] = module
    return found


def _add_delta(layer: LoRALinear, sign: int) -> None:
    assert layer.active is not None
    adapter = layer.adapters[layer.active]
    assert isinstance(adapter, Adapter)
    weight = layer.base.weight
    weight.copy_(weight.to(adapter.A.dtype) + sign * adapter.delta())  # rounded once, not twice


def _require_unmerged(model: nn.Module) -> None:
    merged = {layer.merged for _, layer in lora_layers(model)} - {None}
    if merged:
        raise ValueError(f"adapter {merged.pop()!r} is merged into the weights; call unmerge_lora first")
