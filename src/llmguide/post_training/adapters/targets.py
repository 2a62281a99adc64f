"""Find layers of a model by name, for LoRA targets and quantization targets."""

from collections.abc import Collection

from torch import nn


def find_layers(
    model: nn.Module, target_modules: str | Collection[str], kinds: tuple[type[nn.Module], ...]
) -> dict[str, nn.Module]:
    """Find layers by the end of their dotted names.

    Layers inside a layer of one of the kinds, such as the base of a LoRA layer, are not searched.

    Args:
        model: Any model.
        target_modules: One name or several: ``"q_proj"`` matches the layer of every block,
            ``"blocks.0.attention.q_proj"`` that of the first block only.
        kinds: Classes that a matched layer may have.

    Returns:
        The matched layers by their dotted paths.

    Raises:
        ValueError: A target matches no layer, or a layer of another class.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    >>> list(find_layers(model, "2", (nn.Linear,)))
    ['2']
    """
    outer = [module for module in model.modules() if isinstance(module, kinds)]
    inner = {id(part) for module in outer for part in module.modules() if part is not module}
    modules = {path: module for path, module in model.named_modules() if id(module) not in inner}
    layers: dict[str, nn.Module] = {}
    if not target_modules:
        linear = {path.rpartition(".")[2] for path, m in modules.items() if isinstance(m, kinds)}
        raise ValueError(f"target_modules={target_modules!r} names no layer; choose from {sorted(linear)}")
    for target in [target_modules] if isinstance(target_modules, str) else target_modules:
        matches = {path: m for path, m in modules.items() if f".{path}".endswith(f".{target}")}
        if not matches or not all(isinstance(m, kinds) for m in matches.values()):
            names = {path.rpartition(".")[2] for path, m in modules.items() if isinstance(m, kinds)}
            others = {type(m).__name__ for m in matches.values() if not isinstance(m, kinds)}
            raise ValueError(
                f"target {target!r} matches {' and '.join(sorted(others)) or 'nothing'}, but has to match a "
                f"linear layer: {', '.join(sorted(names))}"
                + ("; from_hf converts the GPT-2 of transformers" if "Conv1D" in others else "")
            )
        layers |= matches
    return layers
