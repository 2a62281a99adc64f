"""The web server of the applications: a static page, documents, streamed answers, and feedback on them.

An application is an `llmguide.projects.webapp.app.App`, which prepares the requests to the model, and a
static page. The rest is shared:

| request | does |
| --- | --- |
| ``GET /`` | the page, its script and its style |
| ``GET /health`` | reports whether the server and its database work |
| ``GET POST /api/documents`` | lists the documents; creates one |
| ``GET PUT /api/documents/ID`` | returns a document with its answers; changes it, unless another tab did |
| ``POST /api/answers`` | streams an answer as server-sent events: begun, text ..., ended |
| ``POST /api/answers/ID/verdict`` | stores a thumb up or down |

A piece of an answer is stored before it is sent. As in ``llmguide serve`` (`llmguide.site_server.server`), a
request must come from this machine, with the exact address as its host, and from no page of another origin.
Everything under ``/api`` and ``/v1`` also needs the application's token (`llmguide.projects.webapp.access`)
in an ``Authorization: Bearer`` header, so other users and programs of this machine can neither read nor
write. Pages run only their own script and insert text as text, so nothing that a user or a model writes is
interpreted as markup.

Leaves out: accounts and TLS. To serve others, put a proxy before it that has both and adds the token.
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any

from llmguide.projects.webapp.api import POLICY, Api, Streaming
from llmguide.projects.webapp.backend import Backend
from llmguide.projects.webapp.forms import LARGEST_DOCUMENT, RefusedError
from llmguide.site_server.server import File, Loopback

PAGES = Path(__file__).with_name("pages")
LARGEST_REQUEST = 2**20  # bytes


class AppServer(Loopback):
    """The server of an application; ``async with`` opens and closes it.

    Args:
        backend: Application to serve, with its model and database.
        port: TCP port; 0: any free port.

    Raises:
        ValueError: There is no such port.
    """

    def __init__(self, backend: Backend, *, port: int = 0):
        if not 0 <= port < 2**16:  # the system would use the port modulo 65536
            raise ValueError(f"--port {port} must be between 0 and {2**16 - 1}")
        self._backend = backend
        given = {"backend": backend}
        rules: list[Any] = [
            ("/health", _Health, given),
            ("/api/documents", _Documents, given),
            ("/api/documents/([0-9a-f]{32})", _Document, given),
            ("/api/answers", _Answers, given),
            ("/api/answers/([0-9a-f]{32})/verdict", _Verdict, given),
            *((path, handler, given) for path, handler in backend.app.rules),
            ("/shared/(.*)", _PageFile, {"path": str(PAGES / "shared")}),
            ("/(.*)", _PageFile, {"path": str(PAGES / backend.app.name), "default_filename": "index.html"}),
        ]
        super().__init__(rules, port=port, max_body_size=LARGEST_REQUEST)

    async def __aexit__(self, *error: object) -> None:
        self._backend.closing.set()
        await super().__aexit__(*error)
        await self._backend.close()


class _PageFile(File):
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)


class _Health(Api):
    wants_token = False  # it reveals nothing that users have written

    async def get(self) -> None:
        await self.backend.check()
        self.finish(
            {
                "status": "ok",
                "application": self.backend.app.name,
                "model": self.backend.generator.name,
                "database": self.backend.store.kind,
            }
        )


class _Documents(Api):
    async def get(self) -> None:
        self.finish({"documents": await self.backend.stored(self.backend.store.documents)})

    async def post(self) -> None:
        self.backend.changes.take()
        form = self.form()
        title = form.text("title", most=200)
        content = form.text("content", most=LARGEST_DOCUMENT)
        form.reject_unread()
        self.set_status(HTTPStatus.CREATED)
        self.finish({"id": await self.backend.stored(self.backend.store.add_document, title, content)})


class _Document(Api):
    async def get(self, document: str) -> None:
        found = await self.backend.stored(self.backend.store.document, document)
        if found is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such document")
        self.finish(found)

    async def put(self, document: str) -> None:
        self.backend.changes.take()
        form = self.form()
        title = form.text("title", most=200)
        content = form.text("content", most=LARGEST_DOCUMENT)
        version = form.integer("version", 1, 2**31 - 2)
        form.reject_unread()
        change = self.backend.store.change_document
        if not await self.backend.stored(change, document, title, content, version=version):
            raise RefusedError(HTTPStatus.CONFLICT, "the document is gone or changed: reload it")
        self.finish({"version": version + 1})


class _Verdict(Api):
    async def post(self, answer: str) -> None:
        self.backend.changes.take()
        form = self.form()
        verdict, comment = form.integer("verdict", -1, 1), form.text("comment", most=2_000, default="")
        form.reject_unread()
        if not await self.backend.stored(self.backend.store.rate, answer, verdict, comment):
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such answer")
        self.finish({"verdict": verdict})


class _Answers(Streaming):
    async def post(self) -> None:
        with self.admitted():
            form = self.form()
            document = form.text("document", most=32)
            asked = await asyncio.to_thread(self.backend.app.ask, form, self.backend.generator)
            form.reject_unread()
            if await self.backend.stored(self.backend.store.document, document) is None:
                raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such document")
            self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            await self.answer(document, asked)
