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

A piece of an answer is in the database before it is sent. As in ``llmguide serve``
(`llmguide.server.server`), a request must come from this machine, to the exact address, and from no page of
another origin. Everything under ``/api`` and ``/v1`` also needs the application's token
(`llmguide.projects.webapp.access`) in an ``Authorization: Bearer`` header, so that other users and
programs of this machine can neither read nor write. Pages run no script but their own and build what they
show out of text, so that nothing that a user or a model writes is ever markup.

Leaves out: accounts and TLS. To serve others, put a proxy before it that has both and adds the token.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from llmguide.projects.webapp.api import POLICY, Api, Asked, Streaming
from llmguide.projects.webapp.forms import Form, Rate, RefusedError
from llmguide.projects.webapp.generators import Generator
from llmguide.projects.webapp.store import Store, UnavailableError
from llmguide.server.server import File, Loopback

P = ParamSpec("P")
T = TypeVar("T")

PAGES = Path(__file__).with_name("pages")
LARGEST_REQUEST = 2**20  # bytes
LARGEST_DOCUMENT = 100_000  # characters
HEALTHY_WITHIN = 3  # seconds


@dataclass(frozen=True)
class App:
    """An application.

    Attributes:
        name: Name of the application, and of the folder of its page.
        open: Opens the model of the folder that ``llmguide project`` has left, or of another one.
        ask: Reads a form, and returns what to ask the model for; it may take a while, in a thread.
        rules: More paths, with handlers that are `Api`.
        around: Puts what it needs of a run, such as an index, around the model, wherever that is.
        answers_a_minute: That may be asked for.
    """

    name: str
    open: Callable[[Path], Any]
    ask: Callable[[Form, Any], Asked]
    rules: tuple[tuple[str, type[Api]], ...] = ()
    around: Callable[[Path, Any], Generator] = lambda _, model: model
    answers_a_minute: int = 30


class AppServer(Loopback):
    """An application at an address of its own; ``async with`` opens and closes it.

    Args:
        app: Application to serve.
        generator: Model of the application.
        store: Database of the application.
        token: Token that every request for data must carry; None admits every user of the machine.
        port: TCP port; 0: any free port.
        answers: Rate limit of requests to the model.
        changes: Rate limit of other requests.

    Raises:
        ValueError: There is no such port.
    """

    def __init__(
        self,
        app: App,
        generator: Generator,
        store: Store,
        *,
        token: str | None,
        port: int = 0,
        answers: Rate | None = None,
        changes: Rate | None = None,
    ):
        if not 0 <= port < 2**16:  # the system would take the rest of a division
            raise ValueError(f"--port {port} must lie between 0 and {2**16 - 1}")
        self.app, self.generator, self.store, self.token = app, generator, store, token
        self.answers = answers or Rate(app.answers_a_minute, seconds=60)
        self.changes = changes or Rate(600, seconds=60)
        self.closing = threading.Event()
        self.n_asked = 0  # answers that are written or wait
        self.pool = ThreadPoolExecutor(generator.at_once, thread_name_prefix="answer")
        self.storing = ThreadPoolExecutor(8, thread_name_prefix="store")
        self.checking = ThreadPoolExecutor(1, thread_name_prefix="check")  # does not wait for the others
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
        for executor in (self.pool, self.storing, self.checking):
            await asyncio.to_thread(executor.shutdown)

    async def stored(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that uses the database, in a thread.

        Raises:
            RefusedError: The database cannot be used now.
        """
        return await self._stored(self.storing, partial(function, *args, **kwargs))

    async def check(self) -> None:
        """Look whether the database answers.

        Raises:
            RefusedError: It does not.
        """
        try:
            await asyncio.wait_for(self._stored(self.checking, self.store.check), HEALTHY_WITHIN)
        except TimeoutError as error:
            raise _unavailable("the database does not answer") from error

    @staticmethod
    async def _stored(executor: Executor, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, function)
        except UnavailableError as error:
            raise _unavailable(str(error)) from error


def _unavailable(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, message, wait=5)


class _PageFile(File):
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)


class _Health(Api):
    wants_token = False  # it tells nothing that anybody has written

    async def get(self) -> None:
        await self.server.check()
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
        self.finish({"documents": await self.server.stored(self.server.store.documents)})

    async def post(self) -> None:
        self.server.changes.take()
        form = self.form()
        title = form.text("title", most=200)
        content = form.text("content", most=LARGEST_DOCUMENT)
        form.end()
        self.set_status(HTTPStatus.CREATED)
        self.finish({"id": await self.server.stored(self.server.store.add_document, title, content)})


class _Document(Api):
    async def get(self, document: str) -> None:
        found = await self.server.stored(self.server.store.document, document)
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
        if not await self.server.stored(change, document, title, content, version=version):
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
        if not await self.server.stored(self.server.store.judge, answer, verdict, comment):
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such answer")
        self.finish({"verdict": verdict})


class _Answers(Streaming):
    async def post(self) -> None:
        with self.admitted():
            form = self.form()
            document = form.text("document", most=32)
            asked = await asyncio.to_thread(self.server.app.ask, form, self.server.generator)
            form.end()
            if await self.server.stored(self.server.store.document, document) is None:
                raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such document")
            self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            await self.answer(document, asked)
