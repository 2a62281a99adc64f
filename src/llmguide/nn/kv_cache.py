r"""The key/value cache: keys and values of past tokens, so that a step computes one token only.

The caller creates a cache and passes it in; the model does not store it. It holds, for each layer, the keys
and values of all tokens so far, after RoPE. `KVCache.append` adds the new ones and returns views of
everything that the new queries may attend to, without a copy.

Memory: $2 \cdot L \cdot K \cdot E$ values per token (keys and values); LLaMA-2 7B in 16 bits: 2 x 32 x 32 x
128 x 2 = 524,288 bytes. Pass ``capacity`` when the final length is known, as in generation: one allocation,
no copies. Beyond its capacity a buffer doubles, so that appending n tokens one by one copies fewer than 2n.

With a sliding window of W tokens, a query needs the W - 1 tokens before it, so older ones are dropped; the
buffers stay below 2W plus twice the largest chunk, for any length of the text.

References: Shazeer 2019, arXiv:1911.02150 (why decoding is bound by reading this memory); Jiang
et al. 2023, arXiv:2310.06825, section 2 (the window). Leaves out: paging and sharing between requests,
quantization.

Glossary: ``L`` layers, ``B`` batch, ``K`` key/value heads, ``T`` new tokens, ``E`` head width.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass
class _Layer:
    """Buffers of one layer; tokens ``start`` to ``end`` of the text are in ``keys[:, :, :end - start]``."""

    keys: Tensor
    values: Tensor
    start: int
    end: int


class KVCache:
    """Keys and values of every layer of one model, for one batch.

    Meant for inference: wrap the model call in ``torch.inference_mode()``.

    Args:
        n_layers: Number of layers L.
        capacity: Number of tokens to allocate memory for at the first append (at most two windows); buffers
            grow when it is exceeded.
        window: Sliding window of the attention, in tokens; None: full attention.

    >>> from llmguide import KVCache
    >>> import torch
    >>> cache = KVCache(n_layers=1)
    >>> k, v = cache.append(0, torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4))
    >>> k, v = cache.append(0, torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 4))
    >>> k.shape, k[0, 0, :, 0].tolist(), cache.length
    (torch.Size([1, 1, 3, 4]), [1.0, 1.0, 0.0], 3)
    """

    def __init__(self, n_layers: int, *, capacity: int = 0, window: int | None = None):
        if window is not None and window < 1:
            raise ValueError(f"window={window} would hide a token from itself; use a window of 1 or more")
        self.capacity = capacity if window is None else min(capacity, 2 * window)
        self.window = window
        self._layers: list[_Layer | None] = [None] * n_layers

    @property
    def length(self) -> int:
        """Number of tokens seen by every layer, including dropped ones: the position of the next token."""
        return min((layer.end if layer else 0 for layer in self._layers), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes allocated for all layers."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._layers if layer)

    def holds(self, layer: int) -> bool:
        """Return whether anything was appended to this layer."""
        return self._layers[layer] is not None

    def __getitem__(self, layer: int) -> tuple[Float[Tensor, "B K T_k E"], Float[Tensor, "B K T_k E_v"]]:
        """Return views of all keys and values of a layer that have not been dropped."""
        held = self._layers[layer]
        if held is None:
            raise ValueError(f"layer {layer} is empty; append keys and values to it first")
        n = held.end - held.start
        return held.keys[:, :, :n], held.values[:, :, :n]

    def append(
        self, layer: int, k: Float[Tensor, "B K T E"], v: Float[Tensor, "B K T E_v"]
    ) -> tuple[Float[Tensor, "B K T_k E"], Float[Tensor, "B K T_k E_v"]]:
        """Add the keys and values of new tokens to one layer.

        Args:
            layer: Index of the layer.
            k: Keys of the new tokens, in any dtype and on any device, the same on every call.
            v: Values of the new tokens.

        Returns:
            Views of the keys and values that the new queries may attend to, the new ones last: of all tokens,
            or with a window of the new tokens and up to ``window - 1`` before them. They are valid until the
            next append.

        Raises:
            ValueError: If batch, heads or width differ from what the layer holds, or ``k`` and ``v`` do not
                fit each other.
        """
        if k.shape[:3] != v.shape[:3]:
            raise ValueError(
                f"keys {tuple(k.shape)} and values {tuple(v.shape)} may differ in the last axis only"
            )
        held = self._layers[layer]
        if held is None:
            tokens = max(self.capacity, k.shape[2])
            held = _Layer(_buffer(k, tokens), _buffer(v, tokens), 0, 0)
            self._layers[layer] = held
        for name, old, new in (("keys", held.keys, k), ("values", held.values, v)):
            if old.shape[:2] != new.shape[:2] or old.shape[3] != new.shape[3]:
                raise ValueError(
                    f"layer {layer} holds {name} {tuple(old.shape)}, got {tuple(new.shape)}: only axis 2, "
                    "the tokens, may differ; reorder() changes the batch"
                )

        T, n = k.shape[2], held.end - held.start
        past = n if self.window is None else min(n, self.window - 1)
        if n + T > held.keys.shape[2]:
            held.keys = _grown(held.keys[:, :, n - past : n], T)
            held.values = _grown(held.values[:, :, n - past : n], T)
            held.start, n = held.end - past, past

        # narrow and copy_ are the slices and assignments k[:, :, a:b] = ... in half the time
        held.keys.narrow(2, n, T).copy_(k)
        held.values.narrow(2, n, T).copy_(v)
        held.end += T
        return held.keys.narrow(2, n - past, past + T), held.values.narrow(2, n - past, past + T)

    def crop(self, length: int) -> None:
        """Drop every token after the first ``length``, as speculative decoding does with rejected ones.

        Args:
            length: Number of tokens to keep, at most `length`.

        Raises:
            ValueError: If there are fewer tokens, or the window has dropped some that would be needed again.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop to {length} tokens: the cache has seen {self.length}")
        for held in self._layers:
            if held is None:
                continue
            needed = 0 if self.window is None else max(0, length - self.window + 1)
            if held.start > needed:
                raise ValueError(
                    f"cannot crop to {length} tokens: a window of {self.window} needs token {needed}, which "
                    f"was dropped; the oldest held is {held.start}; crop less, or start from an empty cache"
                )
            held.end = length

    def reorder(self, rows: Int[Tensor, " B_new"]) -> None:
        """Replace the batch by rows of it, possibly repeated: surviving beams, or copies of one prompt.

        Args:
            rows: Row indices in the current batch, one for each row of the new batch.
        """
        for held in self._layers:
            if held is not None:
                held.keys = held.keys.index_select(0, rows)
                held.values = held.values.index_select(0, rows)


def _buffer(like: Tensor, tokens: int) -> Tensor:
    """Allocate a buffer for a number of tokens with the batch, heads, width, dtype and device of ``like``."""
    B, K, _, E = like.shape
    return like.new_empty(B, K, tokens, E)


def _grown(past: Tensor, T: int) -> Tensor:
    """Copy the tokens to keep into a buffer of twice their number plus ``T``."""
    n = past.shape[2]
    larger = _buffer(past, 2 * (n + T))
    larger[:, :, :n] = past
    return larger
