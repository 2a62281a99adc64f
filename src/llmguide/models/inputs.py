"""What every model does before its first layer: look tokens up, count positions, hide padding.

Glossary: ``B`` batch, ``T`` new tokens, ``T_all`` all tokens, those in the cache included.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.kv_cache import KVCache
from llmguide.masks import padding_mask

AttentionMask = Int[Tensor, "B T_all"] | Bool[Tensor, "B T_all"]  # 1: a token, 0: padding


def look_up(
    table: nn.Embedding, ids: Int[Tensor, "B T"], *, what: str = "token id"
) -> Float[Tensor, "B T D"]:
    """Take the row of each id.

    Raises:
        ValueError: If an id lies outside the table. Only on the CPU: a GPU would have to wait for the check,
            and stops
            with a device-side assertion instead.
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
) -> Int[Tensor, "*rows T"]:
    """Position of each new token: how many real tokens stand before it.

    Padding before the text does not count, so a padded row gives the numbers of the same row without padding.

    >>> ids, mask = torch.zeros(2, 3, dtype=torch.long), torch.tensor([[1, 1, 1], [0, 0, 1]])
    >>> token_positions(ids, mask, None).tolist()
    [[0, 1, 2], [0, 0, 0]]
    """
    past = cache.length if cache is not None else 0
    if attention_mask is None:
        return torch.arange(past, past + ids.shape[1], device=ids.device)
    if attention_mask.shape != (len(ids), past + ids.shape[1]):
        raise ValueError(
            f"attention_mask {tuple(attention_mask.shape)} must be {(len(ids), past + ids.shape[1])}: "
            f"{past} tokens in the cache and {ids.shape[1]} new ones"
        )
    return (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, past:]


def visible_keys(
    attention_mask: AttentionMask | None, cache: KVCache | None, T: int
) -> Bool[Tensor, "B 1 1 T_k"] | None:
    """Mask of the keys that attention will see: all tokens, or with a windowed cache the last ones.

    >>> visible_keys(torch.tensor([[0, 1, 1]]), None, T=3).tolist()
    [[[[False, True, True]]]]
    """
    if attention_mask is None:
        return None
    if cache is not None and cache.window is not None:
        attention_mask = attention_mask[:, -(min(cache.length, cache.window - 1) + T) :]
    return padding_mask(attention_mask)


def init_normal(model: nn.Module, std: float) -> None:
    """Draw every matrix from a normal distribution and set every bias of a linear layer to 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
