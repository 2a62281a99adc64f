"""The web server of the applications: one page, documents, answers that stream in, and verdicts on them.

An application is an `App`: what it asks the model for, and a static page. All else is the same for each:

| request | does |
| --- | --- |
| ``GET /`` | the page, its script and its style |
| ``GET /health`` | says that the server and its database work |
| ``GET POST /api/documents`` | lists the documents; begins one |
| ``GET PUT /api/documents/ID`` | returns a document with its answers; changes it, unless another tab has |
| ``POST /api/answers`` | streams an answer as server-sent events: begun, text ..., ended |
| ``POST /api/answers/ID/verdict`` | keeps a thumb up or down |

A piece of an answer is in the database before it is sent. Who may ask is decided as by ``llmguide serve``
(`llmguide.commands.server`): this machine alone, by the exact address, from no other page. Pages run no
script but their own and build what they show out of text, so that nothing that a user or a model writes is
ever markup.

Leaves out: accounts and TLS. To serve others, put a proxy with both before it.
"""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from tornado.iostream import StreamClosedError

from llmguide.commands.server import File, Guarded, Loopback
from llmguide.projects.applications.forms import Form, Rate, RefusedError
from llmguide.projects.applications.generators import Asking, Generator
from llmguide.projects.applications.store import Store

PAGES = Path(__file__).with_name("pages")
LARGEST_REQUEST = 2**20  # bytes
LARGEST_DOCUMENT = 100_000  # characters
MOST_WAITING = 4  # answers that wait for their turn
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Asked(NamedTuple):
    """What a user's wish comes to.

    Attributes:
        request: For the model.
        settings: What was chosen and found, kept beside the answer and sent before it.
    """

    request: Asking
    settings: dict[str, Any]


@dataclass(frozen=True)
class App:
    """An application.

    Attributes:
        name: Of the application, and of the folder of its page.
        open: Opens the model of the folder that ``llmguide project`` has left, or of another one.
        ask: Reads a form, and returns what to ask the model for; it may take a while, in a thread.
        rules: More paths, with handlers that are `Api`.
        around: Puts what it needs of a run, such as an index, around the model, wherever that is.
        answers_a_minute: That may be asked for.
    """

    name: str
    open: Callable[[Path], Any]
    ask: Callable[[Form, Any], Asked]
    rules: tuple[tuple[str, type["Api"]], ...] = ()
    around: Callable[[Path, Any], Generator] = lambda _, model: model
    answers_a_minute: int = 30


class AppServer(Loopback):
    """An application at an address of its own; ``async with`` opens and closes it.

    Args:
        app: The application.
        generator: Its model.
        store: Its database.
        port: To listen on; 0 takes any that is free.
        answers: How many may be asked for in a while.
        changes: How many other requests.

    Raises:
        ValueError: There is no such port.
    """

    def __init__(
        self,
        app: App,
        generator: Generator,
        store: Store,
        *,
        port: int = 0,
        answers: Rate | None = None,
        changes: Rate | None = None,
    ):
        if not 0 <= port < 2**16:  # the system would take the rest of a division
            raise ValueError(f"--port {port} must lie between 0 and {2**16 - 1}")
        self.app, self.generator, self.store = app, generator, store
        self.answers = answers or Rate(app.answers_a_minute, seconds=60)
        self.changes = changes or Rate(600, seconds=60)
        self.closing = threading.Event()
        self.n_asked = 0  # answers that are written or wait
        self.pool = ThreadPoolExecutor(generator.at_once, thread_name_prefix="answer")
        given = {"server": self}
        rules: list[Any] = [
            ("/health", _Health, given),
            ("/api/documents", _Documents, given),
            ("/api/documents/([0-9a-f]{32})", _Document, given),
            ("/api/answers", _Answers, given),
            ("/api/answers/([0-9a-f]{32})/verdict", _Verdict, given),
            *((path, handler, given) for path, handler in app.rules),
            ("/shared/(.*)", _PageFile, {"path": str(PAGES / "shared")}),
            ("/(.*)", _PageFile, {"path": str(PAGES / app.name), "default_filename": "index.html"}),
        ]
        super().__init__(rules, port=port, max_body_size=LARGEST_REQUEST)

    async def __aexit__(self, *error: object) -> None:
        self.closing.set()
        await super().__aexit__(*error)
        await asyncio.to_thread(self.pool.shutdown)


