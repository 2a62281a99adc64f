"""Open, adapt and save a pretrained base model, ours or transformers', in its own format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.models import GPT, Llama
from llmguide.post_training.adapters.lora import LINEAR, apply_lora
from llmguide.runs.chat_model import save_as_opened
from llmguide.runs.resolve import open_model
from llmguide.tokenization.tokenizer import Tokenizer

ADAPTER_TRAINING = {"optimizer": "adamw", "weight_decay": 0.0}  # fields of TrainConfig


class HFTokenizer:
    """A tokenizer of transformers behind the interface of `llmguide.tokenization.tokenizer.Tokenizer`.

    Args:
        tokenizer: Tokenizer of transformers, byte-level BPE or SentencePiece with byte fallback.

    Raises:
        ValueError: The tokenizer has no end-of-text token.
    """

    def __init__(self, tokenizer: Any):
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer of the base has no eos_token, which separates texts")
        self.tokenizer = tokenizer
        self.special_tokens = {END_OF_TEXT: tokenizer.eos_token_id}

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def open_pretrained(name: str | Path) -> tuple[GPT | Llama, Any]:
    """Open a decoder and its tokenizer.

    Args:
        name: Name of a packaged model, a run folder, a transformers folder, or a hub name.

    Returns:
        The model, in evaluation mode on the CPU, and a `Tokenizer` or one that is `HFTokenizer`.

    Raises:
        ValueError: There is no such model, or it is not a decoder.
    """
    model, tokenizer = open_model(name)
    return model, as_tokenizer(tokenizer)


def as_tokenizer(tokenizer: Any) -> Any:
    """Give a tokenizer of transformers the interface of ours, which is returned as it is."""
    return tokenizer if isinstance(tokenizer, Tokenizer) else HFTokenizer(tokenizer)


def save_pretrained(folder: Path, model: GPT | Llama, tokenizer: Any) -> None:
    """Save a model and tokenizer from `open_pretrained` in the format they were loaded from."""
    save_as_opened(folder, model, tokenizer.tokenizer if isinstance(tokenizer, HFTokenizer) else tokenizer)


def adapt(model: GPT | Llama, rank: int, *, n_blocks: int | None = None) -> None:
    """Add LoRA adapters to all linear layers of the upper half of the blocks, in place.

    Args:
        model: Decoder without adapters.
        rank: Rank of the adapters; alpha is twice the rank.
        n_blocks: Number of blocks to keep, the lowest; None: all.
    """
    model.blocks = model.blocks[:n_blocks]
    n = len(model.blocks)
    model.config = replace(model.config, n_layers=n)
    layers = [
        f"blocks.{i}.{path}"
        for i in range(n // 2, n)
        for path, module in model.blocks[i].named_modules()
        if isinstance(module, LINEAR)
    ]
    apply_lora(model, rank=rank, alpha=2 * rank, target_modules=layers)


def separator(tokenizer: Any) -> int:
    """Return the id of the token that begins a text; the eos_token of a chat model ends a turn instead."""
    known = tokenizer.tokenizer.get_vocab() if isinstance(tokenizer, HFTokenizer) else {}
    return int(known.get(END_OF_TEXT, tokenizer.special_tokens[END_OF_TEXT]))


def sizes(tokenizer: Any, ids: list[int]) -> list[int]:
    """Return the number of bytes of each token."""
    if isinstance(tokenizer, Tokenizer):
        return [len(piece) for piece in tokenizer.pieces(ids)]
    names = tokenizer.tokenizer.convert_ids_to_tokens(ids)
    if "Ġ" in tokenizer.tokenizer.get_vocab():  # byte-level: a character of a token's name is a byte
        return [len(name) for name in names]
    return [1 if name.startswith("<0x") else len(name.replace("▁", " ").encode()) for name in names]
