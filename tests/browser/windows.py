"""Windows of the browser, and what is wrong with the page in one: errors, accessibility, layout."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from site_tools import ROOT

PUBLIC = "https://llmguide.github.io/llmguide/"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP, PHONE = 1280, 390
# Source code in the reference stays folded: it is like all other code, and would double the time.
OPEN = "document.querySelectorAll('details:not(.mkdocstrings-source)').forEach(it => { it.open = true; })"


@contextmanager
def window(browser: Browser, width: int, scheme: str = "light") -> Iterator[BrowserContext]:
    """A browser window; the browser (conftest.py) finds no host but this one."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    yield context
    context.close()


def watch(page: Page) -> list[str]:
    """A list that fills with whatever goes wrong while the page is open."""
    problems: list[str] = []

    def note_foreign(url: str) -> None:
        if urlsplit(url).hostname not in {"127.0.0.1", None}:
            problems.append(f"asks another host: {url}")

    def note_error(line: ConsoleMessage) -> None:
        # Chromium itself asks for an icon of a file that names none, such as robots.txt.
        if line.type == "error" and not line.location["url"].endswith("/favicon.ico"):
            problems.append(f"console: {line.text}")

    page.on("request", lambda request: note_foreign(request.url))
    page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
    page.on("console", note_error)
    return problems


def axe(
    page: Page, rules: Sequence[str] = (), *, without: Sequence[str] = (), within: str = "html"
) -> list[str]:
    """Accessibility violations that axe-core finds by all rules, or some; one line for each element.

    Formulas are left out: axe reads no MathML, and their drawn half is hidden from screen readers.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    context = {"include": [within], "exclude": [".katex"]}
    # axe takes a heading that is a formula for empty; misfits() looks at those.
    left_out = {rule: {"enabled": False} for rule in ("empty-table-header", *without)}
    options = {"resultTypes": ["violations"], "rules": left_out}
    if rules:
        options["runOnly"] = rules
    found = page.evaluate("([context, options]) => axe.run(context, options)", [context, options])
    return [
        f"axe {rule['id']}: {node['html'][:160]}"
        for rule in found["violations"]
        for node in rule["nodes"][:3]
    ]


def misfits(page: Page) -> list[str]:
    """Content that sticks out of the window; figures, formulas and headings that show nothing."""
    return page.evaluate(
        """() => {
          const found = [];
          const extra = document.documentElement.scrollWidth - innerWidth;
          if (extra > 0) found.push(`the page is ${extra} px wider than the window`);
          for (const shape of document.querySelectorAll("figure svg, .katex-html, article img")) {
            shape.getBoundingClientRect(); // lays out what is out of sight, and may still say 0
            const box = shape.getBoundingClientRect();
            if (box.width < 3 || box.height < 3) found.push(`no size: ${shape.outerHTML.slice(0, 120)}`);
          }
          for (const heading of document.querySelectorAll("article th")) {
            if (!heading.textContent.trim()) found.push(`empty heading: ${heading.outerHTML}`);
          }
          return found;
        }"""
    )
