"""The same model in transformers and in llmguide, and where transformers keeps the parts of a layer."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from llmguide.models import from_hf
from tests.models.tiny import hf_model

NAMES = ("gpt2", "gpt2-untied", "llama", "mistral", "qwen2", "qwen3")  # two styles of norms, biases and heads
IDS = torch.randint(53, (2, 9), generator=torch.Generator().manual_seed(7))


class Pair(NamedTuple):
    """Our model, theirs, and modules of theirs by layer."""

    ours: Any
    peer: Any
    layers: list[nn.Module]
    attention: list[nn.Module]
    o_proj: list[nn.Module]
    mlp: list[nn.Module]
    norm: nn.Module


def pair(name: str, *, seed: int = 0) -> Pair:
    """Make both models with the same random weights."""
    peer = hf_model(name, seed=seed)
    peer.set_attn_implementation("eager")
    base = peer.base_model
    is_gpt2 = name.startswith("gpt2")
    layers = list(base.h if is_gpt2 else base.layers)
    attention = [layer.attn if is_gpt2 else layer.self_attn for layer in layers]
    o_proj = [module.c_proj if is_gpt2 else module.o_proj for module in attention]
    norm = base.ln_f if is_gpt2 else base.norm
    return Pair(from_hf(peer).eval(), peer, layers, attention, o_proj, [layer.mlp for layer in layers], norm)


def logits(peer: Any, ids: Tensor = IDS) -> Tensor:
    """Logits of the model of transformers."""
    with torch.no_grad():
        return peer(ids).logits


def seen(module: nn.Module, peer: Any, *, at: str, ids: Tensor = IDS) -> Tensor:
    """Input or output of a module of transformers, whose output may be the first of several."""
    found = []

    def keep(_: nn.Module, args: tuple, kwargs: dict, out: Any) -> None:
        first = args[0] if args else next(iter(kwargs.values()))
        found.append(first if at == "input" else out[0] if isinstance(out, tuple) else out)

    handle = module.register_forward_hook(keep, with_kwargs=True)
    logits(peer, ids)
    handle.remove()
    return found[0]
