"""Write a folder that transformers reads: model, tokenizer, and the tokens that end a text."""

from importlib import import_module
from pathlib import Path
from typing import Any

from llmguide.models import GPT, Llama, to_hf


def save_transformers(folder: str | Path, model: GPT | Llama, tokenizer: Any) -> None:
    """Save a decoder with its tokenizer for transformers; files already in the folder are overwritten.

    The generation settings of the folder or hub name that the tokenizer came from go along.

    Args:
        folder: Folder to write.
        model: Decoder to convert and write.
        tokenizer: Tokenizer of transformers, with its chat template, if it has one.
    """
    hf_model = to_hf(model)
    settings = hf_model.generation_config = generation_settings(tokenizer)
    for name in ("bos_token_id", "pad_token_id"):
        setattr(settings, name, getattr(tokenizer, name))
        setattr(hf_model.config, name, getattr(tokenizer, name))
    stops = sorted(({tokenizer.eos_token_id} | stop_ids(tokenizer)) - {None})
    settings.eos_token_id = hf_model.config.eos_token_id = (
        stops if len(stops) > 1 else next(iter(stops), None)
    )
    hf_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def generation_settings(tokenizer: Any) -> Any:
    """Read the generation settings beside a tokenizer of transformers; defaults where there are none."""
    settings: Any = import_module("transformers").GenerationConfig  # slow to import, and in an extra
    try:
        return settings.from_pretrained(tokenizer.name_or_path)
    except OSError:
        return settings()


def stop_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of the tokens that end a text by the generation settings beside a tokenizer."""
    stop = generation_settings(tokenizer).eos_token_id
    return frozenset([stop] if isinstance(stop, int) else stop or ())
