"""The server of ``llmguide serve``: the site, and a kernel for each tab, at one loopback address.

A kernel runs whatever it is sent, so all depends on who may reach it. A request counts only if

- it comes to the loopback interface, the only one that the server listens on;
- its ``Host`` is the address itself: a name that an attacker's DNS points at this machine is another one;
- its ``Origin``, which browsers add and pages cannot change, is the address itself: pages of other sites, and
  of other ports, are refused even with the right token. A kernel wants an ``Origin``, a file does without;
- for a kernel, it carries the token: other users and programs of this machine do not have it. It comes as a
  WebSocket subprotocol, since a page can set no header there, and an address would be logged and remembered.

Nothing is stored: when a tab closes, its kernel ends and its folder is deleted. `llmguide.server.supervisor`
says which of the processes that its cells started end with it.

Every program that has ever served an address shares what the browser stores for it. Stored code runs on a
kernel only after the reader has confirmed it (docs/runtime/edits.js). A service worker that another program
has registered could replace the pages themselves: if you do not trust what used the port before, choose
another.
"""

import asyncio
import contextlib
import hmac
import mimetypes
import os
import re
import signal
import sys
import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from llmguide.server.supervisor import SUPERVISED

HOST = "127.0.0.1"
KERNEL_PATH = "/llmguide-kernel"
TOKEN_PATH = "/llmguide-token"
SUBPROTOCOL = "llmguide"
LINE_LIMIT = 2**26  # bytes of one message of a kernel: a figure can be large
TIMEOUTS = {  # seconds in which a request must arrive; an answer may take any time
    "idle_connection_timeout": 60,  # the headers, and the time between two requests of a connection
    "body_timeout": 30,
}

