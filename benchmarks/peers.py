"""GPT-2 shaped peers to time training and generation against, with the weights of one of our models."""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmguide.config.model_config import ModelConfig
from llmguide.models import GPT, to_hf

SIZES = {
    "small": {"n_layers": 4, "n_heads": 4, "d_model": 128, "context_length": 64, "vocab_size": 65},
    "big": {"n_layers": 6, "n_heads": 6, "d_model": 384, "context_length": 256, "vocab_size": 65},
    "big, V 50304": {
        "n_layers": 6,
        "n_heads": 6,
        "d_model": 384,
        "context_length": 256,
        "vocab_size": 50_304,
    },
}
BATCH = {"small": 12, "big": 8, "big, V 50304": 8}


def config(size: str, **changes: Any) -> ModelConfig:
    return ModelConfig(**(SIZES[size] | changes))


class PlainGPT(nn.Module):
    """GPT-2 as one would write it with torch's own parts: fused projection, SDPA, all logits at once."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        D = config.d_model
        self.n_heads = config.n_heads
        self.wte = nn.Embedding(config.vocab_size, D)
        self.wpe = nn.Embedding(config.context_length, D)
        self.h = nn.ModuleList(
            nn.ModuleDict(
                {
                    "ln_1": nn.LayerNorm(D),
                    "attn": nn.ModuleDict({"c_attn": nn.Linear(D, 3 * D), "c_proj": nn.Linear(D, D)}),
                    "ln_2": nn.LayerNorm(D),
                    "mlp": nn.ModuleDict({"c_fc": nn.Linear(D, 4 * D), "c_proj": nn.Linear(4 * D, D)}),
                }
            )
            for _ in range(config.n_layers)
        )
        self.ln_f = nn.LayerNorm(D)

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return logits and loss, or without targets the logits of the last position."""
        B, T = ids.shape
        x = self.wte(ids) + self.wpe(torch.arange(T))
        for block in self.h:
            q, k, v = (
                part.view(B, T, self.n_heads, -1).transpose(1, 2)
                for part in block["attn"]["c_attn"](block["ln_1"](x)).chunk(3, dim=-1)
            )
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block["attn"]["c_proj"](out.transpose(1, 2).reshape(B, T, -1))
            x = x + block["mlp"]["c_proj"](F.gelu(block["mlp"]["c_fc"](block["ln_2"](x))))
        x = self.ln_f(x)
        if targets is None:
            return x[:, -1:] @ self.wte.weight.T, None
        logits = x @ self.wte.weight.T
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def generate(self, ids: Tensor, n: int, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
        """Run the whole text again for each token."""
        for _ in range(n):
            logits = self(ids)[0][:, -1] / temperature
            if top_k is not None:
                logits[logits < logits.topk(top_k).values[:, -1:]] = -torch.inf
            ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return ids


def nanogpt(ours: GPT, folder: Path | None) -> Any:
    """Load nanoGPT from a checkout, or a plain model of the same shape, with our weights."""
    config = ours.config
    assert config.activation == "gelu", "nanoGPT has the exact GELU"
    if folder is None:
        peer: Any = PlainGPT(config)
    else:
        sys.path.insert(0, str(folder))
        module = importlib.import_module("model")
        peer = module.GPT(
            module.GPTConfig(
                block_size=config.context_length,
                vocab_size=config.vocab_size,
                n_layer=config.n_layers,
                n_head=config.n_heads,
                n_embd=config.d_model,
                dropout=0.0,
                bias=True,
            )
        )
    prefix = "" if folder is None else "transformer."
    state = {}
    for name, tensor in to_hf(ours).transformer.state_dict().items():
        is_conv1d = name.endswith(".weight") and any(part in name for part in ("c_attn", "c_proj", "c_fc"))
        state[prefix + name] = tensor.T.contiguous() if is_conv1d else tensor
    peer.load_state_dict(state, strict=folder is None)  # nanoGPT's head is its embedding, under a second name
    return peer
