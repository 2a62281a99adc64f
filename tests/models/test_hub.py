"""Loading by a name on the hub, from a hub of one model on this machine."""

import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from llmguide.models import load
from tests.models.tiny import hf_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD_BY_NAME = """
import torch
from llmguide.models import load
model = load("tiny/gpt2")
torch.save(model.state_dict(), "weights.pt")
"""


class Hub(BaseHTTPRequestHandler):
    """The requests that a download makes: the commit, the list of files, and each file."""

    def __init__(self, folder: Path, *args: object):
        self.folder = folder
        super().__init__(*args)

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/tiny/gpt2/revision/"):
            self._answer(json.dumps({"id": "tiny/gpt2", "sha": COMMIT, "siblings": []}).encode())
        elif self.path.startswith("/api/models/tiny/gpt2/tree/"):
            files = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": path.name}
                for path in self.folder.iterdir()
            ]
            self._answer(json.dumps(files).encode())
        elif self.path.startswith("/tiny/gpt2/resolve/"):
            self._answer((self.folder / self.path.rsplit("/", 1)[1]).read_bytes())
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", hashlib.sha256(body).hexdigest())
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub(tmp_path):
    hf_model("gpt2").save_pretrained(tmp_path / "model")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, tmp_path / "model"))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def load_by_name(folder: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_OFFLINE")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", LOAD_BY_NAME], check=False, cwd=folder, env=environment, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip


def test_load_by_name(hub, tmp_path):
    run = load_by_name(tmp_path, hub)
    assert run.returncode == 0, run.stderr
    expected = load(tmp_path / "model").state_dict()
    loaded = torch.load(tmp_path / "weights.pt")
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("endpoint", ["unreachable", "answers"])
def test_what_cannot_be_had_is_named(endpoint, hub, tmp_path):
    run = load_by_name(tmp_path, "http://127.0.0.1:9" if endpoint == "unreachable" else hub + "/elsewhere")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(
        "ValueError: tiny/gpt2 is no folder here and could not be downloaded from the hub"
    )
