r"""Cached decoding steps with fewer operations than the modules of a model need.

A step through the modules takes about a hundred small operations, and in a small model half of its time is
overhead between them. Here the modules are traversed once, into a list of functions that hold their weights,
and a step calls these. It computes the same as ``model.hidden`` for one token, which needs less: no
transposed heads, no causal mask, no dropout; and the query heads that share a key/value head are passed to
the attention kernel as queries of one head, without repeated keys. With 6 layers of width 384 and one row,
the time per token fell from 2.1 to 1.5 ms.

With few rows, reading the weights takes most of the time, so their memory layout matters. For long
completions of a model of up to 1 GiB the weights are copied once into the fastest layout for the processor;
otherwise, and on other devices, they are used without copying. 4-bit weights of layers with the same input
are joined into one layer.

Leaves out: models in which a module whose computation is repeated here has hooks, a class of its own or a
replaced method; for these `decoding_step` returns None. Feed-forward layers of other classes, and layers in
place of `torch.nn.Linear` (adapters, quantized weights), are called as they are.

Glossary: ``B`` rows, ``D`` model width, ``H`` query heads, ``K`` key/value heads, ``E`` head width, ``V``
vocabulary, ``T_k`` keys.
"""

from collections.abc import Callable
from math import inf, sqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.generation._fast_linear import fast_linear
from llmguide.models.encoder_decoder import DecoderBlock, EncodedSource, Transformer
from llmguide.models.gpt import GPT
from llmguide.models.inputs import AttentionMask, n_visible_keys, token_positions, visible_keys
from llmguide.models.llama import Llama
from llmguide.nn.block import Block
from llmguide.nn.feed_forward import FeedForward, activate, swiglu
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.multi_head_attention import MultiHeadAttention
from llmguide.nn.norms import LayerNorm, RMSNorm
from llmguide.nn.positions import LearnedPositions, alibi_bias, sinusoidal_positions
from llmguide.nn.rope import rope_tables
from llmguide.nn.unchanged import is_unchanged

Step = Callable[[Tensor, AttentionMask | None, KVCache], Tensor]
LARGEST_COPY = 2**30  # bytes of weights
FEWEST_TOKENS = 48  # tokens after which the copies had saved the time of copying


class _Now(NamedTuple):
    """The inputs of one step that all sublayers share."""

    cache: KVCache
    mask: Tensor | None  # boolean or added to the scores, broadcasts to (B, K, H/K, T_k)
    rope: tuple[Tensor, Tensor] | None  # cos and (-sin, sin)
    memory_mask: Tensor | None


def decoding_step(model: Any, *, rows: int = 1, tokens: int = 1) -> Step | None:
    """Build the function that computes a model's decoding steps.

    Args:
        model: A decoder of `llmguide.models`, or an `EncodedSource` that has decoded its first token, in
            evaluation mode.
        rows: Number of rows of each step, as a hint.
        tokens: Number of steps, as a hint.

    Returns:
        A function of the last token of each row ``(B,)``, the attention mask over the whole text or None, and
        the cache of all tokens before (with the model's sliding window, if it has one), to which this token
        is appended. It returns the logits ``(B, V)``. None if the model has parts that it cannot repeat.

    >>> from llmguide.config.model_config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3)).eval()
    >>> text, cache = torch.tensor([[1, 2, 3]]), KVCache(n_layers=2)
    >>> with torch.inference_mode():
    ...     _ = model(text[:, :2], cache=cache)
    ...     logits = decoding_step(model)(text[:, 2], None, cache)
    ...     torch.allclose(logits, model(text)[:, -1], atol=1e-6)
    True
    """
    encoded = model if type(model) is EncodedSource else None
    module = model if encoded is None else encoded.model
    if type(model) is Transformer or not _is_known(module) or has_hooks(module):
        return None
    config, is_pre = module.config, module.config.norm_position == "pre"
    if config.n_full_layers:  # the cache has no window, so each layer masks its own
        return None
    size = sum(parameter.nbytes for parameter in module.parameters())
    copy_for = rows if tokens >= FEWEST_TOKENS and size <= LARGEST_COPY else 0

    embed = _embedding(module)
    blocks: Any = module.blocks if encoded is None else module.decoder_blocks
    sublayers = [pair for i, block in enumerate(blocks) for pair in _sublayers(block, i, copy_for, encoded)]
    final_norm = _norm(module.final_norm if encoded is None else module.decoder_norm)
    tied = module.tokens if encoded is None else module.target_tokens
    head = fast_linear((tied if module.head is None else module.head,), copy_for)

    @torch.inference_mode()
    def step(
        token: Int[Tensor, " B"], attention_mask: AttentionMask | None, cache: KVCache
    ) -> Float[Tensor, "B V"]:
        positions = token_positions(token[:, None], attention_mask, cache)  # (1,) or (B, 1)
        x = embed(token, positions[..., 0])

        mask: Tensor | None = visible_keys(attention_mask, cache, 1)  # (B, 1, 1, T_k)
        if config.positions == "alibi":
            T_k = n_visible_keys(cache, 1)
            bias = alibi_bias(config.n_heads, 1, T_k, device=x.device).view(config.n_kv_heads, -1, T_k)
            mask = bias if mask is None else torch.where(mask, bias, -inf)
        rope = None
        if config.positions == "rope":
            cos, sin = rope_tables(positions, config.head_dim, config.rope_theta, config.rope_scaling)
            rope = cos[..., None, :], torch.stack((-sin, sin), dim=-2)
        memory_mask = None if encoded is None else visible_keys(encoded.source_mask, None, 1)

        now = _Now(cache, mask, rope, memory_mask)
        if is_pre:
            for norm, sublayer in sublayers:
                x = x + sublayer(norm(x), now)
        else:
            for norm, sublayer in sublayers:
                x = norm(x + sublayer(x, now))
        return head(final_norm(x))

    return step


