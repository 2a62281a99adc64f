"""Request handlers of an application: JSON in and out for clients with the token, and streamed answers."""

import asyncio
import hmac
import json
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from tornado.iostream import StreamClosedError

from llmguide.projects.webapp.forms import Form, RefusedError
from llmguide.projects.webapp.generators import Asking
from llmguide.server.server import Guarded, bearer

if TYPE_CHECKING:
    from llmguide.projects.webapp.web import AppServer

MOST_WAITING = 4  # answers that wait for their turn
NO_TOKEN = (
    "the token is missing or wrong: open the link that llmguide app prints, or send the token, which is in "
    "app.token in the folder of the run, as Authorization: Bearer TOKEN"
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Asked(NamedTuple):
    """What a user's wish comes to.

    Attributes:
        request: Request to the model.
        settings: What was chosen and found, kept beside the answer and sent before it.
    """

    request: Asking
    settings: dict[str, Any]


def storable(text: str) -> str:
    r"""Replace what a database cannot hold: NULs, and halves of surrogate pairs.

    >>> storable("a\0b\ud800")
    'a\ufffdb?'
    """
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


class Api(Guarded):
    """A handler that takes and gives JSON, and has the ``server`` of its application.

    Attributes:
        wants_token: Whether a request must have the token.
    """

    wants_token = True

    def initialize(self, server: "AppServer") -> None:
        """Take the server of the application."""
        self.server = server

    def prepare(self) -> None:
        """Refuse a request without the token."""
        super().prepare()
        token = self.server.token
        if token and self.wants_token and not hmac.compare_digest(bearer(self.request), token.encode()):
            raise RefusedError(HTTPStatus.UNAUTHORIZED, NO_TOKEN)

    def set_default_headers(self) -> None:
        """Let the page run nothing but its own script."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-store")

    def form(self) -> Form:
        """Return the fields of the request, of which no form of a foreign page can send any."""
        if self.request.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, as application/json")
        return Form(self.request.body)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say why, as JSON."""
        self.finish({"error": self.reason(kwargs)})

    def reason(self, error: dict[str, Any]) -> str:
        """Return why a request is refused, and set the headers that tell what to do about it.

        Args:
            error: What `write_error` gets.
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
    """A handler that writes what a model says while it says it."""

    def initialize(self, server: "AppServer") -> None:
        """Begin with a reader who is there."""
        super().initialize(server)
        self.gone = threading.Event()

    def on_connection_close(self) -> None:
        """Note that the reader has gone, which stops the model."""
        self.gone.set()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Admit a request for an answer, or refuse it because of the rate limit or a full queue."""
        server = self.server
        if server.n_asked >= server.generator.at_once + MOST_WAITING:
            message = f"{server.n_asked} answers are being written or wait; try again in a while"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, message, wait=5)
        server.answers.take()
        server.n_asked += 1
        try:
            yield
        finally:
            server.n_asked -= 1

    async def answer(self, document: str, asked: Asked) -> None:
        """Keep and send an answer: ``begun`` with its name, ``text`` in pieces, and ``ended`` with its state.

        A reader who has gone stops the model, and what it has written stays.
        """
        stored, store, state = self.server.stored, self.server.store, "stopped"
        name = await stored(store.begin, document, asked.request.payload(), asked.settings)
        try:
            await self.send("begun", {"id": name, "settings": asked.settings})
            async with aclosing(self._pieces(asked.request)) as pieces:
                async for text in pieces:
                    await stored(store.append, name, text)
                    await self.send("text", text)
            state = "stopped" if self._ends() else "done"
        except Exception as error:  # of the model, its endpoint or the database: the stream has an end
            state = "failed"
            message = error.message if isinstance(error, RefusedError) else str(error)
            await self.send("failed", message or type(error).__name__)
        finally:
            with suppress(RefusedError):  # the database is away: the next start says that it has stopped
                await stored(store.end, name, state)
        await self.send("ended", state)

    async def send(self, event: str, data: Any) -> None:
        """Send a server-sent event."""
        await self.push(f"event: {event}\ndata: {json.dumps(data)}\n\n")

    async def push(self, text: str) -> None:
        """Send a part of the response now."""
        self.write(text)
        with suppress(StreamClosedError):
            await self.flush()

    async def _pieces(self, request: Asking) -> AsyncGenerator[str]:
        """Yield what a thread gets from the model, all that has come at a time."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | None] = asyncio.Queue()

        def work() -> None:
            try:
                if not self._ends():
                    for piece in self.server.generator.stream(request):
                        loop.call_soon_threadsafe(queue.put_nowait, storable(piece))
                        if self._ends():
                            break
            finally:
                loop.call_soon_threadsafe(queue.put_nowait, None)

        done = loop.run_in_executor(self.server.pool, work)
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
        return self.gone.is_set() or self.server.closing.is_set()
