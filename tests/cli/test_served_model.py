"""A model of the guide behind `transformers serve`: the client receives what `generate` generates."""

import socket
import subprocess
import sys
import time
from importlib.util import find_spec

import httpx2
import pytest
import torch

from llmguide.cli.main import main
from llmguide.coding.client import Completion, Endpoint, Request
from llmguide.config.model_config import ModelConfig
from llmguide.generation.generate import generate
from llmguide.models import build
from llmguide.post_training.chat import END, START, render_chat
from llmguide.runs.folder import save_run
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.losses import next_token_loss

N_NEW = 24
TEXT = "to be, or not to be, that is the question: whether 'tis nobler in the mind to suffer the slings " * 3
PROMPTS = ["to be", "or not to be, that", "whether", "the question: é"]
missing = [name for name in ("fastapi", "openai", "uvicorn") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"transformers serve needs {', '.join(missing)}: pip install llmguide[inference]"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A small model and its tokenizer, and a server that has loaded the exported folder."""
    folder = tmp_path_factory.mktemp("served")
    special = ["<|endoftext|>", START, END]
    tokenizer = Tokenizer.train(TEXT, 280, special_tokens=special)
    torch.manual_seed(0)
    sizes = {"context_length": 128, "n_layers": 2, "d_model": 32, "n_heads": 2, "activation": "gelu_tanh"}
    model = build(ModelConfig(vocab_size=tokenizer.vocab_size, **sizes))
    learn(model, tokenizer)
    save_run(folder / "run", model, tokenizer)
    assert main(["export", str(folder / "run"), str(folder / "exported")]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder / "exported")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"], stdout=log, stderr=log
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health", server, folder / "log")
        endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", timeout_s=120)
        yield model, tokenizer, endpoint, str(folder / "exported")
    finally:
        server.terminate()
        server.wait()


def learn(model, tokenizer):
    """Train for a moment: random weights write invalid UTF-8, which a streaming server holds back."""
    ids = torch.tensor([tokenizer.encode(TEXT)[:128]])
    adam = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        adam.zero_grad()
        next_token_loss(model, ids).backward()
        adam.step()
    model.eval()


def wait_until_healthy(url, server, log):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            if httpx2.get(url).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        assert server.poll() is None, log.read_text()
        time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()}")


def own_tokens(model, tokenizer, ids):
    """The ids that `generate` adds, up to the token that ends a turn."""
    end_id = tokenizer.special_tokens[END]
    new = generate(model, torch.tensor([ids]), N_NEW, temperature=0, eos_id=end_id)[0, len(ids) :].tolist()
    return new[: new.index(end_id)] if end_id in new else new


def test_completions_are_those_of_generate(served):
    model, tokenizer, endpoint, name = served
    texts = []
    for prompt in PROMPTS:
        ids = [tokenizer.special_tokens["<|endoftext|>"], *tokenizer.encode(prompt)]
        texts.append(spelled(tokenizer, own_tokens(model, tokenizer, ids)))
        found = "".join(endpoint.stream(Completion(prompt, name, max_tokens=N_NEW)))
        assert found == texts[-1]
    assert len(set(texts)) == len(texts)  # the model reads its prompt
    assert all(len(set(text)) > 3 for text in texts), texts


def test_responses_are_those_of_generate(served):
    model, tokenizer, endpoint, name = served
    for prompt in PROMPTS:
        messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt})
        ids = render_chat(messages, tokenizer, add_generation_prompt=True).ids
        expected = spelled(tokenizer, own_tokens(model, tokenizer, ids))
        request = Request(messages, name, max_tokens=N_NEW)
        assert endpoint.ask(request).text == expected
        assert "".join(endpoint.stream(request)) == expected


def spelled(tokenizer, ids):
    """The text of ids without special tokens, which the server leaves out."""
    return tokenizer.decode([i for i in ids if i not in tokenizer.special_tokens.values()])
