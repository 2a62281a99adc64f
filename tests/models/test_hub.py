"""Loading by a name on the hub, from a hub of one model on this machine."""

import hashlib
import json
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from huggingface_hub import constants

from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.models import build, to_hf
from llmguide.models.huggingface.convert import load_hf
from tests.models.tiny import hf_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNREACHABLE = "http://127.0.0.1:9"


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
                {
                    "type": "file",
                    "path": str(path.relative_to(self.folder)),
                    "size": path.stat().st_size,
                    "oid": path.name,
                }
                for path in self.folder.rglob("*")
                if path.is_file()
            ]
            self._answer(json.dumps(files).encode())
        elif self.path.startswith("/tiny/gpt2/resolve/"):
            path = self.folder / self.path.split("/", 5)[5]
            if path.is_file():
                self._answer(path.read_bytes())
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.end_headers()
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


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask another hub, as with HF_ENDPOINT, which the library reads when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    hf_model("gpt2").save_pretrained(tmp_path / "model")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, tmp_path / "model"))
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    use(endpoint, monkeypatch)
    yield endpoint
    server.shutdown()
    server.server_close()


def cached(folder):
    """The files that were downloaded, by their path in the repository."""
    [snapshot] = folder.glob("cache/hub/models--tiny--gpt2/snapshots/*")
    return {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()}


def test_load_by_name_also_from_the_cache_without_a_network(hub, tmp_path, monkeypatch):
    expected = load_hf(tmp_path / "model").state_dict()
    for endpoint in (hub, UNREACHABLE):
        use(endpoint, monkeypatch)
        loaded = load_hf("tiny/gpt2").state_dict()
        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_only_the_files_that_are_read_are_fetched(hub, tmp_path):
    repository = tmp_path / "model"
    (repository / "onnx").mkdir()
    for name in ("consolidated.safetensors", "onnx/config.json", "onnx/model.safetensors", "README.md"):
        (repository / name).write_bytes(b"x" * 100)
    (repository / "tokenizer.json").write_text("{}")
    load_hf("tiny/gpt2")
    assert cached(tmp_path) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    }


@pytest.mark.usefixtures("hub")
def test_only_the_config_is_fetched_for_an_estimate(tmp_path, capsys):
    assert main(["estimate", "params", "tiny/gpt2"]) == 0
    assert "parameters of tiny/gpt2" in capsys.readouterr().out
    assert cached(tmp_path) == {"config.json"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gemma3"}, "model_type 'gemma3' is not among gpt2, bloom, bert, llama, mistral"),
        ({"model_type": "gpt2", "quantization_config": {}}, "choose the unquantized model"),
        ({"model_type": "gpt2", "add_cross_attention": True}, "add_cross_attention=True has no counterpart"),
    ],
    ids=["family", "quantized", "cross-attention"],
)
def test_what_cannot_be_converted_is_refused_by_its_config_alone(config, message, hub, tmp_path):
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load_hf("tiny/gpt2")
    assert cached(tmp_path) == {"config.json"}


@pytest.mark.parametrize(
    ("endpoint", "offline", "reason"),
    [
        (UNREACHABLE, False, "Connection refused"),
        (UNREACHABLE, True, r"\(HF_HUB_OFFLINE is set\)"),
        ("{hub}/elsewhere", False, "404 Not Found"),
    ],
    ids=["unreachable", "offline", "answers"],
)
def test_what_cannot_be_had_is_named_without_retries(endpoint, offline, reason, hub, monkeypatch):
    use(endpoint.format(hub=hub), monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("the request is tried again"))
    there_is_none = "^there is no folder tiny/gpt2 here, and the hub sent no model of that name"
    with pytest.raises(ValueError, match=f"{there_is_none}.*{reason}"):
        load_hf("tiny/gpt2")


def test_a_repository_without_a_model_is_named(hub, tmp_path):
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"tiny/gpt2 on the hub has no config\.json"):
        load_hf("tiny/gpt2")


def test_a_missing_extra_is_named(monkeypatch):
    for module, call in {
        "huggingface_hub": lambda: load_hf("openai-community/gpt2"),
        "transformers": lambda: to_hf(
            build(ModelConfig(vocab_size=5, context_length=4, d_model=4, n_heads=1, n_layers=1))
        ),
    }.items():
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ModuleNotFoundError, match=rf'needs {module}: pip install "llmguide\[hf\]"'):
            call()
