"""Adapters, through which `llmguide check` calls a model that a learner trained with their own code.

A model has functions that take strings: ``generate(prompt)``, ``logprob(prompt, completion)`` in nats, and
``reward(prompt, completion)``. They come from a Python file that defines them, from an OpenAI-compatible
server, which only generates, or from a folder that llmguide or transformers saved. A Python file can also
define what the check of a language model from scratch asks for: ``encode(text)``, ``decode(ids)`` and
``predicted_bits_per_byte()``.

Leaves out: batches. One function call per prompt is the simplest contract.
"""

import json
import os
import reprlib
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import isnan, log
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from llmguide.coding.client import Completion, Endpoint, EndpointError, Request
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.evaluation.likelihood import text_logprobs
from llmguide.post_training.tokenizer_interface import as_adapter
from llmguide.projects.character_model.characters import Characters
from llmguide.projects.generation import complete
from llmguide.projects.pretrained import open_pretrained
from llmguide.projects.reward_model.model import encode, open_reward_model
from llmguide.runs.chat_model import open_chat
from llmguide.runs.folder import load_model
from llmguide.runs.options import ModelSource
from llmguide.runs.reward_heads import HEAD

Encode = Callable[[str], list[int]]
FUNCTIONS = ("generate", "logprob", "reward", "encode", "decode", "predicted_bits_per_byte")


@dataclass(frozen=True)
class Decoding:
    """Decoding settings for a model on a server or in a saved folder; a Python file chooses its own.

    Attributes:
        max_new_tokens: Maximum number of tokens of a completion.
        temperature: Sampling temperature; 0 is greedy.
        chat: Whether a prompt is sent as the user's message in the chat template.
    """

    max_new_tokens: int
    temperature: float = 0.0
    chat: bool = False


@dataclass(frozen=True)
class Model:
    """A model behind the functions of its adapter; calling a function that the adapter lacks is an error.

    Attributes:
        name: Source of the model, for error messages.
        functions: Functions of the adapter by name.
    """

    name: str
    functions: dict[str, Callable[..., Any]]

    def generate(self, prompt: str) -> str:
        """Generate a completion of a prompt, and return it without the prompt."""
        completion = self._call("generate", prompt)
        if not isinstance(completion, str):
            raise ValueError(f"{self.name}: generate returned {completion!r}; it must return a str")  # noqa: TRY004  # the user's function is wrong
        return completion

    def logprob(self, prompt: str, completion: str) -> float:
        """Return the log-probability of a completion given a prompt, in nats."""
        logprob = self._number("logprob", prompt, completion)
        if logprob > 1e-3:
            raise ValueError(
                f"{self.name}: logprob returned {logprob:g}; the logarithm of a probability is never above 0"
            )
        return logprob

    def reward(self, prompt: str, completion: str) -> float:
        """Return the reward of a completion; higher is better."""
        return self._number("reward", prompt, completion)

    def round_trip(self, text: str) -> Any:
        """Encode a text and decode the ids."""
        ids = self._call("encode", text)
        if not isinstance(ids, list) or not all(isinstance(each, int) for each in ids):
            raise ValueError(
                f"{self.name}: encode returned {reprlib.repr(ids)}; it must return a list of int"
            )
        return self._call("decode", ids)

    def predicted_bits_per_byte(self) -> float:
        """Return the bits per held-out byte that the learner predicted before training."""
        return self._number("predicted_bits_per_byte")

    def _number(self, function: str, *arguments: str) -> float:
        result = self._call(function, *arguments)
        try:
            number = float(result)
        except (TypeError, ValueError):
            number = float("nan")
        if isnan(number):
            raise ValueError(f"{self.name}: {function} returned {result!r}; it must return a number")
        return number

    def _call(self, function: str, *arguments: Any) -> Any:
        if function not in self.functions:
            raise ValueError(
                f"{self.name} has no {function}(), which this check calls; define it in a Python file"
            )
        try:
            return self.functions[function](*arguments)
        except NotImplementedError:
            raise ValueError(f"{self.name}: {function} is not written yet") from None
        except EndpointError:
            raise
        except Exception as error:
            raise ValueError(f"{self.name}: {function} raises {_shown(error, self.name)}") from error


def open_model(source: str, decoding: Decoding) -> Model:
    """Open a model from a Python file, a server or a saved folder.

    Args:
        source: Path of a Python file; URL of an OpenAI-compatible server up to ``/v1``, followed by ``#`` and
            the name of the model if the server needs one; or a folder that llmguide or transformers saved.
        decoding: Decoding settings for a server or a folder.

    Raises:
        ValueError: The source is none of these, or cannot be loaded.
    """
    path = Path(source)
    if source.startswith(("http://", "https://")):
        return _served(source, decoding)
    if path.suffix == ".py" and path.is_file():
        try:
            with _modules_beside(path.resolve().parent):
                namespace = runpy.run_path(source)
        except (Exception, SystemExit) as error:
            raise ValueError(f"{source} raises {_shown(error, source)}") from error
        return Model(source, {name: namespace[name] for name in FUNCTIONS if callable(namespace.get(name))})
    if path.is_dir():
        return _saved(path, decoding)
    wrong = "is not a Python file, a folder or a URL" if path.exists() else "does not exist"
    raise ValueError(f"{source} {wrong}")


