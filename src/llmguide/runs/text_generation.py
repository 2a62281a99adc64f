"""Open a model with its tokenizer to continue texts."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.runs.resolve import open_model
from llmguide.runs.transformers_folder import stop_ids
from llmguide.tokenization.tokenizer import Tokenizer


class Writer(NamedTuple):
    """A model with the encoding and decoding functions of its tokenizer."""

    model: Any
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    end_ids: frozenset[int]


def open_writer(name: str) -> Writer:
    """Open a model with its tokenizer.

    Raises:
        ValueError: There is no such model, or it is not a decoder.
    """
    model, tokenizer = open_model(name, dtype=None)
    if isinstance(tokenizer, Tokenizer):
        end_id = tokenizer.special_tokens[END_OF_TEXT]  # the end-of-text token precedes documents, too
        ends = frozenset([end_id])
        return Writer(model, lambda text: [end_id, *tokenizer.encode(text)], tokenizer.decode, ends)
    beginning = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    encode = tokenizer.encode
    ends = stop_ids(tokenizer) | ({tokenizer.eos_token_id} - {None})
    return Writer(model, lambda text: encode(text) or beginning, tokenizer.decode, ends)


def chosen_device(name: str | None) -> torch.device:
    """Return the device of that name; without one, the GPU if there is one.

    Raises:
        ValueError: The device cannot be used on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError) as error:  # torch asserts that it was built for GPUs
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {name} cannot be used: {reason}") from error


def pieces(
    ids: Iterator[int], decode: Callable[[list[int]], str], *, before: list[int], end_id: int | None
) -> Iterator[str]:
    """Decode a stream of token ids, holding back incomplete characters.

    Args:
        ids: New token ids.
        decode: Function from token ids to text.
        before: Token ids of the prompt: whether a word begins with a space can depend on the token before it.
        end_id: Id of the token to stop at; None: none.

    >>> def decode(ids):
    ...     return bytes(ids).decode(errors="replace")
    >>> list(pieces(iter([104, 195, 182, 0]), decode, before=[], end_id=0))
    ['h', 'ö']
    """
    seen, shown = list(before), decode(before)
    for i in ids:
        if i == end_id:
            break
        seen.append(i)
        text = decode(seen)
        if not text.endswith("\ufffd") and text != shown:
            yield text.removeprefix(shown)
            shown = text
    if rest := decode(seen).removeprefix(shown):
        yield rest


def until_stop(texts: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    r"""Yield a text up to the first stop string, holding back an end that may be the start of one.

    Args:
        texts: Pieces of the text.
        stops: Stop strings.

    >>> list(until_stop(iter(["one\n", "User", ": two"]), ["\nUser:"]))
    ['one']
    """
    held = ""
    for text in texts:
        held += text
        if found := [i for stop in stops if (i := held.find(stop)) >= 0]:
            held = held[: min(found)]
            break
        starts = [n for stop in stops for n in range(1, len(stop)) if held.endswith(stop[:n])]
        n_kept = max(starts, default=0)
        if shown := held[: len(held) - n_kept]:
            yield shown
        held = held[len(held) - n_kept :]
    if held:
        yield held
