"""Write a folder that transformers reads: model, tokenizer, and the tokens that end a text."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.files import reset_mode
from llmguide.models import GPT, Llama, to_hf
from llmguide.models.huggingface.hub import required
from llmguide.post_training.chat import END, START
from llmguide.runs.folder import TOKENIZER
from llmguide.tokenization.huggingface import to_hf_tokenizer
from llmguide.tokenization.tokenizer import Tokenizer

CHATML = (  # Jinja source, for tokenizers of transformers without a chat template
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def save_transformers(folder: str | Path, model: GPT | Llama, tokenizer: Any) -> None:
    """Save a decoder with its tokenizer for transformers; files already in the folder are overwritten.

    The generation settings of the folder or hub name that the tokenizer came from go along.

    Args:
        folder: Folder to write.
        model: Decoder to convert and write.
        tokenizer: Tokenizer of transformers, with its chat template, if it has one.
    """
    hf_model = as_transformers(model, tokenizer)
    with _without_progress_bars():
        hf_model.save_pretrained(folder)
    for file in Path(folder).glob("*.safetensors"):
        reset_mode(file)
    tokenizer.save_pretrained(folder)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    progress = import_module("transformers").utils.logging
    were_enabled = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        yield
    finally:
        if were_enabled:
            progress.enable_progress_bar()


def as_transformers(model: GPT | Llama, tokenizer: Any) -> Any:
    """Convert a decoder, with the special tokens and generation settings that belong to its tokenizer."""
    hf_model = to_hf(model)
    settings = hf_model.generation_config = generation_settings(tokenizer)
    for name in ("bos_token_id", "pad_token_id"):
        setattr(settings, name, getattr(tokenizer, name))
        setattr(hf_model.config, name, getattr(tokenizer, name))
    stops = sorted(({tokenizer.eos_token_id} | stop_ids(tokenizer)) - {None})
    settings.eos_token_id = hf_model.config.eos_token_id = (
        stops if len(stops) > 1 else next(iter(stops), None)
    )
    return hf_model


def as_transformers_tokenizer(tokenizer: Any) -> Any:
    """Convert a `Tokenizer` to one of transformers, with its chat template; others are returned unchanged."""
    if not isinstance(tokenizer, Tokenizer):
        return tokenizer
    is_chat = {START, END} <= tokenizer.special_tokens.keys()
    bos = END_OF_TEXT if END_OF_TEXT in tokenizer.special_tokens else None
    converted = to_hf_tokenizer(tokenizer, bos=bos, eos=END if is_chat else END_OF_TEXT)
    if is_chat:
        converted.chat_template = CHATML
    return converted


def save_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Save a `Tokenizer`, or a tokenizer of transformers with its generation settings."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(tokenizer, Tokenizer):
        tokenizer.save(folder / TOKENIZER)
    else:
        generation_settings(tokenizer).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder: a `Tokenizer`, one of transformers, or None if it has none."""
    if (folder / "tokenizer_config.json").exists():
        return required("transformers", folder).AutoTokenizer.from_pretrained(folder)
    path = folder / TOKENIZER
    return Tokenizer.load(path) if path.exists() else None


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
