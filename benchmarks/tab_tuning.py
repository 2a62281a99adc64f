"""LoRA fine-tuning of SmolLM2 in the tab: seconds of a step of 64 tokens, of a whole run, and its memory.

Run ``python -m benchmarks.tab_tuning`` on a built site. Each step trains on one row of 64 tokens, all with a
loss, and stores a checkpoint. One Chromium runs it on one thread; the rest of the machine stays idle, or the
load that is printed says otherwise. Processor time is that of all processes of Chromium.
"""

import argparse
import os
import statistics
from pathlib import Path

from benchmarks.tab_generation import AGREED, NAME
from playwright.sync_api import sync_playwright
from site_tools.browser import chromium
from tests.browser.conftest import FLAGS
from tests.browser.host import serving
from tests.browser.test_cells import PLAIN, open_page

LIMIT = 600.0  # seconds of 100 steps, at most
TEXT = "The quick brown fox jumps over the lazy dog near the river bank. " * 8
LOAD = """
import time
import torch
import pyodide_js
from llmguide import TrainConfig, apply_lora, train
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.runs.resolve import open_model
from llmguide.runs.tab import kept_folder

model, tokenizer = open_model("{name}-q4")
ids = tokenizer.encode({text!r})[:65]
apply_lora(model, rank=8, alpha=16, target_modules=["q_proj", "v_proj"])
"""
TUNE = """
started = time.perf_counter()


class Times:
    def log(self, step, values):
        print(time.perf_counter() - started)

    def text(self, step, text):
        pass


config = TrainConfig(n_steps={steps}, batch_size=1, lr=1e-3, checkpoint_every=1, keep_last=2, log_every=1)
data, folder = SFTDataset([completion(ids[:1], ids[1:])]), kept_folder("benchmark", time.time())
train(model, data, config, folder=folder, logger=Times())
print(pyodide_js._module.HEAPU8.length / 1e6)
"""


def _cpu_seconds(root: int) -> float:
    """Processor time of a process and of those that it has started."""
    total, parents = 0.0, {root}
    tick = os.sysconf("SC_CLK_TCK")
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            name, values = (folder / "stat").read_text(encoding="utf-8").rsplit(")", 1)
        except OSError:
            continue  # it has ended
        parent, user, system = (int(values.split()[i]) for i in (1, 11, 12))
        if int(name.split()[0]) in parents or parent in parents:
            parents.add(int(folder.name))
            total += (user + system) / tick
    return total


def main() -> None:
    """Print the time of a step and of the run, and the memory of Python, which never shrinks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="number of training steps")
    steps = parser.parse_args().steps
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}")
    with sync_playwright() as playwright, serving() as host:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page, _ = open_page(browser.new_context(), host, PLAIN)
        loaded = page.evaluate(AGREED, LOAD.format(name=NAME, text=TEXT))
        assert loaded["ok"], loaded["error"]
        before = _cpu_seconds(os.getpid())
        result = page.evaluate(AGREED, TUNE.format(steps=steps))
        cpu = _cpu_seconds(os.getpid()) - before
        assert result["ok"], result["error"]
        browser.close()
    *ends, megabytes = (float(number) for number in result["stdout"].split())
    seconds = [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    print(f"a step of 64 tokens, s      {middle:.2f}  {low:.2f}..{high:.2f}")
    verdict = "met" if ends[-1] / steps * 100 <= LIMIT else "MISSED"
    print(f"100 steps, s                {ends[-1] / steps * 100:.0f}  <= {LIMIT:.0f} {verdict}")
    print(f"processor time of a step, s {cpu / steps:.2f}")
    print(f"memory of Python, MB        {megabytes:.0f}")
    print(f"load at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
