"""A cell that uses a language model: size, download, storage, a second visit, and removal."""

import hashlib
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.cells import MANIFEST, NOTE_WORKERS, PATIENCE, PLAIN, cell, open_page, run
from tests.browser.host import SITE, Host, serving
from tests.browser.windows import DESKTOP, PHONE, axe, window

pytestmark = pytest.mark.browser

NAME, TITLE = "smollm2-135m-instruct", "SmolLM2-135M-Instruct"
PARTS = {f"tiny/part-{index}.safetensors": random.Random(index).randbytes(1_200_000) for index in range(3)}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in PARTS.items()}
ENTRY = {
    "name": NAME,
    "title": TITLE,
    "pattern": NAME,
    "memory": 400,
    "megabytes": 3.6,
    "files": [
        {"url": name, "bytes": len(content), "sha256": HASHES[name]} for name, content in PARTS.items()
    ],
}
CODE = f"""import hashlib, pathlib
for path in sorted(pathlib.Path("/models/{NAME}").iterdir()):
    print(hashlib.sha256(path.read_bytes()).hexdigest())"""
MODELS = f'data-loads="core:6.4" data-models="{NAME}:{TITLE}:3.6:400"'
PRINTED = "".join(f"{value}\n" for value in HASHES.values())


@contextmanager
def hosting(attributes: str) -> Iterator[Host]:
    """A host whose site has a small model, and a page whose only cell uses it."""
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8")) | {"models": [ENTRY]}
    html = (SITE / PLAIN / "index.html").read_text(encoding="utf-8")
    block = (
        f'<div class="highlight run" data-cell="0" data-needs="core" {attributes}>'
        f"<pre><code>{CODE}</code></pre></div>"
        f'<div class="highlight output"><pre><code>{PRINTED}</code></pre></div>'
    )
    with serving() as host:
        host.answers |= {"runtime.json": json.dumps(manifest).encode(), **PARTS}
        page = re.sub("</h1>.*</article>", lambda _: f"</h1>{block}</article>", html, flags=re.DOTALL)
        host.answers[f"{PLAIN}/"] = page.encode()
        yield host


def asked(host: Host) -> list[str]:
    """The files of the model that the host was asked for."""
    return [path.removeprefix("assets/vendor/") for path in host.asked if "tiny/part-" in path]


def test_a_model_comes_with_one_press_stays_and_can_be_removed(browser: Browser) -> None:
    with hosting(MODELS) as host, window(browser, DESKTOP, "dark") as context:
        context.add_init_script(NOTE_WORKERS)
        page, problems = open_page(context, host, PLAIN)
        button, line = (cell(page, 0).locator(it) for it in (".cell-run", ".cell-note"))
        removal = cell(page, 0).get_by_role("button", name="Remove model")
        expect(button).to_have_text("Run · downloads 10 MB")
        expect(line).to_have_text(
            f"Runs in your tab · {TITLE} stays in this browser · needs 400 MB of memory"
        )
        expect(removal).to_be_hidden()
        found = axe(page)

        button.hover()
        page.wait_for_function("heard.includes('prepared')", timeout=PATIENCE)
        assert not asked(host), "Python starts early, and a model does not"
        host.delays["part-2.safetensors"] = 60
        button.click()
        expect(line).to_contain_text(f"Loading {TITLE}: 2.4 of 3.6 MB", timeout=PATIENCE)
        button.click()
        expect(page.locator("#cell-announcer")).to_contain_text("Stopped")
        expect(button).to_have_text("Run · downloads 8 MB")
        host.delays.clear()
        host.forget()
        assert "equal to the stored output" in run(page, cell(page, 0))
        assert asked(host) == ["tiny/part-2.safetensors"]
        expect(button).to_have_text("Run")
        expect(removal).to_be_visible()
        found += axe(page)

        page.evaluate(
            """async ([name, hash]) => {
              const kept = await caches.open(`llmguide-model-${name}`);
              const damaged = (await kept.keys()).find(({ url }) => url.endsWith(hash));
              await kept.put(damaged, new Response(new Uint8Array(1_200_000)));
            }""",
            [NAME, HASHES["tiny/part-1.safetensors"]],
        )
        page.reload()
        expect(button).to_have_text("Run")
        host.forget()
        assert "equal to the stored output" in run(page, cell(page, 0))
        assert asked(host) == ["tiny/part-1.safetensors"], "the others come from storage"
        assert "equal to the stored output" in run(page, cell(page, 0))
        assert asked(host) == ["tiny/part-1.safetensors"], "all come from storage"
        removal.click()
        expect(page.locator("#cell-announcer")).to_contain_text(f"{TITLE} was removed from this browser")
        expect(removal).to_be_hidden()
        assert page.evaluate(f"caches.open('llmguide-model-{NAME}').then((kept) => kept.keys())") == []
        host.forget()
        assert "equal to the stored output" in run(page, cell(page, 0))
        assert not asked(host), "Python still has the model"
        page.reload()
        expect(button).to_have_text("Run · downloads 10 MB")
        assert not found + problems


@pytest.mark.nightly
def test_code_that_names_a_model_asks_first_and_runs_without_storage(browser: Browser) -> None:
    with hosting("") as host, window(browser, PHONE) as context:
        page, problems = open_page(context, host, PLAIN)
        quota = {"origin": host.url.partition("/llmguide")[0], "quotaSize": 1000}
        context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", quota)
        box = cell(page, 0)
        assert f"needs {TITLE}, a download of 4 MB" in run(page, box)
        assert not asked(host)
        expect(box.locator(".cell-run")).to_have_text("Run · downloads 4 MB")
        found = axe(page)
        said = run(page, box)
        assert f"equal to the stored output. This browser could not store {TITLE}" in said
        assert asked(host) == list(PARTS)
        expect(box.locator(".cell-run")).to_have_text("Run")
        host.forget()
        run(page, box)
        assert not asked(host), "Python still has the model"
        assert not found + problems


def test_a_kernel_downloads_nothing_into_the_browser(browser: Browser) -> None:
    with hosting(MODELS) as host, window(browser, DESKTOP) as context:
        context.add_init_script("sessionStorage.setItem('llmguide.kernel', 'token')")
        page, _ = open_page(context, host, PLAIN)
        expect(cell(page, 0).locator(".cell-run")).to_have_text("Run")
        expect(cell(page, 0).locator(".cell-note")).to_have_text("Runs on your machine")
