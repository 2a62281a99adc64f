"""Request handlers of an application: a JSON API with token authentication, and streamed answers."""

import asyncio
import hmac
import json
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from http import HTTPStatus
from typing import Any

from tornado.iostream import StreamClosedError

from llmguide.projects.webapp.app import PreparedRequest
from llmguide.projects.webapp.backend import Backend
from llmguide.projects.webapp.forms import Form, RefusedError
from llmguide.projects.webapp.generators import ModelRequest
from llmguide.site_server.server import Guarded, bearer

MAX_QUEUED = 4  # answers in the queue
NO_TOKEN = (
    "the token is missing or wrong: open the link that llmguide app prints, or send the token, which is in "
    "app.token in the folder of the run, as Authorization: Bearer TOKEN"
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def storable(text: str) -> str:
    r"""Replace characters that a database cannot store: NULs and unpaired surrogates.

    >>> storable("a\0b\ud800")
    'a\ufffdb?'
    """
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


class Api(Guarded):
    """Base class of JSON handlers, with the ``backend`` of the application.

    Attributes:
        wants_token: Whether a request must carry the token.
    """

    wants_token = True

    def initialize(self, backend: Backend) -> None:
        """Store the backend of the application."""
        self.backend = backend

    def prepare(self) -> None:
        """Reject a request without the token."""
        super().prepare()
        token = self.backend.token
        if token and self.wants_token and not hmac.compare_digest(bearer(self.request), token.encode()):
            raise RefusedError(HTTPStatus.UNAUTHORIZED, NO_TOKEN)

    def set_default_headers(self) -> None:
        """Set the content security policy, and forbid caching."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-store")

    def form(self) -> Form:
        """Return the fields of a JSON request; requiring JSON keeps out forms of other origins."""
        if self.request.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, as application/json")
        return Form(self.request.body)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write the reason of an error as JSON."""
        self.finish({"error": self.reason(kwargs)})

    def reason(self, error: dict[str, Any]) -> str:
        """Return the reason of an error, and set the headers that go with its status.

        Args:
            error: Keyword arguments of `write_error`.
        """
        refusal = error.get("exc_info", (None, None))[1]
        if not isinstance(refusal, RefusedError):
            return f"{self._reason}."
        if refusal.status_code == HTTPStatus.UNAUTHORIZED:
            self.set_header("WWW-Authenticate", "Bearer")
        if refusal.wait:
            self.set_header("Retry-After", str(refusal.wait))
        return refusal.message


class Streaming(Api):
    """Base class of handlers that stream a model's answer."""

    def initialize(self, backend: Backend) -> None:
        """Store the backend; the client is connected."""
        super().initialize(backend)
        self.disconnected = threading.Event()

    def on_connection_close(self) -> None:
        """Note that the client has disconnected, which stops the model."""
        self.disconnected.set()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Admit a request for an answer, or reject it because of the rate limit or a full queue."""
        backend = self.backend
        if backend.n_pending >= backend.generator.max_parallel + MAX_QUEUED:
            message = f"{backend.n_pending} answers are being generated or queued; try again later"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, message, wait=5)
        backend.answers.take()
        backend.n_pending += 1
        try:
            yield
        finally:
            backend.n_pending -= 1

    async def answer(self, document: str, asked: PreparedRequest) -> None:
        """Store and stream an answer: ``begun`` with its id, ``text`` in pieces, ``ended`` with its state.

        If the client disconnects, the model stops, and the text so far is kept.
        """
        stored, store, state = self.backend.stored, self.backend.store, "stopped"
        name = await stored(store.begin, document, asked.request.payload(), asked.settings)
        try:
            await self.send("begun", {"id": name, "settings": asked.settings})
            async with aclosing(self._pieces(asked.request)) as pieces:
                async for text in pieces:
                    await stored(store.append, name, text)
                    await self.send("text", text)
            state = "stopped" if self._ends() else "done"
        except Exception as error:  # of the model, its endpoint or the database: the stream must end
            state = "failed"
            message = error.message if isinstance(error, RefusedError) else str(error)
            await self.send("failed", message or type(error).__name__)
        finally:
            with suppress(RefusedError):  # the next start marks the answer as stopped
                await stored(store.end, name, state)
        await self.send("ended", state)

    async def send(self, event: str, data: Any) -> None:
        """Send a server-sent event."""
        await self.push(f"event: {event}\ndata: {json.dumps(data)}\n\n")

    async def push(self, text: str) -> None:
        """Flush a part of the response."""
        self.write(text)
        with suppress(StreamClosedError):
            await self.flush()

    async def _pieces(self, request: ModelRequest) -> AsyncGenerator[str]:
        """Run the model in a thread, and yield its text as it arrives."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | None] = asyncio.Queue()

        def work() -> None:
            try:
                if not self._ends():
                    for piece in self.backend.generator.stream(request):
                        loop.call_soon_threadsafe(queue.put_nowait, storable(piece))
                        if self._ends():
                            break
            finally:
                loop.call_soon_threadsafe(queue.put_nowait, None)

        done = loop.run_in_executor(self.backend.pool, work)
        ended = False
        while not ended:
            found = [await queue.get()]
            while not queue.empty():
                found.append(queue.get_nowait())
            ended = found[-1] is None
            if text := "".join(piece for piece in found if piece):
                yield text
        await done

    def _ends(self) -> bool:
        return self.disconnected.is_set() or self.backend.closing.is_set()