# what a browser refuses under another type, and some systems' own tables get wrong
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
HEADERS = {
    "Cache-Control": "no-cache",  # ask again each time: a site may be built anew under the same address
    "Content-Security-Policy": "frame-ancestors 'none'",  # no other page may lay itself over a Run button
    # these three keep windows and pages of other origins away from this one
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Loopback:
    """An HTTP server at a loopback address of its own; ``async with`` opens and closes it.

    Args:
        rules: Tornado rules: paths and their handlers, each of them `Guarded`.
        port: TCP port; 0: any free port.
        limits: Keyword arguments of tornado's ``HTTPServer``, such as ``max_body_size``.

    Attributes:
        address: URL of the home page, such as ``http://127.0.0.1:8000``.

    Raises:
        OSError: The port cannot be used.
    """

    def __init__(self, rules: list[Any], *, port: int = 0, **limits: Any) -> None:
        try:
            self._sockets = bind_sockets(port, HOST)
        except OSError as error:
            message = f"port {port} of {HOST} cannot be used ({error.strerror}); choose another with --port"
            raise OSError(message) from error
        host = f"{HOST}:{self._sockets[0].getsockname()[1]}"
        self.address = f"http://{host}"
        self._http = HTTPServer(Application(rules, log_function=_quiet, host=host), **(TIMEOUTS | limits))

    async def __aenter__(self) -> Self:
        self._http.add_sockets(self._sockets)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._http.stop()
        await self._http.close_all_connections()


class Server(Loopback):
    """A site and its kernels."""

    def __init__(self, site: Path, token: str, *, port: int = 0) -> None:
        self._kernels: set[_Kernel] = set()
        rules: list[Any] = [
            (KERNEL_PATH, _Kernel, {"token": token, "site": site, "kernels": self._kernels}),
            (TOKEN_PATH, _Token, {"token": token}),
            (r"/sitemap\.xml", _Sitemap, {"path": site / "sitemap.xml"}),
            (r"/(.*)", File, {"path": str(site), "default_filename": "index.html"}),
        ]
        super().__init__(rules, port=port)

    async def __aexit__(self, *error: object) -> None:
        self._http.stop()
        for kernel in self._kernels:
            kernel.end()
        await asyncio.gather(*(kernel.life for kernel in self._kernels))
        await super().__aexit__(*error)


class Guarded(RequestHandler):
    """Answers only what comes to its own address, from nowhere or from its own pages."""

    def set_default_headers(self) -> None:
        """Say how the answer may be used."""
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.clear_header("Server")

    def prepare(self) -> None:
        """Refuse another address, and the pages of another one."""
        host = self.settings["host"]
        if self.request.host != host:
            raise HTTPError(403, reason=f"This server is http://{host} and has no other name")
        if self.request.headers.get("Origin", f"http://{host}") != f"http://{host}":
            raise HTTPError(403, reason="Requests from other origins are refused")

    def write_error(self, status_code: int, **_: Any) -> None:
        """Say why, in a line."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{self._reason}.\n")


def bearer(request: HTTPServerRequest) -> bytes:
    """Return the token of the ``Authorization`` header, or nothing."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip().encode() if scheme.lower() == "bearer" else b""


class File(Guarded, StaticFileHandler):
    """A file of the site."""

    def parse_url_path(self, url_path: str) -> str:
        """Turn the path of an address into one of the file system, where none has a NUL."""
        if "\0" in url_path:
            raise HTTPError(404)
        return super().parse_url_path(url_path)

    def get_content_type(self) -> str:
        """Name the type that a browser wants."""
        path = Path(self.absolute_path or "")
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


class _Sitemap(Guarded):
    """The pages with their addresses here: what is not listed, the theme loads anew, and a kernel with it."""

    def initialize(self, path: Path) -> None:
        self.path = path

    def get(self) -> None:
        """Send the list."""
        if not self.path.is_file():
            raise HTTPError(404)
        text = self.path.read_text(encoding="utf-8")
        home = min(re.findall("<loc>(.*?)</loc>", text), key=len, default="")
        self.set_header("Content-Type", "text/xml; charset=utf-8")
        self.write(text.replace(f"<loc>{home}", f"<loc>http://{self.settings['host']}/"))


class _Token(Guarded):
    """Tells a page whether a token is this server's, before it gives up the one that it has."""

    def initialize(self, token: str) -> None:
        self.token = token

    def get(self) -> None:
        """Accept the token, or refuse it."""
        if not hmac.compare_digest(bearer(self.request), self.token.encode()):
            raise HTTPError(403, reason="The token is missing or wrong")
        self.set_status(204)


class _Kernel(Guarded, WebSocketHandler):
    """A Python process for as long as a connection lasts; passes messages on, a line of JSON each."""

    def initialize(self, token: str, site: Path, kernels: "set[_Kernel]") -> None:
        self.token, self.site, self.kernels = token, site, kernels
        self.process: asyncio.subprocess.Process | None = None

    def prepare(self) -> None:
        super().prepare()
        if "Origin" not in self.request.headers:
            raise HTTPError(403, reason="A kernel is for the pages of this server only")
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "").replace(",", " ").split()
        if not any(hmac.compare_digest(word.encode(), self.token.encode()) for word in offered):
            raise HTTPError(403, reason="The token is missing or wrong; open the link of llmguide serve")

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    async def open(self, *_: str, **__: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="llmguide-", ignore_cleanup_errors=True)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llmguide.server.kernel",
            self.site,
            cwd=self.folder.name,
            env=os.environ
            | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), self.folder.name)
            | {"MPLBACKEND": "svg"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            start_new_session=True,  # Ctrl-C reaches the server alone, and its end all that cells began
        )
        self.kernels.add(self)
        self.life = asyncio.create_task(self.live(self.process))

    async def live(self, process: asyncio.subprocess.Process) -> None:
        """Send on what the kernel says, to its end, and leave nothing behind."""
        assert process.stdout is not None
        with contextlib.suppress(WebSocketClosedError, ValueError):  # ValueError: above LINE_LIMIT
            async for line in process.stdout:
                await self.write_message(line.decode())
        self.end()
        await process.wait()
        self.process = None  # its number may soon be another's
        self.folder.cleanup()
        self.kernels.discard(self)
        self.close(1011, "the kernel has ended")

    def on_message(self, message: str | bytes) -> None:
        if self.process is not None and self.process.stdin is not None:
            line = message.encode() if isinstance(message, str) else message
            self.process.stdin.write(b" ".join(line.splitlines()) + b"\n")

    def on_close(self) -> None:
        self.end()

    def end(self) -> None:
        """End the kernel and its descendants (on Linux; elsewhere, its process group)."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            if SUPERVISED:
                self.process.terminate()
            elif hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()


def _quiet(handler: RequestHandler) -> None:
    """Log nothing but what went wrong in the server itself."""
    if handler.get_status() >= HTTPStatus.INTERNAL_SERVER_ERROR:
        sys.stderr.write(f"llmguide: {handler.request.path}: {handler.get_status()}\n")
