"""The code assistant application: fills in code at the cursor, over OpenAI's legacy completions API.

``POST /v1/completions`` takes ``prompt`` and ``suffix``, and returns the completion, whole or, with
``stream``, in pieces. Prompt and completion are stored in a document called ``editor``, as in every
application, and the ``id`` of a completion takes a verdict. Clients send the application's token as their API
key. ``GET /v1/models`` returns the name of the model, and ``GET /api/completions`` lists the latest
completions.

A model behind a URL gets the same format. Servers that do not support ``suffix``, such as vLLM's, get both
sides in the prompt, with the sentinels of the model's family.

Leaves out: several completions for a request and log-probabilities, which are refused; and the
``finish_reason``, which is always ``stop``.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import torch

from llmguide.coding.client import Completion, EndpointError
from llmguide.generation.generate import stream
from llmguide.generation.sampling import Sampler
from llmguide.projects.code_assistant import adapted
from llmguide.projects.code_assistant.code import NAME
from llmguide.projects.code_assistant.infilling import composed
from llmguide.projects.code_assistant.pretrained import Healing, beginning_with, open_byte_level
from llmguide.projects.code_assistant.project import prompt_ids
from llmguide.projects.pretrained import separator
from llmguide.projects.webapp.api import Api, Streaming
from llmguide.projects.webapp.app import App, PreparedRequest
from llmguide.projects.webapp.backend import Backend
from llmguide.projects.webapp.forms import LARGEST_DOCUMENT, Form, RefusedError
from llmguide.projects.webapp.generators import TOP_P, Generator, LocalModel, ModelRequest
from llmguide.runs.text_generation import pieces, until_stop
from llmguide.tokenization.tokenizer import Tokenizer

EDITOR = "editor"
MOST_TOKENS = 4096  # tokens of a completion; the model has its own limit, too
LONGEST_STOP = 100  # characters
SHOWN = 50  # completions that the page lists
NEUTRAL = {"n": 1, "best_of": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}  # have no effect
NO_SUFFIX = ("suffix", "insert")  # the first is in the error of vLLM and OpenAI, the second in that of Ollama
_FINDING = threading.Lock()


def encode(tokenizer: Tokenizer, request: ModelRequest, room: int) -> list[int]:
    """Encode the code around the cursor."""
    assert isinstance(request, Completion)
    return prompt_ids(tokenizer, request.prompt, request.suffix or "", room)


class HealedModel:
    """A fine-tuned pretrained model, run in this process; the last token before the cursor is healed.

    Args:
        folder: Folder of the model.
    """

    local, max_parallel = True, 1  # one completion uses the whole machine

    def __init__(self, folder: Path):
        self.name = str(folder)
        self._model, self._tokenizer = open_byte_level(folder)

    def stream(self, request: ModelRequest) -> Iterator[str]:
        """Yield a completion in pieces; the same request has the same completion."""
        assert isinstance(request, Completion)
        *ids, last = adapted.prompt_ids(self._tokenizer, request.prompt, request.suffix or "")
        ids = ids or [last]  # of an empty prompt
        allowed, decode = [beginning_with(self._tokenizer, last)], self._tokenizer.decode
        tokens = stream(
            self._model,
            torch.tensor([ids]),
            min(request.max_tokens, self._model.config.context_length - len(ids)),
            sampler=Healing(allowed, len(ids), Sampler(request.temperature, top_p=TOP_P)),
            generator=torch.Generator().manual_seed(request.seed),
        )
        ids_of, end_id = (int(token) for token in tokens), separator(self._tokenizer)
        texts = pieces(ids_of, decode, before=ids, end_id=end_id)
        yield from until_stop(without(decode([last]), texts), request.stop or ())


def without(start: str, texts: Iterator[str]) -> Iterator[str]:
    """Leave out the text that the pieces of a completion repeat at their start.

    >>> list(without("ret", iter(["re", "turn", " x"])))
    ['urn', ' x']
    """
    held = ""
    for text in texts:
        held += text
        if len(held) > len(start):
            yield held[len(start) :]
            break
    yield from texts


def open_local(folder: Path) -> Generator:
    """Open the model of a run; the one that is fine-tuned from a base is not trained on comparisons."""
    preferred, tuned = (folder / "models" / name for name in ("preferred", "filling"))
    is_tuned = tuned.is_dir() and not preferred.is_dir()
    return HealedModel(tuned) if is_tuned else LocalModel.open(folder, encode)


class Remote:
    """A model behind a URL; requests use ``suffix`` until its server says that it does not support it."""

    local = False

    def __init__(self, model: Generator):
        self.name, self.max_parallel, self._model, self._suffix = model.name, model.max_parallel, model, True

    def stream(self, request: ModelRequest) -> Iterator[str]:
        """Yield a completion in pieces; raises `llmguide.coding.client.EndpointError`."""
        assert isinstance(request, Completion)
        if self._suffix:
            try:
                yield from self._model.stream(request)
            except EndpointError as error:
                if not any(word in str(error) for word in NO_SUFFIX):
                    raise
                self._suffix = False
            else:
                return
        yield from self._model.stream(composed(request))


def wrap_model(_: Path, model: Generator) -> Generator:
    """Return a local model unchanged, and one behind a URL as `Remote`."""
    return model if model.local else Remote(model)


def ask(form: Form, generator: Generator) -> PreparedRequest:
    """Read a completion request of an editor; the model of a run completes a line."""
    form.text("model", most=200, default="")  # there is one
    prompt = form.text("prompt", most=LARGEST_DOCUMENT)
    suffix = form.text("suffix", most=LARGEST_DOCUMENT, default="")
    tokens = form.integer("max_tokens", 1, MOST_TOKENS, 16)
    temperature = form.number("temperature", 0, 2, 1)
    seed = form.integer("seed", 0, 2**31 - 1, secrets.randbelow(2**31))
    stop = form.texts("stop", most=LONGEST_STOP) + (("\n",) if generator.local else ())
    for name, value in NEUTRAL.items():
        form.number(name, value, value, value)
    request = Completion(prompt, generator.name, suffix, temperature, tokens, seed, stop or None)
    return PreparedRequest(request, {})


class _Completions(Streaming):
    """A completion in OpenAI's format."""

    async def post(self) -> None:
        with self.admitted():
            form = self.form()
            self.streams, self.text = form.boolean("stream"), ""
            asked = self.backend.app.ask(form, self.backend.generator)
            form.reject_unread()
            document = await self.backend.stored(_editor, self.backend)
            if self.streams:
                self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            await self.answer(document, asked)

    async def send(self, event: str, data: Any) -> None:
        if event == "begun":
            self.name = data["id"]
        elif event == "text":
            self.text += data
            if self.streams:
                await self.push(f"data: {json.dumps(self.completion(data, None))}\n\n")
        elif event == "failed":
            if not self.streams:
                raise RefusedError(HTTPStatus.BAD_GATEWAY, data)
            await self.push(f"data: {json.dumps(error(data))}\n\n")
        elif self.streams:
            await self.push(f"data: {json.dumps(self.completion('', 'stop'))}\n\ndata: [DONE]\n\n")
        else:
            self.finish(self.completion(self.text, "stop"))

    def completion(self, text: str, reason: str | None) -> dict[str, Any]:
        """Format a completion, or a piece of one, as OpenAI does."""
        return {
            "id": self.name,
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.backend.generator.name,
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}],
        }

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish(error(self.reason(kwargs)))


class _Newest(Api):
    async def get(self) -> None:
        document = await self.backend.stored(_editor, self.backend)
        found = await self.backend.stored(self.backend.store.document, document, SHOWN)
        self.finish({"answers": found["answers"] if found else []})


class _Models(Api):
    def get(self) -> None:
        name = self.backend.generator.name
        self.finish({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "llmguide"}]})


def error(message: str) -> dict[str, Any]:
    """Format an error as OpenAI does.

    >>> error("too fast")
    {'error': {'message': 'too fast', 'type': 'invalid_request_error'}}
    """
    return {"error": {"message": message, "type": "invalid_request_error"}}


def _editor(backend: Backend) -> str:
    """Return the id of the document of the editors' completions; it is created if missing."""
    with _FINDING:
        for document in backend.store.documents():
            if document["title"] == EDITOR:
                return str(document["id"])
        return backend.store.add_document(EDITOR, "")


APP = App(
    NAME,
    open_local,
    ask,
    (("/v1/completions", _Completions), ("/v1/models", _Models), ("/api/completions", _Newest)),
    wrap_model,
    answers_per_minute=300,  # editors send a request whenever the user pauses
)
