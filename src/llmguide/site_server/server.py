"""The server of ``llmguide serve``: the site, and a kernel for each tab, on a loopback address.

A kernel runs any code that it receives, so access must be restricted. A request is accepted only if

- it comes to the loopback interface, the only one that the server listens on;
- its ``Host`` is the address itself, which excludes names that an attacker's DNS resolves to this machine;
- its ``Origin``, which browsers add and pages cannot change, is the address itself: pages of other sites or
  ports are refused even with the right token. A kernel requires an ``Origin``, a file does not;
- for a kernel, it carries the token, which other users and programs of this machine do not have. It is sent
  as a WebSocket subprotocol, because a page cannot set a header there, and a URL would be logged and stored.

Nothing is stored: when a tab closes, its kernel ends and its folder is deleted.
`llmguide.site_server.supervisor` describes which processes started by cells end with it.

All programs that have ever served an address share the browser's storage for it. Stored code runs on a kernel
only after the reader has confirmed it (runtime/stored_edits.js). A service worker that another program has
registered could replace the pages: if you do not trust a program that used the port before, choose another
port.
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
import webbrowser
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from llmguide.site_server.supervisor import SUPERVISED

HOST = "127.0.0.1"
KERNEL_PATH = "/llmguide-kernel"
TOKEN_PATH = "/llmguide-token"
SUBPROTOCOL = "llmguide"
LINE_LIMIT = 2**26  # bytes of a message of a kernel, which can contain a figure
TIMEOUTS = {  # seconds in which a request must arrive; a response may take any time
    "idle_connection_timeout": 60,  # for the headers, and between two requests of a connection
    "body_timeout": 30,
}

# types that browsers require, and some systems' tables have wrong
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
HEADERS = {
    "Cache-Control": "no-cache",  # revalidate each time: the site may be rebuilt under the same address
    "Content-Security-Policy": "frame-ancestors 'none'",  # no page may overlay a Run button (clickjacking)
    # these three isolate the page from windows and pages of other origins
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Loopback:
    """An HTTP server on a loopback address; ``async with`` opens and closes it.

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

    async def run(self, title: str, token: str | None, *, open_browser: bool) -> None:
        """Open the server, print the link to it after a title, and serve until canceled."""
        async with self:
            # After #, which browsers do not send to servers; the page removes it from the address at once.
            link = f"{self.address}/#token={token}" if token else self.address
            sys.stdout.write(f"{title}: {link}\nCtrl-C ends it.\n")
            sys.stdout.flush()
            if open_browser:
                await asyncio.to_thread(webbrowser.open, link)
            await asyncio.Event().wait()


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
    """Base class of handlers that accept only requests to the server's own address, from its own origin."""

    def set_default_headers(self) -> None:
        """Set the security and caching headers."""
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.clear_header("Server")

    def prepare(self) -> None:
        """Reject requests to another address, and from pages of other origins."""
        host = self.settings["host"]
        if self.request.host != host:
            raise HTTPError(403, reason=f"Open http://{host} instead: other names and ports are refused")
        if self.request.headers.get("Origin", f"http://{host}") != f"http://{host}":
            raise HTTPError(403, reason="Requests from other origins are refused")

    def write_error(self, status_code: int, **_: Any) -> None:
        """Write the reason as one line."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{self._reason}.\n")


def bearer(request: HTTPServerRequest) -> bytes:
    """Return the token of the ``Authorization`` header; empty if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip().encode() if scheme.lower() == "bearer" else b""


class File(Guarded, StaticFileHandler):
    """A file of the site."""

    def parse_url_path(self, url_path: str) -> str:
        """Convert the path of a URL to a file path; one with a NUL is not found."""
        if "\0" in url_path:
            raise HTTPError(404)
        return super().parse_url_path(url_path)

    def get_content_type(self) -> str:
        """Return the content type that browsers require."""
        path = Path(self.absolute_path or "")
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


class _Sitemap(Guarded):
    """The sitemap with local addresses.

    The theme reloads pages that are not listed, which would restart the kernel.
    """

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
    """Checks a token for a page, before the page discards the one that it has."""

    def initialize(self, token: str) -> None:
        self.token = token

    def get(self) -> None:
        """Accept or reject the token."""
        if not hmac.compare_digest(bearer(self.request), self.token.encode()):
            raise HTTPError(403, reason="The token is missing or wrong")
        self.set_status(204)


class _Kernel(Guarded, WebSocketHandler):
    """A kernel process per connection; forwards messages as lines of JSON."""

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
            "llmguide.site_server.kernel",
            self.site,
            cwd=self.folder.name,
            env=os.environ
            | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), self.folder.name)
            | {"MPLBACKEND": "svg"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            start_new_session=True,  # Ctrl-C reaches the server only, which then ends all processes
        )
        self.kernels.add(self)
        self.life = asyncio.create_task(self.live(self.process))

    async def live(self, process: asyncio.subprocess.Process) -> None:
        """Forward the output of the kernel until it ends, then clean up."""
        assert process.stdout is not None
        with contextlib.suppress(WebSocketClosedError, ValueError):  # ValueError: above LINE_LIMIT
            async for line in process.stdout:
                await self.write_message(line.decode())
        self.end()
        await process.wait()
        self.process = None  # its process id may be reused
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
        with contextlib.suppress(ProcessLookupError):  # it has already ended
            if SUPERVISED:
                self.process.terminate()
            elif hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()


def _quiet(handler: RequestHandler) -> None:
    """Log only errors of the server itself."""
    if handler.get_status() >= HTTPStatus.INTERNAL_SERVER_ERROR:
        sys.stderr.write(f"llmguide: {handler.request.path}: {handler.get_status()}\n")
