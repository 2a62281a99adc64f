r"""LoRA: train a small update of frozen weights, the product of two thin matrices per layer.

`apply_lora` puts adapters (`llmguide.post_training.adapters.lora_layer`) into a model. A model can hold
several under different names; `set_adapter` switches between them, and to the base model, which can therefore
serve as the reference model. After training, `merge_lora` adds $s B A$ to $W$, and inference costs no more
than with the base model. Adapters on the 4-bit layers of `llmguide.post_training.adapters.quantized_linear`
are QLoRA. `llmguide.post_training.adapters.peft_files` reads and writes PEFT's files.

References: Hu et al. 2021, arXiv:2106.09685 (LoRA); Dettmers et al. 2023, arXiv:2305.14314 (QLoRA).

Leaves out: adapters on embeddings, DoRA, and initializations that change the base weight (PiSSA, OLoRA).
"""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from llmguide.arguments import check_type
from llmguide.nn.q4 import Q4Linear
from llmguide.post_training.adapters.lora_layer import Adapter, LoRALinear
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear
from llmguide.post_training.adapters.targets import find_layers

QUANTIZED = (QuantizedLinear, Q4Linear)
LINEAR = (nn.Linear, *QUANTIZED, LoRALinear)


def apply_lora(
    model: nn.Module,
    *,
    rank: int,
    alpha: float,
    target_modules: str | Collection[str],
    dropout: float = 0.0,
    rslora: bool = False,
    adapter_name: str = "default",
) -> nn.Module:
    """Freeze a model and add an adapter to its linear layers, in place.

    Called again with another name, it adds a second adapter, which becomes the active one.
    `llmguide.post_training.adapters.peft_files.save_adapter` writes an adapter for PEFT. A checkpoint that
    transformers' own ``Trainer`` writes is good for resuming only: ``from_pretrained`` would not find the
    weights of the adapted layers in it and initialize them again.

    Args:
        model: Any model; its linear layers may be quantized.
        rank: Rank r of the update, from 1 to the smaller side of each weight.
        alpha: Numerator of the scaling factor, above 0; the update is multiplied by alpha / r.
        target_modules: Linear layers, by the end of their dotted names (one name, or several): ``"q_proj"``
            matches the layer of every block, ``"blocks.0.attention.q_proj"`` that of the first block only.
        dropout: Dropout probability of the adapters' input in training, in [0, 1).
        rslora: Whether to multiply by alpha / sqrt(r) instead.
        adapter_name: Name of the adapter, without a dot.

    Returns:
        The model. Only the new adapter's parameters are trainable.

    Raises:
        TypeError: The model is not a module of torch.
        ValueError: A target matches no layer, or one that is not linear or shares its weight; the rank is
            too large; the name is taken or contains a dot.

    >>> from llmguide import ModelConfig, apply_lora, build
    >>> model = build(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3))
    >>> _ = apply_lora(model, rank=2, alpha=4, target_modules=["q_proj", "v_proj"])
    >>> sum(p.numel() for p in model.parameters() if p.requires_grad)  # 2 layers x 2 x 2 x (12 + 12)
    192
    """
    check_type("model", model, nn.Module, "pass a model, such as load(name) opens")
    layers = find_layers(model, target_modules, LINEAR)
    _require_untied(model, layers)
    adapters = {}
    for path, layer in layers.items():
        assert isinstance(layer, LINEAR)
        widths = layer.in_features, layer.out_features
        adapters[path] = Adapter(*widths, rank=rank, alpha=alpha, dropout=dropout, rslora=rslora)
    insert_adapter(model, adapters, adapter_name)
    return model


def insert_adapter(model: nn.Module, adapters: dict[str, Adapter], name: str) -> None:
    """Insert adapters at dotted paths of a model under one name, and make it the active, trainable one."""
    if name in adapter_names(model) or not name or "." in name:
        raise ValueError(
            f"adapter name {name!r} is taken, empty or has a dot; there are {adapter_names(model)}"
        )
    _require_unmerged(model)
    model.requires_grad_(False)
    for path, adapter in adapters.items():
        layer = model.get_submodule(path)
        if not isinstance(layer, LoRALinear):
            assert isinstance(layer, nn.Linear | QuantizedLinear | Q4Linear)
            layer = LoRALinear(layer).train(layer.training)
            model.set_submodule(path, layer)
        device = next(chain(layer.base.parameters(), layer.base.buffers())).device
        layer.adapters[name] = adapter.to(device).train(layer.training)
    set_adapter(model, name)


