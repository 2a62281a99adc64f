"""Open a model with its tokenizer to continue texts."""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import torch

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.generation.sampling import Sampler
from llmguide.generation.steps import CachedSteps, new_cache, next_logits
from llmguide.models import GPT, Llama
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


class Continuations:
    """Continues one prompt after another; the key/value cache keeps the tokens that both begin with.

    Args:
        model: Decoder in evaluation mode, on the device where it stays.
    """

    def __init__(self, model: GPT | Llama):
        self.model, self._device = model, next(model.parameters()).device
        self._steps = CachedSteps(model, rows=1, n_tokens=0, n_steps=model.config.context_length)
        self._text = torch.empty(1, 0, dtype=torch.long, device=self._device)  # the cache has its beginning

    def stream(
        self,
        prompt: list[int],
        max_new_tokens: int,
        *,
        sampler: Sampler,
        generator: torch.Generator | None = None,
    ) -> Iterator[int]:
        """Yield new tokens as they are sampled, as `llmguide.generation.generate.stream` does."""
        earlier, self._text = self._text, torch.tensor([prompt], device=self._device)
        n = min(self._steps.cache.length, earlier.shape[1], len(prompt) - 1)
        n_same = int((earlier[0, :n] == self._text[0, :n]).cumprod(dim=0).sum())
        try:
            self._steps.cache.crop(n_same)
        except ValueError:  # a sliding window has dropped tokens that are needed again
            self._steps.cache = new_cache(self.model, 0)
        logits = next_logits(self.model, self._text, None, self._steps.cache)
        for i in range(max_new_tokens):
            if i > 0:
                logits = self._steps(self._text, None)
            token = sampler(logits, self._text, generator)
            self._text = torch.cat([self._text, token[:, None]], dim=1)
            yield int(token)

    def tokens_per_s(self) -> float:
        """Measure the speed of greedy decoding, for a third of a second after the first three tokens."""
        ends = []
        for _ in self.stream([0], self.model.config.context_length - 1, sampler=Sampler(0.0)):
            ends.append(perf_counter())
            if len(ends) > 3 and ends[-1] - ends[2] > 1 / 3:
                break
        return (len(ends) - 3) / (ends[-1] - ends[2])


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
        raise ValueError(f"--device {name} cannot be used: {reason}; leave it out, or give cpu") from error


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
