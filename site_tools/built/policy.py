"""Write a content-security policy into every page of the built site.

A page then runs only the site's own script files and the inline scripts that it was built with, which the
policy names by their hashes. It runs no event handler in an attribute, such as one in a figure that a cell
draws, and asks no other host for anything. All pages have the same policy: instant navigation shows one page
after another in the same document, where the policy of the first page stays in force.

A worker does not inherit the policy of its page, so code of a cell may fetch what it likes.
"""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from site_tools import write

# 'wasm-unsafe-eval' starts WebAssembly, and evaluates no text. Formulas, figures and the editor carry styles.
# The theme's icons and a reader's plots are data: images. A worker asks a blob: whether to stop; it has this
# policy only if the host sends it as a header too.
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {inline}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'"
)
# The search of a copy that is read from disk writes a script for each page. Cells do not run there.
OFFLINE = _POLICY.format(inline="'unsafe-inline'")
_META = '<meta http-equiv="Content-Security-Policy" content="{}">'
_CHARSET = '<meta charset="utf-8">'  # which browsers look for in the first kilobyte
_OLD = re.compile(_META.format('[^"]*'))
_SCRIPT_TYPES = {"", "module", "text/javascript"}  # any other is data


class _Scripts(HTMLParser):
    """Inline scripts, event handlers and the policy of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.handlers: list[str] = []
        self.policy: str | None = None
        self._is_inline = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.handlers += [f"{name} of <{tag}>" for name in values if name.startswith("on")]
        self.handlers += [value for value in values.values() if value.startswith("javascript:")]
        if tag == "meta" and values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values.get("content")
        self._is_inline = tag == "script" and "src" not in values and values.get("type", "") in _SCRIPT_TYPES
        if self._is_inline:
            self.inline.append("")

    def handle_data(self, data: str) -> None:
        if self._is_inline:
            self.inline[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._is_inline = False


def source(script: str) -> str:
    """The source expression that allows an inline script.

    >>> source("alert(1)")
    "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def policy(pages: list[str]) -> str:
    """The policy under which all these pages work."""
    scripts = {script for html in pages for script in _Scripts(html).inline}
    return _POLICY.format(inline=" ".join(sorted(map(source, scripts))))


def with_policy(html: str, text: str) -> str:
    """The page with this policy, which comes before all that it governs."""
    return _OLD.sub("", html).replace(_CHARSET, f"{_CHARSET}{_META.format(text)}", 1)


def problems(html: str, *, offline: bool = False) -> list[str]:
    """What the policy of a page would block, or should, one line each."""
    found = _Scripts(html)
    if found.policy is None:
        return ["no content-security policy"]
    if found.policy == OFFLINE:
        return [] if offline else ["the policy allows every inline script"]
    blocked = [script for script in found.inline if source(script) not in found.policy]
    return [f"the policy blocks a script: {script[:60]}" for script in blocked] + [
        f"the policy blocks {handler}" for handler in found.handlers
    ]


def main(site: Path, *, offline: bool = False) -> None:
    """Write the policy of the pages in a folder."""
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    text = OFFLINE if offline else policy(list(pages.values()))
    for path, html in pages.items():
        write(path, with_policy(html, text))
