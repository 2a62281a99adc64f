"""A base that a run or others pretrained: opened by folder or name, and saved in the form that it came in."""

from pathlib import Path
from typing import Any

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.models import GPT, Llama
from llmguide.models.saved import is_saved
from llmguide.runs.chat_model import open_transformers, save_as_opened
from llmguide.runs.folder import load_run
from llmguide.tokenization.tokenizer import Tokenizer


class Borrowed:
    """A tokenizer of transformers, with what is called of `llmguide.tokenization.tokenizer.Tokenizer`.

    Args:
        tokenizer: A byte-level BPE, or a SentencePiece model with its bytes.

    Raises:
        ValueError: It has no token that ends a text.
    """

    def __init__(self, tokenizer: Any):
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer of the base has no eos_token, which is to stand between texts")
        self.tokenizer = tokenizer
        self.special_tokens = {END_OF_TEXT: tokenizer.eos_token_id}

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, with none around them."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids


def open_pretrained(name: str | Path) -> tuple[GPT | Llama, Any]:
    """Open a decoder and its tokenizer.

    Args:
        name: A packaged model, a run folder, a folder of transformers, or a hub name.

    Returns:
        The model, in evaluation mode on the CPU, and a `Tokenizer` or one that is `Borrowed`.

    Raises:
        ValueError: There is no such model, or it is no decoder.
    """
    if is_saved(Path(name)):
        return load_run(name)
    model, tokenizer = open_transformers(str(name))
    return model.eval(), Borrowed(tokenizer)


def save_pretrained(folder: Path, model: GPT | Llama, tokenizer: Any) -> None:
    """Write what `open_pretrained` opens, in the form that it came in."""
    save_as_opened(folder, model, tokenizer.tokenizer if isinstance(tokenizer, Borrowed) else tokenizer)


def sizes(tokenizer: Any, ids: list[int]) -> list[int]:
    """Return how many bytes each token stands for."""
    if isinstance(tokenizer, Tokenizer):
        return [len(piece) for piece in tokenizer.pieces(ids)]
    names = tokenizer.tokenizer.convert_ids_to_tokens(ids)
    if "Ġ" in tokenizer.tokenizer.get_vocab():  # byte-level: a letter of a name is a byte
        return [len(name) for name in names]
    return [1 if name.startswith("<0x") else len(name.replace("▁", " ").encode()) for name in names]