@contextmanager
def _modules_beside(folder: Path) -> Iterator[None]:
    """Let code import the modules of a folder, and forget them: another folder may use their names."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        new = {name: module for name, module in sys.modules.items() if name not in before}
        own = {name for name, module in new.items() if _place(module) == folder}
        for name in new:
            if name.partition(".")[0] in own:
                del sys.modules[name]


def _place(module: ModuleType) -> Path:
    """Return the folder from which a module or a package was imported."""
    file = getattr(module, "__file__", None) or ""
    return Path(next(iter(getattr(module, "__path__", [])), file)).parent


def _shown(error: BaseException, source: str) -> str:
    """Describe an error, with the last line of the user's files that it passed through."""
    folder, library = Path(source).resolve().parent, Path(__file__).parents[1]
    places = [
        f" ({frame.filename}, line {frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if (path := Path(frame.filename).resolve()).is_relative_to(folder) and path.is_file()
        if not path.is_relative_to(library) and "site-packages" not in path.parts
    ]
    return f"{type(error).__name__}: {error}{places[-1] if places else ''}"


def bits(model: Model, text: str, width: int) -> float:
    """Return the negative log-likelihood of a text in bits.

    The text is cut into chunks of `width` characters. Each chunk is a completion whose prompt is the chunk
    before it.

    Raises:
        ValueError: The text has a probability of 1.
    """
    starts = range(0, len(text), width)
    nats = [model.logprob(text[max(0, i - width) : i], text[i : i + width]) for i in starts]
    if not any(nats):
        raise ValueError(
            f"{model.name}: logprob returned 0, a probability of 1, for all of the held-out text"
        )
    return -sum(nats) / log(2)


def _served(source: str, decoding: Decoding) -> Model:
    url, _, name = source.partition("#")
    endpoint, seeds = Endpoint(url.rstrip("/"), os.environ.get("OPENAI_API_KEY", "")), count()

    def generate(prompt: str) -> str:
        options: dict[str, Any] = {
            "model": name,
            "temperature": decoding.temperature,
            "max_tokens": decoding.max_new_tokens,
            "seed": next(seeds),
        }
        if decoding.chat:
            return endpoint.ask(Request(({"role": "user", "content": prompt},), **options)).text
        return "".join(endpoint.stream(Completion(prompt, **options)))

    return Model(url, {"generate": generate})


def _saved(folder: Path, decoding: Decoding) -> Model:
    name, characters = str(folder), folder / "characters.json"
    if (folder / HEAD).exists():
        return _saved_reward_model(folder)
    if decoding.chat:
        chat = open_chat(ModelSource(model=name), [], seed=0)
        return _decoder(
            name,
            chat.model.eval(),
            decoding,
            encode_prompt=lambda prompt: chat.prompt([{"role": "user", "content": prompt}]),
            encode_completion=lambda completion: as_adapter(chat.tokenizer).encode(completion, False)[0],
            decode=chat.decode,
            end_id=chat.end_id,
        )
    if characters.exists():
        known = Characters(json.loads(characters.read_text(encoding="utf-8"))["characters"])
        model, encode_text, decode, begin = load_model(folder), known.encode, known.decode, known.beginning
    else:
        model, tokenizer = open_pretrained(folder)
        encode_text, begin = tokenizer.encode, tokenizer.special_tokens[END_OF_TEXT]
        decode = getattr(tokenizer, "tokenizer", tokenizer).decode
    return _decoder(
        name,
        model,
        decoding,
        encode_prompt=lambda prompt: [begin, *encode_text(prompt)],
        encode_completion=encode_text,
        decode=decode,
        end_id=begin,
    )


def _saved_reward_model(folder: Path) -> Model:
    model, tokenizer = open_reward_model(folder)

    @torch.inference_mode()
    def reward(prompt: str, completion: str) -> float:
        ids = encode(tokenizer, prompt + completion)[-model.backbone.config.context_length :]
        return float(model(torch.tensor([ids])))

    return Model(str(folder), {"reward": reward})


def _decoder(
    name: str,
    model: Any,
    decoding: Decoding,
    *,
    encode_prompt: Encode,
    encode_completion: Encode,
    decode: Callable[[list[int]], str],
    end_id: int,
) -> Model:
    seeds, length, n = count(), model.config.context_length, decoding.max_new_tokens

    def generate(prompt: str) -> str:
        ids = encode_prompt(prompt)[-max(1, length - n) :]
        options: dict[str, Any] = {"decode": decode, "end_id": end_id, "temperature": decoding.temperature}
        return complete(model, [ids], min(n, length - len(ids)), seed=next(seeds), **options)[0]

    def logprob(prompt: str, completion: str) -> float:
        new_ids = encode_completion(completion)
        ids = torch.tensor([*encode_prompt(prompt), *new_ids])
        logprobs = text_logprobs(model, ids, stride=max(1, length // 2))
        return logprobs[-len(new_ids) :].double().sum().item() if new_ids else 0.0

    return Model(name, {"generate": generate, "logprob": logprob})
