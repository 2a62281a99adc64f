"""What Lighthouse says of built pages, as a phone and as a desktop sees them.

Run ``python -m benchmarks.lighthouse [PAGE ...]`` on a built site; npm brings Lighthouse. Pages are
compressed and connections kept, as by a host. Scores of the phone come from a simulated slow processor and
line, and a busy machine slows that processor further: the load is printed first. Each score is a median of
three.
"""

import functools
import gzip
import http.server
import json
import os
import statistics
import subprocess
import sys
import threading
from http import HTTPStatus
from pathlib import Path

from site_tools import ROOT
from site_tools.browser import chromium
from site_tools.built.served import BASE
from tests.browser.conftest import FLAGS, SITE

LIGHTHOUSE = "lighthouse@12.2.3"
PAGES = ("", "learn/attention/", "learn/concepts/tokens/", "play/tokenizer/", "reference/nn/attention/")
KINDS = ("performance", "accessibility", "best-practices", "seo")
REPEATS = 3
COMPRESSED = {".css", ".html", ".js", ".json", ".mjs", ".svg", ".xml"}


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if path.suffix not in COMPRESSED or not path.is_file():
            super().do_GET()
            return
        content = gzip.compress(path.read_bytes())
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "max-age=31536000" if "assets/" in self.path else "max-age=600")
        super().end_headers()

    def translate_path(self, path: str) -> str:
        return super().translate_path(f"/{path.removeprefix(BASE)}")

    def log_message(self, *_: object) -> None:
        pass


def report(url: str, *options: str) -> dict[str, object]:
    """One run of Lighthouse."""
    command = ["npx", "--yes", LIGHTHOUSE, url, "--quiet", "--output=json", "--output-path=stdout", *options]
    flags = " ".join(["--headless=new", *FLAGS])
    environment = {"CHROME_PATH": chromium()} | os.environ
    done = subprocess.run(
        [*command, f"--chrome-flags={flags}"], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main(pages: list[str]) -> None:
    """Print a line for each page and form."""
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
    print(f"{'':34}{'  '.join(KINDS)}   blocked ms")
    handler = functools.partial(_Handler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for page in pages:
            for form, options in {"phone": [], "desktop": ["--preset=desktop"]}.items():
                url = f"http://127.0.0.1:{server.server_port}{BASE}{page}"
                found = [report(url, *options) for _ in range(REPEATS)]
                scores = [
                    statistics.median(100 * each["categories"][kind]["score"] for each in found)
                    for kind in KINDS
                ]
                blocked = statistics.median(
                    each["audits"]["total-blocking-time"]["numericValue"] for each in found
                )
                line = "  ".join(f"{score:11.0f}" for score in scores)
                print(f"{page or 'home':24}{form:10}{line}{blocked:11.0f}", flush=True)
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:] or list(PAGES))