def set_adapter(model: nn.Module, name: str | None) -> None:
    """Activate one adapter and make only it trainable; None: use the base model alone.

    Raises:
        ValueError: There is no such adapter, or one is merged into the weights.

    >>> from llmguide import apply_lora, set_adapter
    >>> model = nn.Sequential(nn.Linear(4, 4))
    >>> _ = apply_lora(model, rank=1, alpha=1, target_modules=["0"], adapter_name="french")
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
    """Add the active adapter's update to the frozen weights in place, so that it costs nothing at inference.

    Call `remove_lora` before a merged model of transformers is saved with ``save_pretrained``: layers with
    adapters have other names than those of the base, and would not be found again.

    Args:
        model: Model with adapters, which are kept so that `unmerge_lora` can subtract them.

    Returns:
        The model.

    Raises:
        ValueError: No adapter is active, one is merged already, or the weights are quantized.

    >>> from llmguide import apply_lora, merge_lora
    >>> model = apply_lora(nn.Sequential(nn.Linear(4, 4)), rank=1, alpha=1, target_modules=["0"])
    >>> x = torch.ones(1, 4)
    >>> before = model(x)
    >>> torch.allclose(merge_lora(model)(x), before)
    True
    """
    _require_unmerged(model)
    layers = [layer for _, layer in lora_layers(model) if layer.active is not None]
    if not layers:
        raise ValueError(f"no adapter is active; call set_adapter with one of {adapter_names(model)}")
    if any(isinstance(layer.base, QUANTIZED) for layer in layers):
        raise ValueError("merged weights cannot be stored in 4 bits: call dequantize_model first")
    for layer in layers:
        _add_delta(layer, +1)
        layer.merged = layer.active
    return model


@torch.no_grad()
def unmerge_lora(model: nn.Module) -> nn.Module:
    """Subtract the merged adapter's update from the weights, in place.

    The weights are restored up to rounding, a relative 1e-7 in float32 but 4e-3 in bfloat16, so keep a copy
    of the base model there.

    Args:
        model: Model after `merge_lora`.

    Returns:
        The model.

    Raises:
        ValueError: Nothing is merged.

    >>> from llmguide import apply_lora, merge_lora, unmerge_lora
    >>> model = merge_lora(apply_lora(nn.Sequential(nn.Linear(4, 4)), rank=1, alpha=1, target_modules=["0"]))
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
    """Remove all adapters in place; a merged update stays, and all weights become trainable again.

    >>> from llmguide import apply_lora, remove_lora
    >>> remove_lora(apply_lora(nn.Sequential(nn.Linear(4, 4)), rank=1, alpha=1, target_modules=["0"]))
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

    >>> model = apply_lora(nn.Sequential(nn.Linear(4, 4)), rank=1, alpha=1, target_modules=["0"])
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
    """Yield the layers that have adapters, with their dotted paths."""
    for path, module in model.named_modules():
        if isinstance(module, LoRALinear):
            yield path, module


def adapter_names(model: nn.Module) -> list[str]:
    """List the names of all adapters in a model, in the order of their insertion."""
    return list(dict.fromkeys(name for _, layer in lora_layers(model) for name in layer.adapters))


def _add_delta(layer: LoRALinear, sign: int) -> None:
    assert layer.active is not None
    adapter = layer.adapters[layer.active]
    assert isinstance(adapter, Adapter)
    weight = layer.base.weight
    wide = torch.promote_types(weight.dtype, adapter.A.dtype)
    weight.copy_(weight.to(wide) + sign * adapter.delta())  # rounded once, not twice


def _require_untied(model: nn.Module, layers: dict[str, nn.Module]) -> None:
    n_uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    for path, layer in layers.items():
        if any(n_uses[id(p)] > 1 for p in layer.parameters()):
            raise ValueError(
                f"the weight of {path!r} is tied to another layer, which merging would change too; "
                "untie them first (tie_embeddings=False)"
            )


def _require_unmerged(model: nn.Module) -> None:
    merged = {layer.merged for _, layer in lora_layers(model)} - {None}
    if merged:
        raise ValueError(f"adapter {merged.pop()!r} is merged into the weights; call unmerge_lora first")
