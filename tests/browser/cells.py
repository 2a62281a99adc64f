"""What a reader does with a cell: open its page, edit and run it, move on."""

import json

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.host import SITE, Host
from tests.browser.windows import watch

MANIFEST = SITE / "assets" / "vendor" / "runtime.json"
PATIENCE = 300_000  # ms that one cell with all cells above it may take on a busy machine
TORCH = "learn/attention"  # its first cell needs numpy
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
PLAIN = "code/prompting"  # its first three cells need Python alone, and the third prints


def open_page(context: BrowserContext, host: Host, name: str) -> tuple[Page, list[str]]:
    page = context.new_page()
    problems = watch(page)
    page.goto(f"{host.url}{name.removesuffix('index')}")
    page.wait_for_selector(".cell-bar", state="attached")
    return page, problems


# All that a reader has stored, but not what Python's first start took the most time for.
FORGET = """async () => {
  localStorage.clear();
  for (const name of await caches.keys()) if (name !== "llmguide-python") await caches.delete(name);
}"""


class Reader:
    """Opens pages in a window for many tests.

    Each page has a Python of its own. The window keeps what its first start has downloaded and compiled, so
    that a later one takes a third of the time.
    """

    def __init__(self, host: Host, context: BrowserContext) -> None:
        self.host, self.context = host, context
        self._pages: list[Page] = []

    def open(self, name: str) -> tuple[Page, list[str]]:
        """Open a page; the list fills with whatever goes wrong in it."""
        page, problems = open_page(self.context, self.host, name)
        self._pages.append(page)
        return page, problems

    def leave(self) -> None:
        """Close the pages, delete what they have stored of edits and runs, and let the host behave."""
        for page in self._pages:
            page.close()
        self._pages.clear()
        self.host.behave()
        page = self.context.new_page()
        page.goto(f"{self.host.url}robots.txt")
        page.evaluate(FORGET)
        page.close()


def cell(page: Page, number: int) -> Locator:
    return page.locator(f".cell:has([data-cell='{number}'])")


def plain_cell(page: Page) -> Locator:
    """A cell of PLAIN that needs Python alone, prints, and has two cells above it."""
    return cell(page, 3)


def run(page: Page, box: Locator) -> str:
    """Press Run, and wait for what is announced at the end."""
    page.evaluate("document.getElementById('cell-announcer').textContent = ''")
    box.locator(".cell-run").evaluate("button => button.click()")  # also in a folded block
    said = page.locator("#cell-announcer")
    expect(said).not_to_be_empty(timeout=PATIENCE)
    return said.text_content() or ""


def numpy_wheel() -> str:
    """File name of numpy's wheel."""
    steps = json.loads(MANIFEST.read_text(encoding="utf-8"))["steps"]
    return steps["torch"]["wheels"][0]["url"].rpartition("/")[2]


def run_plain(page: Page, code: str, needs: str = "core") -> dict:
    """Run code through backend.js, as widgets and exercises do."""
    return page.evaluate(
        """async ([code, needs]) => {
          const { run } = await import(new URL("../../runtime/backend.js", location).href);
          return run(code, { needs, name: "test" });
        }""",
        [code, needs],
    )


def difference(page: Page, number: int) -> list[str]:
    """Press Run on a cell; what is announced and shown unless that is the stored output."""
    box = cell(page, number)
    has_output = page.evaluate(
        """number => {
          const box = document.querySelector(`[data-cell="${number}"]`).closest(".cell");
          return Boolean(box.querySelector(".output") ?? box.closest("details.how"));
        }""",
        number,
    )
    is_figure = "figure" in (box.locator("[data-cell]").get_attribute("class") or "")
    said = run(page, box)
    silent = (is_figure or not has_output) and "error" not in said and "differs" not in said
    if "failed" not in said and (silent or "equal to the stored output" in said):
        return []
    shown = page.locator(".cell-result .error").last
    return [f"{said}\n{shown.text_content() if shown.count() else ''}"]


def pythons(page: Page) -> list[str]:
    """The workers that run Python; the theme's search has one of its own."""
    return [worker.url for worker in page.workers if worker.url.endswith("runtime/worker.mjs")]


# For a window: notes which workers its pages start, and the kinds of messages that these send.
NOTE_WORKERS = """window.workers = [];
window.heard = [];
window.Worker = class extends Worker {
  constructor(url, options) {
    super(url, options);
    workers.push(`${url}`);
    this.addEventListener("message", ({ data }) => heard.push(data.type));
  }
};"""
# Ends when the page has done what a box that is near makes it do: its observers, an idle moment, an import.
SETTLED = """async box => {
  await new Promise(seen => new IntersectionObserver(seen, { rootMargin: "100% 0px" }).observe(box));
  await new Promise(idle => requestIdleCallback(() => idle()));
  await import(new URL("../../runtime/backend.js", location).href);
  await new Promise(done => setTimeout(done));
  return workers.filter(url => url.endsWith("runtime/worker.mjs"));
}"""


def go_home_and_back(page: Page) -> None:
    """Leave the page and come back by instant navigation; both pages have cells."""
    page.evaluate("window.survives = true")
    page.locator(".md-tabs__link, .md-nav__link").locator("visible=true").filter(
        has_text="Home"
    ).first.click()
    expect(page.locator(".lead")).to_be_visible()
    page.go_back()
    expect(page.locator(".lead")).to_have_count(0)
    page.wait_for_selector(".cell-bar", state="attached")
    assert page.evaluate("window.survives"), "the browser loaded the whole page anew"


def write(page: Page, box: Locator, code: str) -> None:
    """Replace the code of a cell, as a reader would."""
    if box.get_by_role("button", name="Edit").is_visible():
        box.get_by_role("button", name="Edit").click()
    box.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)
