"""What a reader waits for in the tab: a first result, the same cell again, training a tiny GPT, a product.

Run ``python -m benchmarks.tab`` on a built site. Chromium begins with an empty cache for each cold click; the
site is on this machine, so that the download itself takes next to no time. Each figure is a median of five.
"""

import os
import statistics
from collections.abc import Sequence

from playwright.sync_api import Page, sync_playwright
from site_tools.browser import chromium
from tests.browser.conftest import FLAGS
from tests.browser.host import serving
from tests.browser.test_cells import PLAIN, open_page, plain_cell

REPEATS = 5
COLD, AGAIN = 6.0, 0.1  # seconds, at most
STEPS = 150.0  # a second, at least
# 27 thousand parameters; 100 steps after 10 that warm up.
TRAIN = """
import time
import torch
from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from torch.nn.functional import cross_entropy

torch.manual_seed(0)
model = build(ModelConfig(vocab_size=32, context_length=16, n_layers=2, d_model=32, n_heads=4))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)


def train(steps):
    started = time.perf_counter()
    for _ in range(steps):
        ids = torch.randint(0, 32, (8, 17))
        loss = cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return steps / (time.perf_counter() - started)


train(10)
print(train(100))
"""
# 768 tokens into 3,300 logits, as the chapter on pre-training has it: by numpy, and by the kernel.
PRODUCT = """
import time
import numpy as np
import torch
from torch.array_matmul import array_matmul

x, y = torch.randn(768, 96).numpy(), torch.randn(3300, 96).numpy().T


def seconds(product):
    started = time.perf_counter()
    for _ in range(5):
        product(x, y)
    return (time.perf_counter() - started) / 5


print(seconds(np.matmul), seconds(array_matmul))
"""
CLICK = """cell => new Promise((resolve) => {
  const box = document.getElementById("cell-announcer");
  box.textContent = "";
  const started = performance.now();
  new MutationObserver((_, observer) => {
    if (!box.textContent) return;
    observer.disconnect();
    resolve([performance.now() - started, box.textContent]);
  }).observe(box, { childList: true, characterData: true });
  cell.querySelector(".cell-run").click();
})"""
IN_BACKEND = """async code => {
  const { run } = await import(new URL("../../runtime/backend.js", location).href);
  return run(code, { name: "benchmark" });
}"""


def _seconds_of_a_run(page: Page) -> float:
    """From the click to what is announced at the end, by the page's own clock."""
    milliseconds, said = plain_cell(page).evaluate(CLICK)
    assert "equal to the stored output" in said, said
    return milliseconds / 1000


def _numbers(page: Page, code: str) -> list[float]:
    """What code prints in the tab."""
    result = page.evaluate(IN_BACKEND, code)
    assert result["ok"], result["error"]
    return [float(number) for number in result["stdout"].split()]


def _print(name: str, values: Sequence[float], target: str, *, met: bool) -> None:
    middle, low, high = statistics.median(values), min(values), max(values)
    verdict = "met" if met else "MISSED"
    print(f"{name:<32} {middle:8.3f}  {low:.3f}..{high:<9.3f} {target} {verdict}", flush=True)


def main() -> None:
    """Print one line a measurement: median, range, target."""
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
    with sync_playwright() as playwright, serving() as host:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        cold = []
        for _ in range(REPEATS):
            context = browser.new_context()
            page, _ = open_page(context, host, PLAIN)
            cold.append(_seconds_of_a_run(page))
            context.close()
        _print("cold click to first result, s", cold, f"<= {COLD}", met=statistics.median(cold) <= COLD)
        page, _ = open_page(browser.new_context(), host, PLAIN)
        _seconds_of_a_run(page)
        again = [_seconds_of_a_run(page) for _ in range(REPEATS)]
        _print("the same cell again, s", again, f"<= {AGAIN}", met=statistics.median(again) <= AGAIN)
        steps = [_numbers(page, TRAIN)[0] for _ in range(REPEATS)]
        _print("training a tiny GPT, steps/s", steps, f">= {STEPS}", met=statistics.median(steps) >= STEPS)
        by_numpy, by_kernel = zip(*(_numbers(page, PRODUCT) for _ in range(REPEATS)), strict=True)
        numpy, kernel = 1e3 * statistics.median(by_numpy), 1e3 * statistics.median(by_kernel)
        print(f"a product, ms: numpy {numpy:.0f}, kernel {kernel:.0f}, {numpy / kernel:.1f}x")
        browser.close()


if __name__ == "__main__":
    main()