class Api(Guarded):
    """A handler that takes and gives JSON, and has the ``server`` of its application."""

    def initialize(self, server: AppServer) -> None:
        """Take the server of the application."""
        self.server = server

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
        """Return why a request is refused, and set the header that says for how long.

        Args:
            error: What `write_error` gets.
        """
        refusal = error.get("exc_info", (None, None))[1]
        if not isinstance(refusal, RefusedError):
            return f"{self._reason}."
        if refusal.wait:
            self.set_header("Retry-After", str(refusal.wait))
        return refusal.message


class _PageFile(File):
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)


class _Health(Api):
    async def get(self) -> None:
        await asyncio.to_thread(self.server.store.check)
        self.finish(
            {
                "status": "ok",
                "application": self.server.app.name,
                "model": self.server.generator.name,
                "database": self.server.store.kind,
            }
        )


class _Documents(Api):
    async def get(self) -> None:
        self.finish({"documents": await asyncio.to_thread(self.server.store.documents)})

    async def post(self) -> None:
        self.server.changes.take()
        form = self.form()
        title = form.text("title", most=200)
        content = form.text("content", most=LARGEST_DOCUMENT)
        form.end()
        self.set_status(HTTPStatus.CREATED)
        self.finish({"id": await asyncio.to_thread(self.server.store.add_document, title, content)})


class _Document(Api):
    async def get(self, document: str) -> None:
        found = await asyncio.to_thread(self.server.store.document, document)
        if found is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such document")
        self.finish(found)

    async def put(self, document: str) -> None:
        self.server.changes.take()
        form = self.form()
        title = form.text("title", most=200)
        content = form.text("content", most=LARGEST_DOCUMENT)
        version = form.whole("version", 1, 2**31 - 2)
        form.end()
        change = self.server.store.change_document
        if not await asyncio.to_thread(change, document, title, content, version=version):
            raise RefusedError(
                HTTPStatus.CONFLICT, "there is no such document, or it was changed elsewhere: load it anew"
            )
        self.finish({"version": version + 1})


class _Verdict(Api):
    async def post(self, answer: str) -> None:
        self.server.changes.take()
        form = self.form()
        verdict, comment = form.whole("verdict", -1, 1), form.text("comment", most=2_000, default="")
        form.end()
        if not await asyncio.to_thread(self.server.store.judge, answer, verdict, comment):
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such answer")
        self.finish({"verdict": verdict})


class Streaming(Api):
    """A handler that writes what a model says while it says it."""

    def initialize(self, server: AppServer) -> None:
        """Begin with a reader who is there."""
        super().initialize(server)
        self.gone = threading.Event()

    def on_connection_close(self) -> None:
        """Note that the reader has gone, which stops the model."""
        self.gone.set()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request for an answer, or refuse it: too many in a while, or too many that wait."""
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
        store, state = self.server.store, "stopped"
        name = await asyncio.to_thread(store.begin, document, asked.request.payload(), asked.settings)
        try:
            await self.send("begun", {"id": name, "settings": asked.settings})
            async with aclosing(self._pieces(asked.request)) as pieces:
                async for text in pieces:
                    await asyncio.to_thread(store.append, name, text)
                    await self.send("text", text)
            state = "stopped" if self._ends() else "done"
        except (OSError, RuntimeError, ValueError) as error:  # of the model or its endpoint
            state = "failed"
            await self.send("failed", str(error))
        finally:
            await asyncio.to_thread(store.end, name, state)
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
                        loop.call_soon_threadsafe(queue.put_nowait, piece.replace("\0", "\ufffd"))
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


class _Answers(Streaming):
    async def post(self) -> None:
        with self.admitted():
            form = self.form()
            document = form.text("document", most=32)
            asked = await asyncio.to_thread(self.server.app.ask, form, self.server.generator)
            form.end()
            if await asyncio.to_thread(self.server.store.document, document) is None:
                raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such document")
            self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            await self.answer(document, asked)
