"""Leave out of the built site what no reader gets anything from; a long chapter loses 10 kB, compressed.

- Highlighting puts every name, operator and bracket into an element of its own. Our palettes give them the
  color of the text. What follows its like needs no element of its own either.
- Before each block of code stands an empty element, for a browser that is no more. Instead, Tab reaches the
  block until a script sees that it does not scroll.
- Each formula carries its TeX, for programs. They have the Markdown twin.
- The theme's templates leave lines of blanks, which count for one blank outside code.
- Every page names the styles of the reference, which only its pages use.
- The theme watches every entry of a page's contents while the reader scrolls. A phone feels some hundred: so
  long a list shows its outermost level alone.
- Cells of a table say that they are aligned to the left, as the theme's style does.
- Our scripts and styles are written for people; esbuild writes them for machines.
"""

import re
from pathlib import Path

from site_tools import write
from site_tools.npm import npm

MINIFY = ("--minify", "--log-level=warning")
FOLDERS = ("css", "js", "runtime")  # below docs/
_PLAIN = re.compile(r'<span class="(?:kc|na?|ow?|p|sa|w)">([^<]*)</span>')  # names, operators, punctuation
_NEIGHBORS = re.compile(r'(<span class="[a-z]\w?">)[^<]*</span>(?:\1[^<]*</span>)+')  # of the same kind
_CODE = re.compile(r"(<pre[^>]*>)(?:<span></span>)?<code>")
_TEX = re.compile(r"<annotation [^>]*>[^<]*</annotation>|</?semantics>")
_REFERENCE = re.compile(r'<link rel="stylesheet" href="[^"]*_mkdocstrings\.css">')
_ENTRY = re.compile(r'<a href="#[^"]*" class="md-nav__link">')  # of the contents, which stand in a page twice
_LOWER_LEVEL = re.compile(r'<nav class="md-nav" aria-label="[^"]*">(?:(?!<nav).)*?</nav>', re.DOTALL)
MOST_ENTRIES = 200
_LEFT = re.compile(r'(<t[dh][^>]*?) style="text-align: left;"')
_EXACT = re.compile(r"(<(pre|script|textarea)\b.*?</\2>)", re.DOTALL)  # where every blank counts


def slim(html: str) -> str:
    r"""A page without the marks, the TeX and the blanks.

    >>> slim('<pre><span class="k">def</span> <span class="n">x</span>\n\n</pre> \n  \n <p>')
    '<pre><span class="k">def</span> x\n\n</pre>\n<p>'
    >>> slim('<pre><span></span><code><span class="s2">"</span><span class="s2">a"</span></code></pre>')
    '<pre><code tabindex="0"><span class="s2">"a"</span></code></pre>'
    >>> slim('<th scope="row" style="text-align: left;">a</th><td style="text-align: right;">1</td>')
    '<th scope="row">a</th><td style="text-align: right;">1</td>'
    """
    if 'class="doc ' not in html:
        html = _REFERENCE.sub("", html)
    if len(_ENTRY.findall(html)) > MOST_ENTRIES:
        while _LOWER_LEVEL.search(html):  # from the innermost
            html = _LOWER_LEVEL.sub("", html)
    html = _NEIGHBORS.sub(lambda found: found[0].replace(f"</span>{found[1]}", ""), _PLAIN.sub(r"\1", html))
    html = _LEFT.sub(r"\1", _CODE.sub(r'\1<code tabindex="0">', html))
    parts = _EXACT.split(_TEX.sub("", html))
    # of three parts: what lies between, what is exact, and the name of its tag
    return "".join(
        re.sub(r"\s*\n\s*", "\n", part) if i % 3 == 0 else part for i, part in enumerate(parts) if i % 3 < 2
    )


def minified(path: Path) -> bytes:
    """A script or a style as short as it goes; modules still import each other by name."""
    return npm("esbuild", *MINIFY, str(path))


def minify(site: Path) -> None:
    """Rewrite our scripts and styles as short as they go."""
    paths = [
        path
        for folder in FOLDERS
        for path in sorted((site / folder).rglob("*"))
        if path.suffix in {".css", ".js"}
    ]
    folders = ["--allow-overwrite", f"--outdir={site}", f"--outbase={site}"]
    npm("esbuild", *MINIFY, *map(str, paths), *folders)


def main(site: Path) -> None:
    """Slim every page, and our scripts and styles."""
    for path in sorted(site.rglob("*.html")):
        write(path, slim(path.read_text(encoding="utf-8")))
    minify(site.resolve())
