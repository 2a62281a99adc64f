"""What every model does before its first layer: look up tokens, count positions, build the mask.

Glossary: ``B`` batch, ``T`` new tokens, ``T_all`` all tokens, those in the cache included.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.arguments import check_ids
from llmguide.nn.kv_cache import KVCache
from llmguide.nn.masks import causal_mask, document_mask, padding_mask
from llmguide.nn.q4 import Q4Embedding

AttentionMask = Int[Tensor, "B T_all"] | Bool[Tensor, "B T_all"]  # 1: a token, 0: padding
DocumentIds = Int[Tensor, "B T"]  # the document that each token belongs to, in a packed row


def look_up(
    table: nn.Embedding | Q4Embedding, ids: Int[Tensor, "B T"], *, what: str = "token id"
) -> Float[Tensor, "B T D"]:
    """Take the row of each id.

    Raises:
        ValueError: If an id lies outside the table. Only on the CPU: a GPU would have to wait for the check,
            and stops with a device-side assertion instead.
    """
    try:
        rows: Tensor = table(ids)
    except IndexError:
        raise ValueError(
            f"{what}s from {int(ids.min())} to {int(ids.max())} are outside 0 to "
            f"{table.num_embeddings - 1}: use the tokenizer that the model was made for"
        ) from None
    return rows


def token_positions(
    ids: Int[Tensor, "B T"],
    attention_mask: AttentionMask | None,
    cache: KVCache | None,
    document_ids: DocumentIds | None = None,
) -> Int[Tensor, "*rows T"]:
    """Compute the position of each new token: the number of real tokens of its document before it.

    Padding before the text does not count, so a padded row gives the numbers of the same row without padding.

    Raises:
        ValueError: If ids are not integers of shape (B, T), if the mask or document_ids do not have their
            shape, or if document_ids come with a cache.

    >>> ids, mask = torch.zeros(2, 3, dtype=torch.long), torch.tensor([[1, 1, 1], [0, 0, 1]])
    >>> token_positions(ids, mask, None).tolist()
    [[0, 1, 2], [0, 0, 0]]
    >>> token_positions(ids, None, None, torch.tensor([[7, 7, 8], [4, 5, 5]])).tolist()
    [[0, 1, 0], [0, 0, 1]]
    """
    check_ids(ids)
    past = cache.length if cache is not None else 0
    if attention_mask is not None and attention_mask.shape != (len(ids), past + ids.shape[1]):
        raise ValueError(
            f"attention_mask {tuple(attention_mask.shape)} must be {(len(ids), past + ids.shape[1])}: "
            f"{past} tokens in the cache and {ids.shape[1]} new ones"
        )
    if document_ids is not None:
        if cache is not None or document_ids.shape != ids.shape:
            raise ValueError(
                f"document_ids {tuple(document_ids.shape)} must have the shape of ids {tuple(ids.shape)} and "
                "cannot be combined with a cache: to generate, give each document a row of its own"
            )
        real = torch.ones_like(document_ids) if attention_mask is None else attention_mask.long()
        count = real.cumsum(dim=1)
        starts = torch.ones_like(document_ids, dtype=torch.bool)
        starts[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
        before = (count - real).where(starts, 0).cummax(dim=1).values  # real tokens of earlier documents
        return (count - before - 1).clamp(min=0)
    if attention_mask is None:
        return torch.arange(past, past + ids.shape[1], device=ids.device)
    return (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, past:]


def visible_keys(
    attention_mask: AttentionMask | None,
    cache: KVCache | None,
    T: int,
    document_ids: DocumentIds | None = None,
) -> Bool[Tensor, "B 1 T_q T_k"] | None:
    """Mask of the keys that attention will see: all tokens, or with a windowed cache the last ones.

    With document_ids, each token attends only to itself and to earlier tokens of its own document.

    >>> visible_keys(torch.tensor([[0, 1, 1]]), None, T=3).tolist()
    [[[[False, True, True]]]]
    >>> visible_keys(None, None, 3, document_ids=torch.tensor([[7, 7, 8]])).int().tolist()
    [[[[1, 0, 0], [1, 1, 0], [0, 0, 1]]]]
    """
    if document_ids is not None:
        own = document_mask(document_ids) & causal_mask(T, device=document_ids.device)
        return own if attention_mask is None else own & padding_mask(attention_mask)
    if attention_mask is None:
        return None
    if cache is not None:
        attention_mask = attention_mask[:, -n_visible_keys(cache, T) :]
    return padding_mask(attention_mask)


def n_visible_keys(cache: KVCache | None, T: int) -> int:
    """Count the keys that attention will see: the new ones, and with a cache those that it hands back.

    >>> n_visible_keys(None, 3), n_visible_keys(KVCache(1, window=2), 3)
    (3, 3)
    """
    if cache is None:
        return T
    return T + (cache.length if cache.window is None else min(cache.length, cache.window - 1))


def init_normal(model: nn.Module, std: float) -> None:
    """Initialize every matrix from a normal distribution and every bias of a linear layer to 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
