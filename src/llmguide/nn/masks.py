r"""Attention masks: which query may attend to which key.

One convention in the whole package: a mask is boolean and ``True`` means "this query may attend to this key".
Its last two axes are ``(T_q, T_k)`` and the axes before them broadcast against batch and heads, so masks
combine with Python's own operators: ``&`` (both must allow it) and ``|`` (one is enough).

Queries are the LAST of the keys (bottom-right alignment): query row i is at position ``T_k - T_q + i``.
With a key/value cache the keys are the whole past and the queries its last few tokens, so the same function
serves training (``T_q == T_k``), prefill in chunks and decoding (``T_q == 1``).

Three conventions of other libraries, to which a mask has to be converted:

- ``torch.nn.functional.scaled_dot_product_attention(is_causal=True)`` aligns top-left: query i is at position
  i. It agrees with `causal_mask` only when ``T_q == T_k``; while decoding with a cache, the new token would
  attend to key 0 only.
- ``torch.nn.MultiheadAttention`` takes boolean masks of the opposite sense, ``True`` = masked out: pass
  ``~mask``.
- Additive masks (0 and -inf, summed onto the scores) are not masks here; pass them as ``bias`` to
  `attention`.

References: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3 (causal mask); Beltagy et al. 2020,
arXiv:2004.05150, and Jiang et al. 2023, arXiv:2310.06825, section 2 (sliding window); Raffel et al. 2019,
arXiv:1910.10683, section 3.2.1 (prefix mask). Leaves out: dilated, block-sparse and random patterns.

Glossary: ``B`` batch, ``T_q`` queries, ``T_k`` keys.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmguide.arguments import check_tensor


def query_and_key_positions(
    T_q: int, T_k: int | None, device: torch.device | str | None
) -> tuple[Int[Tensor, "T_q 1"], Int[Tensor, "1 T_k"]]:
    """Return the positions of queries (a column) and keys (a row), counted from the first key."""
    T_k = T_q if T_k is None else T_k
    keys = torch.arange(T_k, device=device)
    queries = torch.arange(T_k - T_q, T_k, device=device)
    return queries[:, None], keys[None, :]


def causal_mask(
    T_q: int, T_k: int | None = None, *, device: torch.device | str | None = None
) -> Bool[Tensor, "T_q T_k"]:
    r"""Let each position attend to itself and the past: $j \le T_k - T_q + i$ for query row i and key j.

    If there are more queries than keys, the first ``T_q - T_k`` queries are before every key and attend to
    nothing.

    Args:
        T_q: Number of queries, the last of the keys.
        T_k: Number of keys; None: as many as queries.
        device: Device of the mask.

    Returns:
        True where a query may attend.

    >>> from llmguide import causal_mask
    >>> causal_mask(3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    >>> causal_mask(2, 4).int().tolist()  # two new tokens after two cached ones
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    queries, keys = query_and_key_positions(T_q, T_k, device)
    return keys <= queries


def sliding_window_mask(
    T_q: int, T_k: int | None = None, *, window: int, device: torch.device | str | None = None
) -> Bool[Tensor, "T_q T_k"]:
    """Let each position attend to the last ``window`` positions, itself included, so it is causal.

    Args:
        T_q: Number of queries, the last of the keys.
        T_k: Number of keys; None: as many as queries.
        window: Number of keys that a query attends to, itself included, at least 1 (Mistral 7B: 4096).
        device: Device of the mask.

    Returns:
        True where a query may attend.

    Raises:
        ValueError: If the window is smaller than 1.

    >>> from llmguide import sliding_window_mask
    >>> sliding_window_mask(4, window=2).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    if window < 1:
        raise ValueError(f"window={window} would hide a token from itself; use a window of 1 or more")
    queries, keys = query_and_key_positions(T_q, T_k, device)
    return (keys <= queries) & (keys > queries - window)


def prefix_mask(
    T_q: int, T_k: int | None = None, *, prefix: int, device: torch.device | str | None = None
) -> Bool[Tensor, "T_q T_k"]:
    """Let every query attend to the first ``prefix`` keys, and to the past as in `causal_mask`.

    For prefixes of different lengths in a batch: ``causal_mask(T) | padding_mask(prefix_lengths, T)``.

    Args:
        T_q: Number of queries, the last of the keys.
        T_k: Number of keys; None: as many as queries.
        prefix: Number of leading keys that are visible in both directions; 0 gives the causal mask.
        device: Device of the mask.

    Returns:
        True where a query may attend.

    >>> prefix_mask(3, prefix=2).int().tolist()
    [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    """
    queries, keys = query_and_key_positions(T_q, T_k, device)
    return (keys <= queries) | (keys < prefix)


def padding_mask(
    real: Int[Tensor, " B *T_k"] | Bool[Tensor, " B *T_k"], T_k: int | None = None
) -> Bool[Tensor, "B 1 1 T_k"]:
    """Hide padding keys from every query.

    Args:
        real: Either lengths ``(B,)``, for rows padded on the right, or an attention mask ``(B, T_k)`` as
            tokenizers return it, 1 or True for real tokens, for padding on any side.
        T_k: Number of keys, for lengths only; None: the longest length.

    Returns:
        True where a key is real, with axes of size 1 for heads and queries.

    Raises:
        ValueError: If ``real`` is neither lengths nor a mask, or ``T_k`` disagrees with it.

    >>> padding_mask(torch.tensor([1, 3])).int().tolist()
    [[[[1, 0, 0]]], [[[1, 1, 1]]]]
    >>> padding_mask(torch.tensor([[0, 1, 1]])).int().tolist()  # padded on the left
    [[[[0, 1, 1]]]]
    """
    check_tensor("real", real)
    if real.ndim == 1 and real.dtype != torch.bool:
        if T_k is None:
            T_k = int(real.max()) if len(real) else 0
        return (torch.arange(T_k, device=real.device) < real[:, None])[:, None, None, :]
    if real.ndim != 2:
        raise ValueError(
            f"got {real.dtype} of shape {tuple(real.shape)}; pass integer lengths (B,) or an attention mask "
            "(B, T_k)"
        )
    if T_k not in (None, real.shape[1]):
        raise ValueError(f"T_k={T_k} but the attention mask covers {real.shape[1]} keys; leave T_k out")
    return real.bool()[:, None, None, :]


def document_mask(document_ids: Int[Tensor, "*B T"]) -> Bool[Tensor, "*B 1 T T"]:
    """Keep attention inside each document of a packed sequence; add ``& causal_mask(T)`` for a decoder.

    Args:
        document_ids: Id of the document that each token belongs to; ids may be in any order.

    Returns:
        True where query and key belong to the same document, with an axis of size 1 for the heads.

    >>> document_mask(torch.tensor([0, 0, 1])).int().tolist()
    [[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]
    """
    return (document_ids[..., :, None] == document_ids[..., None, :]).unsqueeze(-3)
