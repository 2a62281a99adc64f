"""A cell that trains: its loss curve while it runs, a tab that is closed, and files to download."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.cells import PATIENCE, PLAIN, Reader, cell, open_page, run
from tests.browser.host import SITE, Host, serving
from tests.browser.windows import PHONE, axe, window

pytestmark = pytest.mark.browser

TRAIN = """import torch
from llmguide import ModelConfig, TrainConfig, apply_lora, build, train
from llmguide.post_training.adapters.peft_files import save_adapter
from llmguide.runs.tab import LossCurve, kept_folder, offer_files
torch.manual_seed(0)
model = build(ModelConfig(vocab_size=8, context_length=8, n_layers=1, d_model=16, n_heads=2))
apply_lora(model, rank=2, alpha=4, target_modules=["q_proj", "up"])
folder = kept_folder("tiny")
options = {"schedule": "constant", "checkpoint_every": 1, "keep_last": 2, "log_every": 1}
config = TrainConfig(n_steps=N_STEPS, context_length=8, **options)
result = train(model, torch.arange(200) % 8, config, folder=folder, logger=LossCurve(folder))
print(len(result.history), "steps")
save_adapter(model, "adapter")
offer_files("adapter")"""

# The last step of which the browser holds a checkpoint.
STORED = """caches.open("llmguide-kept").then(cache => cache.keys()).then(keys => Math.max(
  0, ...keys.map(({ url }) => Number(/step-([0-9]+)/.exec(url)?.[1] ?? 0))))"""
# Notes the last step of each curve that a cell shows from now on.
NOTE_STEPS = """cell => {
  window.steps = [];
  new MutationObserver(() => {
    const label = cell.querySelector(".cell-chart svg")?.getAttribute("aria-label");
    if (label) steps.push(Number(label.split(" ").at(-1)));
  }).observe(cell, { childList: true, subtree: true, attributes: true });
}"""


def place_cell(host: Host, n_steps: int) -> None:
    """Answer with a page whose only cell trains a tiny model."""
    html = (SITE / PLAIN / "index.html").read_text(encoding="utf-8")
    code = TRAIN.replace("N_STEPS", str(n_steps))
    block = (
        '<div class="highlight run" data-cell="0" data-needs="torch" data-loads="core:6.4">'
        f"<pre><code>{code}</code></pre></div>"
    )
    page = re.sub("</h1>.*</article>", lambda _: f"</h1>{block}</article>", html, flags=re.DOTALL)
    host.answers[f"{PLAIN}/"] = page.encode()


def step(page: Page) -> int:
    """The last step of the curve."""
    chart = cell(page, 0).locator(".cell-chart svg")
    expect(chart).to_be_visible(timeout=PATIENCE)
    return int((chart.get_attribute("aria-label") or "").split()[-1])


@pytest.mark.nightly
def test_a_run_goes_on_where_a_closed_tab_left_it(reader: Reader) -> None:
    place_cell(reader.host, 100_000)
    page, problems = reader.open(PLAIN)
    cell(page, 0).locator(".cell-run").click()
    expect(cell(page, 0).locator(".cell-chart path")).to_be_visible(timeout=PATIENCE)
    page.wait_for_function(STORED + ".then(step => step > 20)", timeout=PATIENCE)
    stored = page.evaluate(STORED)
    page.close()
    page, more = reader.open(PLAIN)
    cell(page, 0).locator(".cell-run").click()
    first = step(page)
    assert first >= stored, "it started again"
    points = cell(page, 0).locator(".cell-chart path").get_attribute("d") or ""
    assert points.count("L") >= stored, "the curve starts with the first step"
    cell(page, 0).locator(".cell-run").click()
    expect(page.locator("#cell-announcer")).to_contain_text("Stopped. Variables are kept")
    stopped = step(page)
    cell(page, 0).evaluate(NOTE_STEPS)
    cell(page, 0).locator(".cell-run").click()
    page.wait_for_function("stopped => steps.at(-1) > stopped", arg=stopped, timeout=PATIENCE)
    assert page.evaluate("Math.min(...steps)") >= stopped, "it started again"
    assert not problems + more


SLOW_STORAGE = """const put = Cache.prototype.put;
Cache.prototype.put = async function (...entry) {
  await new Promise(resolve => setTimeout(resolve, 300));
  return put.apply(this, entry);
}"""


@pytest.mark.nightly
def test_files_of_a_run_are_downloaded_and_a_full_browser_says_so(browser: Browser, tmp_path: Path) -> None:
    with serving() as host, window(browser, PHONE) as context:
        place_cell(host, 3)
        context.add_init_script(SLOW_STORAGE)
        page, problems = open_page(context, host, PLAIN)
        quota = {"origin": host.url.partition("/llmguide")[0], "quotaSize": 1000}
        context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", quota)
        assert "This browser could not store the run" in run(page, cell(page, 0))
        result = cell(page, 0).locator(".cell-result")
        expect(result).to_contain_text(
            "3 steps\nadapter_config.json, 0.0 MB\nadapter_model.safetensors, 0.0 MB"
        )
        names = []
        for link in result.get_by_role("link", name="Download").all():
            with page.expect_download() as download:
                link.click()
            names.append(download.value.suggested_filename)
            download.value.save_as(tmp_path / names[-1])
        assert names == ["adapter_config.json", "adapter_model.safetensors"]
        assert json.loads((tmp_path / names[0]).read_text())["r"] == 2
        from safetensors.torch import load_file  # noqa: PLC0415  # slow to import

        assert len(load_file(tmp_path / names[1])) == 4
        assert not axe(page) + problems
