"""The chatbot: answers from the documents of a run, with the passages beside the answer.

Without a model it quotes. A model, of a folder or behind a URL, gets the passages and writes; each sentence
is then looked up in the passages that it cites, and the page marks what is not there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llmguide.coding.client import Request
from llmguide.generation.generate import stream
from llmguide.generation.sampling import Sampler
from llmguide.projects.retrieval_chatbot.answer import N_PASSAGES, REFUSAL, messages, quote
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.project import NAME, open_search
from llmguide.projects.retrieval_chatbot.search import Search
from llmguide.projects.retrieval_chatbot.support import claims
from llmguide.projects.webapp.api import Api, Asked
from llmguide.projects.webapp.forms import Form, RefusedError
from llmguide.projects.webapp.generators import Asking, Generator
from llmguide.projects.webapp.web import App
from llmguide.runs.chat_model import open_chat
from llmguide.runs.options import ModelSource
from llmguide.runs.writer import pieces

LONGEST_QUESTION = 500  # characters
LONGEST_ANSWER = 200  # tokens


@dataclass(frozen=True)
class Known:
    """An answer that needs no model: quotations, or a refusal.

    Attributes:
        question: Question of the user.
        pieces: Parts of the answer, as they are generated.
    """

    question: str
    pieces: tuple[str, ...]

    def payload(self) -> dict[str, Any]:
        """Return what is kept beside the answer."""
        return {"question": self.question}


class Reader:
    """Finds passages, and writes an answer from them.

    Args:
        search: Over the documents.
        gate: Cosine similarity below which it abstains.
        model: Chat model that writes the answers; None: passages are quoted.
    """

    local = False

    def __init__(self, search: Search, gate: float, model: Generator | None) -> None:
        self.search, self.gate, self.model = search, gate, model
        self.name = model.name if model else "quotations"
        self.at_once = model.at_once if model else 4

    def stream(self, request: Asking | Known) -> Iterator[str]:
        """Yield the pieces of an answer."""
        if isinstance(request, Known):
            yield from request.pieces
        else:
            assert self.model is not None  # or it would have been known
            yield from self.model.stream(request)


class ChatModel:
    """A model in a folder, or on the hub, that leads conversations.

    Args:
        name: Name of the folder or model.
    """

    local, at_once = True, 1

    def __init__(self, name: str) -> None:
        self.name = name
        self._chat = open_chat(ModelSource(model=name), (), seed=0)
        self._chat.model.eval()

    def stream(self, request: Asking) -> Iterator[str]:
        """Yield the pieces of an answer.

        Raises:
            ValueError: The passages do not fit into the model's context.
        """
        assert isinstance(request, Request)
        ids = self._chat.prompt([dict(message) for message in request.messages])
        context = self._chat.model.config.context_length
        if len(ids) >= context:
            raise ValueError(f"question and passages are {len(ids)} tokens, and {self.name} reads {context}")
        tokens = stream(
            self._chat.model,
            torch.tensor([ids]),
            min(request.max_tokens, context - len(ids)),
            sampler=Sampler(request.temperature),
            eos_id=self._chat.end_id,
        )
        decode, end_id = self._chat.tokenizer.decode, self._chat.end_id
        yield from pieces((int(token) for token in tokens), decode, before=ids, end_id=end_id)


def open_model(folder: Path) -> Generator | None:
    """Open a model that leads conversations; a run of the project has none, and quotes."""
    if (folder / "gate.json").exists():
        return None
    if not folder.is_dir():
        raise ValueError(f"{folder} holds neither a run nor a model; llmguide project {NAME} makes a run")
    return ChatModel(str(folder))


def around(run: Path, model: Generator | None) -> Reader:
    """Open the index of a run for a model."""
    search, gate = open_search(run)
    return Reader(search, gate, model)


def ask(form: Form, reader: Reader) -> Asked:
    """Read a question and find passages."""
    question = form.text("question", least=1, most=LONGEST_QUESTION).strip()
    if not question:
        raise RefusedError(400, "the question is blank")
    nearest = reader.search.nearest(question)
    found = [hit.chunk for hit in reader.search(question, N_PASSAGES)] if nearest >= reader.gate else []
    request: Any
    if not found:
        request = Known(question, (REFUSAL,))
    elif reader.model is None:
        request = Known(question, tuple(quote(question, found, reader.search.embedder)))
    else:
        request = Request(tuple(messages(question, found)), reader.name, 0.0, LONGEST_ANSWER)
    return Asked(request, {"question": question, "passages": [chunk._asdict() for chunk in found]})


class _Support(Api):
    """Looks up each sentence of an answer in the passages that it cites."""

    async def post(self) -> None:
        self.server.changes.take()
        form = self.form()
        document, answer = form.text("document", most=32), form.text("answer", most=32)
        form.end()
        kept = await self.server.stored(self.server.store.document, document)
        wanted = next((one for one in (kept or {"answers": []})["answers"] if one["id"] == answer), None)
        if wanted is None:
            raise RefusedError(404, "there is no such answer")
        passages = [Chunk(**passage) for passage in wanted["settings"]["passages"]]
        found = [
            {"text": claim.text, "cited": claim.cited, "covered": claim.covered, "supported": claim.supported}
            for claim in claims(wanted["text"], passages)
        ]
        self.finish({"claims": found})


APP = App(NAME, open_model, ask, (("/api/support", _Support),), around)
