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
from pathlib import Path

from lxml import html

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


class _Scripts:
    """Inline scripts, event handlers and the policy of a page."""

    def __init__(self, page: str) -> None:
        tree = html.document_fromstring(page)
        self.inline = [
            script.text or ""
            for script in tree.iter("script")
            if "src" not in script.attrib and script.get("type", "") in _SCRIPT_TYPES
        ]
        self.handlers = [
            f"{attribute.attrname} of <{attribute.getparent().tag}>"
            for attribute in tree.xpath("//@*[starts-with(name(), 'on')]")
        ]
        self.handlers += map(str, tree.xpath("//@*[starts-with(., 'javascript:')]"))
        self.policy = next(iter(tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")), None)


def source(script: str) -> str:
    """The source expression that allows an inline script.

    >>> source("alert(1)")
    "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def policy(pages: list[str]) -> str:
    """The policy under which all these pages work."""
    scripts = {script for page in pages for script in _Scripts(page).inline}
    return _POLICY.format(inline=" ".join(sorted(map(source, scripts))))


def with_policy(page: str, text: str) -> str:
    """The page with this policy, which comes before all that it governs."""
    return _OLD.sub("", page).replace(_CHARSET, f"{_CHARSET}{_META.format(text)}", 1)


def problems(page: str, *, offline: bool = False) -> list[str]:
    """What the policy of a page would block, or should, one line each."""
    found = _Scripts(page)
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
    for path, page in pages.items():
        write(path, with_policy(page, text))
