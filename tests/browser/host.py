"""A host of the built site that can misbehave, and that remembers what it was asked for."""

import functools
import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page
from site_tools import ROOT
from site_tools.built.served import BASE, compressed

SITE = ROOT / os.environ.get("SITE_DIR", "site")


@dataclass
class Host:
    """What a test may change while the host runs."""

    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    answers: dict[str, int | bytes] = field(
        default_factory=dict
    )  # by the end of a path: a status or a content
    # Seconds, by a part of the path; a request that waits goes on when its delay is removed.
    delays: dict[str, float] = field(default_factory=dict)
    down: bool = False
    asked: list[str] = field(default_factory=list)  # paths below the site

    def behave(self) -> None:
        """Misbehave no more, and remember nothing."""
        for misbehavior in (self.headers, self.answers, self.delays, self.asked):
            misbehavior.clear()
        self.down = False

    def forget(self) -> None:
        """Begin to remember anew."""
        self.asked.clear()

    def delay(self, path: str) -> float:
        """Seconds for which an answer is held back, as of now."""
        return next((seconds for part, seconds in self.delays.copy().items() if part in path), 0)

    def sent(self) -> int:
        """Bytes of what it was asked for, each file once: archives as they are, all else compressed."""
        files = {SITE / path for path in self.asked}
        files = {path / "index.html" if path.is_dir() else path for path in files}
        return sum(
            path.stat().st_size if path.suffix in {".zip", ".tbz", ".tgz", ".whl"} else compressed(path)
            for path in files
            if path.is_file()
        )


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *args: object, host: Host, **options: object) -> None:
        self.host = host
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix(BASE)
        if self.host.down:
            self.close_connection = True
            return
        self.host.asked.append(path)
        asked = time.monotonic()
        while time.monotonic() - asked < self.host.delay(path):
            time.sleep(0.02)
        answer = next((what for end, what in self.host.answers.items() if path.endswith(end)), None)
        if isinstance(answer, int):
            self.send_error(answer)
        elif answer is not None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        else:
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # each file is asked for again, though not sent again
        for name, value in self.host.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def translate_path(self, path: str) -> str:
        return super().translate_path(f"/{path.removeprefix(BASE)}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(site: Path = SITE, **settings: object) -> Iterator[Host]:
    """Serve the site on a free port of this machine; ``settings`` are fields of the host."""
    host = Host(**settings)
    handler = functools.partial(_Handler, directory=str(site), host=host)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host.url = f"http://127.0.0.1:{server.server_port}{BASE}"
        yield host
        server.shutdown()


def wait_until(page: Page, holds: Callable[[], object]) -> None:
    """Wait until something holds that the page itself does not show."""
    last = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < last, "it has not become true within a minute"
        page.wait_for_timeout(50)


def wait_until_asked(page: Page, host: Host, end: str) -> None:
    wait_until(page, lambda: any(path.endswith(end) for path in host.asked))
