r"""GPT-2 in one screen: the model, one training step and a sampling loop, without options.

The parameters have the names of those in `llmguide.models.gpt`, so the weights of one model load into the
other, and tests compare their logits and gradients. This module leaves out what a real model adds: a
key/value cache, padding, dropout, other positions, norms and activations, GPT-2's initialization, and
checks of bad input.

Reference: Radford et al. 2019 (GPT-2), section 2.3.

Glossary: ``B`` batch, ``T`` tokens, ``D`` model width, ``H`` heads, ``E = D / H`` head width, ``V`` size of
the vocabulary.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.o_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Let each token gather what it needs from itself and the tokens before it."""
        B, T, D = x.shape
        heads = (B, T, self.n_heads, D // self.n_heads)
        q = self.q_proj(x).view(heads).transpose(1, 2)  # (B, H, T, E)
        k = self.k_proj(x).view(heads).transpose(1, 2)
        v = self.v_proj(x).view(heads).transpose(1, 2)
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5  # (B, H, T, T)
        future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
        out: Tensor = self.o_proj((weights @ v).transpose(1, 2).reshape(B, T, D))
        return out


class FeedForward(nn.Module):
    """Project up to four times the width, apply a nonlinearity, project back down."""

    def __init__(self, d_model: int):
        super().__init__()
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Process each position on its own."""
        out: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
        return out


class Block(nn.Module):
    """One layer: attention, then a feed-forward layer, each added to the residual stream."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_heads)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Update the residual stream."""
        x = x + self.attention(self.attention_norm(x))
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out


class MinimalGPT(nn.Module):
    """A decoder-only Transformer with learned positions and a tied output head.

    >>> model = MinimalGPT(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3)
    >>> model(torch.tensor([[1, 2, 3, 4]])).shape  # (B, T, V)
    torch.Size([1, 4, 11])
    """

    def __init__(self, vocab_size: int, context_length: int, n_layers: int, d_model: int, n_heads: int):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(context_length, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.final_norm = nn.LayerNorm(d_model)
        for embedding in (self.tokens, self.positions):  # small, so that the loss starts near log V
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Return the logits of the token that follows each position."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.final_norm(x), self.tokens.weight)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, ids: Int[Tensor, "B T"]) -> float:
    """Update the model once on a batch of token ids, and return the loss in nats per token."""
    logits = model(ids[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def sample(model: nn.Module, ids: Int[Tensor, "B T"], max_new_tokens: int) -> Int[Tensor, "B T_out"]:
    """Append sampled tokens, one at a time; prompt and new tokens must fit into the context."""
    for _ in range(max_new_tokens):
        probabilities = model(ids)[:, -1].softmax(dim=-1)
        ids = torch.cat([ids, torch.multinomial(probabilities, 1)], dim=1)
    return ids
