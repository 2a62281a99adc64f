"""The chatbot application: answers from the documents of a run, with the passages beside the answer.

Without a model it quotes. If votes have trained a reranker, it chooses the passages and the sentences. A
question that is asked again in a conversation is answered from the next passages. A model, in a folder or
behind a URL, writes an answer from the passages; then each sentence is compared with the passages that it
cites, and the page marks the unsupported ones.
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
from llmguide.projects.retrieval_chatbot.feedback import quote_from
from llmguide.projects.retrieval_chatbot.project import NAME, open_reranker, open_search
from llmguide.projects.retrieval_chatbot.rerank import N_ATTEMPTS, Reranker, best_passages, find_candidates
from llmguide.projects.retrieval_chatbot.search import Search
from llmguide.projects.retrieval_chatbot.support import claims
from llmguide.projects.webapp.api import Api
from llmguide.projects.webapp.app import App, PreparedRequest
from llmguide.projects.webapp.forms import Form, RefusedError
from llmguide.projects.webapp.generators import Generator, ModelRequest
from llmguide.runs.chat_model import Chat, open_chat
from llmguide.runs.options import ModelSource
from llmguide.runs.text_generation import pieces

LONGEST_QUESTION = 500  # characters
LONGEST_ANSWER = 200  # tokens


@dataclass(frozen=True)
class DirectAnswer:
    """An answer that needs no model: quotations, or a refusal.

    Attributes:
        question: Question of the user.
        pieces: Parts of the answer, as they are generated.
    """

    question: str
    pieces: tuple[str, ...]

    def payload(self) -> dict[str, Any]:
        """Return the fields that are stored with the answer."""
        return {"question": self.question}


class Reader:
    """Retrieves passages, and writes an answer from them.

    Args:
        search: Search engine over the documents.
        gate: Cosine similarity below which it abstains.
        reranker: Reranker that was trained on votes, if any.
        model: Chat model that writes the answers; None: passages are quoted.
    """

    local = False

    def __init__(
        self, search: Search, gate: float, reranker: Reranker | None, model: Generator | None
    ) -> None:
        self.search, self.gate, self.reranker, self.model = search, gate, reranker, model
        self.name = model.name if model else "quotations"
        self.max_parallel = model.max_parallel if model else 4

    def retrieve(self, question: str, attempt: int) -> tuple[list[Chunk], Iterator[str]]:
        """Return the passages for an answer, and the answer that quotes them.

        Args:
            question: Question of the user.
            attempt: Number of earlier answers, which have used the passages before.
        """
        first, last = N_PASSAGES * attempt, N_PASSAGES * (attempt + 1)
        if self.reranker is None:
            passages = [hit.chunk for hit in self.search(question, last)[first:]]
            return passages, quote(question, passages, self.search.embedder)
        pool = find_candidates(self.search, question)
        scores = self.reranker(pool)
        passages = best_passages(pool, scores)[first:last]
        return passages, iter([quote_from(pool, scores, passages)])

    def stream(self, request: ModelRequest | DirectAnswer) -> Iterator[str]:
        """Yield the pieces of an answer."""
        if isinstance(request, DirectAnswer):
            yield from request.pieces
        else:
            assert self.model is not None  # without a model every answer is `DirectAnswer`
            yield from self.model.stream(request)


class ChatModel:
    """A chat model on this machine.

    Args:
        name: Name shown to users.
        chat: Model with its tokenizer and template.
    """

    local, max_parallel = True, 1

    def __init__(self, name: str, chat: Chat) -> None:
        self.name, self._chat = name, chat
        self._chat.model.eval()

    def stream(self, request: ModelRequest) -> Iterator[str]:
        """Yield the pieces of an answer.

        Raises:
            ValueError: The passages do not fit into the model's context.
        """
        assert isinstance(request, Request)
        ids = self._chat.prompt([dict(message) for message in request.messages])
        context = self._chat.model.config.context_length
        if len(ids) >= context:
            raise ValueError(f"{len(ids)} tokens exceed the context of {self.name}, {context}")
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
    """Open a chat model; None for a run of the project, which has no model and quotes."""
    if (folder / "gate.json").exists():
        return None
    if not folder.is_dir():
        raise ValueError(f"{folder} holds neither a run nor a model; llmguide project {NAME} makes a run")
    return ChatModel(str(folder), open_chat(ModelSource(model=str(folder)), (), seed=0))


def wrap_model(run: Path, model: Generator | None) -> Reader:
    """Open the index of a run, and combine it with a model."""
    search, gate = open_search(run)
    return Reader(search, gate, open_reranker(run), model)


def ask(form: Form, reader: Reader) -> PreparedRequest:
    """Read a question from a form, and retrieve passages."""
    question = form.text("question", least=1, most=LONGEST_QUESTION).strip()
    if not question:
        raise RefusedError(400, "the question is blank")
    attempt = form.integer("attempt", 0, 1000, 0) % N_ATTEMPTS
    found: list[Chunk] = []
    answer = iter([REFUSAL])
    if reader.search.nearest(question) >= reader.gate:
        found, answer = reader.retrieve(question, attempt)
    request: Any
    if not found or reader.model is None:
        request = DirectAnswer(question, tuple(answer))
    else:
        request = Request(tuple(messages(question, found)), reader.name, 0.0, LONGEST_ANSWER)
    return PreparedRequest(request, {"question": question, "passages": [chunk._asdict() for chunk in found]})


class Support(Api):
    """Compares each sentence of an answer with the passages that it cites."""

    async def post(self) -> None:
        """Send the claims of an answer, each with whether a passage supports it."""
        self.backend.changes.take()
        form = self.form()
        document, answer = form.text("document", most=32), form.text("answer", most=32)
        form.reject_unread()
        kept = await self.backend.stored(self.backend.store.document, document)
        wanted = next((one for one in (kept or {"answers": []})["answers"] if one["id"] == answer), None)
        if wanted is None:
            raise RefusedError(404, "there is no such answer")
        passages = [Chunk(**passage) for passage in wanted["settings"]["passages"]]
        found = [
            {"text": claim.text, "cited": claim.cited, "covered": claim.covered, "supported": claim.supported}
            for claim in claims(wanted["text"], passages)
        ]
        self.finish({"claims": found})


APP = App(NAME, open_model, ask, (("/api/support", Support),), wrap_model)
