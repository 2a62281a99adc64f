"""The models of an application: one on this machine, or one behind a URL.

Both take a `llmguide.coding.client.Request` (a chat) or a `llmguide.coding.client.Completion` (a text to
continue), and stream the answer in pieces.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from llmguide.coding.client import Completion, Endpoint, Request
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.generation.generate import stream
from llmguide.generation.sampling import Sampler
from llmguide.runs.chat_model import Chat, open_chat
from llmguide.runs.folder import load_run
from llmguide.runs.options import ModelSource
from llmguide.runs.text_generation import pieces, until_stop
from llmguide.tokenization.tokenizer import Tokenizer

ModelRequest = Request | Completion
Encode = Callable[[Tokenizer, ModelRequest, int], list[int]]
TOP_P = 0.95  # the tail of a small model's distribution is noise


@runtime_checkable
class Generator(Protocol):
    """Interface of a model that generates text for an application.

    Attributes:
        name: Name of the model, shown to users and sent to endpoints.
        local: Whether it is a model of a project, which needs the prompt format that it was trained on.
        max_parallel: Number of answers it can generate in parallel.
    """

    name: str
    local: bool
    max_parallel: int

    def stream(self, request: ModelRequest) -> Iterator[str]:
        """Yield the pieces of an answer."""


class LocalModel:
    """A model of a project, run in this process.

    Args:
        name: Name shown to users.
        model: A decoder of `llmguide.models`.
        tokenizer: Tokenizer of the model; an answer ends with its end-of-text token.
        encode: Function that encodes a request as at most the given number of token ids.
    """

    local, max_parallel = True, 1  # one answer uses the whole machine

    @classmethod
    def open(cls, folder: Path, encode: Encode) -> "LocalModel":
        """Open the DPO-trained model of a run, or the model in a folder of its own."""
        preferred = folder / "models" / "preferred"
        place = preferred if preferred.is_dir() else folder
        return cls(str(place), *load_run(place), encode)

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Tokenizer,
        encode: Encode,
    ):
        self.name, self._tokenizer, self._encode = name, tokenizer, encode
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device)

    def stream(self, request: ModelRequest) -> Iterator[str]:
        """Yield an answer in pieces; the same request has the same answer."""
        context = self._model.config.context_length
        n_new = min(request.max_tokens, context // 2)  # at least half of the context is for the prompt
        ids = self._encode(self._tokenizer, request, context - n_new)
        end_id = self._tokenizer.special_tokens[END_OF_TEXT]
        tokens = stream(
            self._model,
            torch.tensor([ids], device=self._device),
            n_new,
            sampler=Sampler(request.temperature, top_p=TOP_P),
            eos_id=end_id,
            generator=torch.Generator(self._device).manual_seed(request.seed),
        )
        ids_of = (int(token) for token in tokens)
        written = pieces(ids_of, self._tokenizer.decode, before=ids, end_id=end_id)
        yield from until_stop(written, (isinstance(request, Completion) and request.stop) or ())


class LocalChat:
    """A chat model of a project, run in this process; it gets the messages of a `Request`.

    Args:
        name: Name shown to users.
        chat: Model with its tokenizer and chat template.
    """

    local, max_parallel = True, 1

    @classmethod
    def open(cls, folder: Path) -> "LocalChat":
        """Open the chat model in a folder."""
        return cls(str(folder), open_chat(ModelSource(str(folder)), [], seed=0))

    def __init__(self, name: str, chat: Chat):
        self.name, self._chat = name, chat

    def stream(self, request: ModelRequest) -> Iterator[str]:
        """Yield an answer in pieces; a conversation that is too long loses its start."""
        assert isinstance(request, Request)
        chat, context = self._chat, self._chat.model.config.context_length
        ids = chat.prompt([dict(message) for message in request.messages])[request.max_tokens - context :]
        tokens = stream(
            chat.model,
            torch.tensor([ids]),
            request.max_tokens,
            sampler=Sampler(request.temperature, top_p=TOP_P),
            eos_id=chat.end_id,
            generator=torch.Generator().manual_seed(request.seed),
        )
        yield from pieces((int(token) for token in tokens), chat.decode, before=ids, end_id=chat.end_id)


class RemoteModel:
    """A model behind an OpenAI-compatible URL, such as that of vLLM, llama.cpp or Ollama."""

    local, max_parallel = False, 8

    def __init__(self, name: str, endpoint: Endpoint):
        self.name, self._endpoint = name, endpoint

    def stream(self, request: ModelRequest) -> Iterator[str]:
        """Yield an answer in pieces; raises `llmguide.coding.client.EndpointError`."""
        return self._endpoint.stream(request)
