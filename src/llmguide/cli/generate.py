"""``llmguide generate``: continue a prompt, word by word as it is written."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import tyro

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.generation.generate import Sampler, stream
from llmguide.models import load
from llmguide.runs.folder import is_run, load_run

DESCRIPTION = """\
Continue a prompt with a model: a folder that llmguide pretrain made, or, with llmguide[hf], a folder that
transformers saved or a name on the Hugging Face hub.

Examples:
  llmguide generate runs/pretrain "The state of the Union"
  llmguide generate runs/pretrain --temperature 0 --max-new-tokens 40
  llmguide generate openai-community/gpt2 "Once upon a time" --top-p 0.9 --seed 7"""


def generate(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    prompt: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PROMPT")] = "",
    *,
    max_new_tokens: int | None = None,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
) -> None:
    """Continue a prompt.

    Args:
        model: Folder or name.
        prompt: Text to go on from; without it, a document from its beginning.
        max_new_tokens: At most; as many as the model was trained to read, or 200, unless given.
        temperature: 0 takes the likeliest token; above 1 is wilder than the model.
        top_k: Draw from the k likeliest tokens.
        top_p: Draw from the fewest tokens that together have this probability.
        min_p: Draw from the tokens at least this many times as likely as the likeliest.
        repetition_penalty: Above 1 makes tokens that occurred less likely.
        seed: The same seed writes the same text.
    """
    writer = open_writer(model)
    ids = writer.encode(prompt)
    if not ids:
        raise ValueError(f"the tokenizer of {model} has no token for a beginning: give a prompt")
    if max_new_tokens is None:
        max_new_tokens = max(1, min(200, writer.model.config.context_length - len(ids) + 1))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = None if seed is None else torch.Generator(device).manual_seed(seed)
    tokens = stream(
        writer.model.to(device),
        torch.tensor([ids], device=device),
        max_new_tokens,
        sampler=Sampler(temperature, top_k, top_p, min_p, repetition_penalty),
        eos_id=writer.end_id,
        generator=generator,
    )
    sys.stdout.write(prompt)
    for text in pieces((int(token) for token in tokens), writer.decode, before=ids, end_id=writer.end_id):
        sys.stdout.write(text)
        sys.stdout.flush()
    sys.stdout.write("\n")


COMMAND = generate


class Writer(NamedTuple):
    """A model and the two directions of its tokenizer."""

    model: Any
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    end_id: int | None


def open_writer(name: str) -> Writer:
    """Open a model with its tokenizer.

    Raises:
        ValueError: There is no such model, or it writes no text.
    """
    folder = Path(name)
    if is_run(folder):
        model, tokenizer = load_run(folder)
        end_id = tokenizer.special_tokens[END_OF_TEXT]  # it stands before documents too
        return Writer(model, lambda text: [end_id, *tokenizer.encode(text)], tokenizer.decode, end_id)
    if folder.is_dir() and not (folder / "config.json").exists():
        raise ValueError(f"{folder} holds no finished model (no config.json); llmguide pretrain makes one")
    try:
        auto = import_module("transformers").AutoTokenizer
    except ModuleNotFoundError as error:
        message = f'{name} is no folder of llmguide pretrain; others need pip install "llmguide[hf]"'
        raise ModuleNotFoundError(message) from error
    theirs: Any = load(name)
    if theirs.config.architecture != "decoder":
        raise ValueError(f"{name} is no decoder but an {theirs.config.architecture}, so it writes no text")
    hf = auto.from_pretrained(name)
    beginning = [] if hf.bos_token_id is None else [hf.bos_token_id]
    return Writer(theirs, lambda text: hf.encode(text) or beginning, hf.decode, hf.eos_token_id)


def pieces(
    ids: Iterator[int], decode: Callable[[list[int]], str], *, before: list[int], end_id: int | None
) -> Iterator[str]:
    """Turn ids into text as they come, holding back what is no whole character yet.

    Args:
        ids: New ids.
        decode: Of a list of ids.
        before: Those of the prompt: whether a word begins with a space can depend on what stands before it.
        end_id: Where to stop.

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