def has_hooks(model: nn.Module) -> bool:
    """Return whether functions of others, such as an intervention, run within a model."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def _is_known(model: Any) -> bool:
    """Return whether every module that a step does not call, but repeats, computes what its class says."""
    if not is_unchanged(model, GPT, Llama, Transformer):
        return False
    is_decoder = not isinstance(model, Transformer)
    blocks = model.blocks if is_decoder else model.decoder_blocks
    repeated: list[Any] = (
        [model.final_norm, model.embedding_norm, model.positions]
        if is_decoder
        else [model.decoder_norm, model.target_embedding_norm, model.target_positions]
    )
    for block in blocks:
        if not is_unchanged(block, Block, DecoderBlock):
            return False
        repeated += [part for name, part in block.named_children() if name != "feed_forward"]
        repeated += [
            norm
            for attention in block.children()
            if is_unchanged(attention, MultiHeadAttention)
            for norm in (attention.q_norm, attention.k_norm)
        ]
    known = MultiHeadAttention, LayerNorm, RMSNorm, nn.Identity, LearnedPositions
    return all(part is None or is_unchanged(part, *known) for part in repeated)


def _embedding(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function from tokens (B,) and positions () or (B,) to the residual stream (B, D)."""
    config: Any = model.config
    is_decoder = config.architecture == "decoder"
    tokens: Any = model.tokens if is_decoder else model.target_tokens
    norm = _norm(model.embedding_norm if is_decoder else model.target_embedding_norm)
    learned: Any = None
    if config.positions == "learned":
        learned = model.positions if is_decoder else model.target_positions

    def embed(token: Tensor, positions: Tensor) -> Tensor:
        x = tokens(token)
        if not is_decoder:
            x = x * sqrt(config.d_model)
        if learned is not None:
            x = x + learned.weight[positions]
        elif config.positions == "sinusoidal":
            x = x + sinusoidal_positions(positions[..., None], config.d_model)[..., 0, :].to(x.dtype)
        return norm(x)

    return embed


def _sublayers(
    block: Any, layer: int, copy_for: int, encoded: EncodedSource | None
) -> list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor, _Now], Tensor]]]:
    """Yield each sublayer of a block with its norm."""
    feed_forward = _feed_forward(block.feed_forward, copy_for)
    pairs = [(block.attention_norm, _self_attention(block.attention, layer, copy_for))]
    if encoded is not None:
        cross = _cross_attention(block.cross_attention, layer, copy_for, encoded.memory_cache)
        pairs.append((block.cross_attention_norm, cross))
    pairs.append((block.feed_forward_norm, lambda x, now: feed_forward(x)))
    return [(_norm(norm), sublayer) for norm, sublayer in pairs]


def _self_attention(
    module: MultiHeadAttention, layer: int, copy_for: int
) -> Callable[[Tensor, _Now], Tensor]:
    project = fast_linear((module.q_proj, module.k_proj, module.v_proj), copy_for)
    project_out = fast_linear((module.o_proj,), copy_for)
    E = module.head_dim
    has_norms = type(module.q_norm) is not nn.Identity
    q_norm, k_norm = _norm(module.q_norm), _norm(module.k_norm)
    K = module.k_proj.out_features // E
    H = module.q_proj.out_features // E

    def attend(x: Tensor, now: _Now) -> Tensor:
        B = len(x)
        qk, v = torch.split(project(x).view(B, -1, 1, E), [H + K, K], dim=1)
        if has_norms:
            qk = torch.cat((q_norm(qk[:, :H]), k_norm(qk[:, H:])), dim=1)
        if now.rope is not None:
            qk = _rotate(qk.view(B, -1, 2, E // 2), *now.rope).view(B, -1, 1, E)
        q, k = torch.split(qk, [H, K], dim=1)
        k, v = now.cache.append(layer, k, v)
        if q.shape[1] != K:
            q = q.reshape(B, K, -1, E)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=now.mask)
        return project_out(out.reshape(B, -1))

    return attend


def _cross_attention(
    module: MultiHeadAttention, layer: int, copy_for: int, memory_cache: KVCache
) -> Callable[[Tensor, _Now], Tensor]:
    project, project_out = fast_linear((module.q_proj,), copy_for), fast_linear((module.o_proj,), copy_for)
    q_norm = _norm(module.q_norm)

    def attend(x: Tensor, now: _Now) -> Tensor:
        k, v = memory_cache[layer]
        q = q_norm(project(x).view(len(x), k.shape[1], -1, k.shape[3]))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=now.memory_mask)
        return project_out(out.reshape(len(x), -1))

    return attend


def _rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Apply RoPE to one token, with its halves (a, b) in an axis of their own: (B, heads, 2, E/2)."""
    return (x * cos + x.flip(-2) * signed_sin).to(x.dtype)


def _feed_forward(module: nn.Module, copy_for: int) -> Callable[[Tensor], Tensor]:
    if not is_unchanged(module, FeedForward):
        return module  # a mixture of experts routes each row separately
    down = fast_linear((module.down,), copy_for)
    if module.gate is not None:
        gate_and_up = fast_linear((module.gate, module.up), copy_for)
        return lambda x: down(swiglu(*gate_and_up(x).chunk(2, dim=-1)))
    up = fast_linear((module.up,), copy_for)
    return lambda x: down(activate(up(x), module.activation))


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    if type(module) is nn.Identity:
        return lambda x: x
    w, eps = module.weight, module.eps
    if type(module) is RMSNorm:
        return lambda x: torch.rms_norm(x, w.shape, w, eps)
    b = module.bias
    return lambda x: torch.layer_norm(x, w.shape, w, b, eps)
