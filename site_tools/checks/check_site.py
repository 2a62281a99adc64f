"""Check the built site as a browser will meet it: `python -m site_tools.checks.check_site [FOLDER]`.

MkDocs sees links in Markdown only. This reads the HTML and CSS that were built: every link, anchor and file
must exist, nothing may be loaded from another host, images need a text alternative, ids and main headings
must be unique, and the content-security policy must allow what the page brings.
"""

import os
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lxml import html
from lxml.html import HtmlElement

from site_tools import ROOT
from site_tools.built import policy
from site_tools.built.served import BASE, compressed

URL_ATTRIBUTES = (
    "//@action|//@data|//@formaction|//@href|//@poster|//@src|//@srcset|//@*[name()='xlink:href']"
)
NAMES_ONLY = {"canonical", "next", "prev"}  # kinds of <link> that name a page and load nothing
CSS_URL = re.compile(r"""url\(\s*["']?([^"')]+)["']?\s*\)|@import\s+["']([^"']+)["']""")


class Page:
    """What one HTML page holds, and what is wrong with the page by itself."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.links: set[str] = set()
        self.loads: set[str] = set()
        tree = html.document_fromstring(text)
        ids = Counter(map(str, tree.xpath("//@id")))
        self.ids = set(ids)
        self.problems = [f"id {name!r} stands {n} times" for name, n in ids.items() if n > 1]
        if (headings := len(tree.xpath("//h1"))) != 1:
            self.problems.append(f"{headings} main headings (h1) instead of 1")
        for image in tree.xpath("//img[not(@alt) or @alt='']"):
            self.problems.append(f"image without alt: {image.get('src')}")
        if tree.xpath("//svg[@role='img' and not(@aria-label) and not(@aria-labelledby)]"):
            self.problems.append("svg with role=img and no aria-label")
        for url in tree.xpath(URL_ATTRIBUTES):
            self._note(url.getparent(), str(url))
        self.loads.update(url for style in tree.xpath("//@style") for url in css_urls(style))

    def _note(self, element: HtmlElement, url: str) -> None:
        names_only = element.tag == "link" and element.get("rel") in NAMES_ONLY
        must_only_exist = element.tag == "a" or "alternate" in element.get("rel", "").split()
        if must_only_exist or url.startswith("#"):
            self.links.add(url)
        elif not names_only:
            self.loads.add(url)


def css_urls(css: str) -> set[str]:
    """Every file that a stylesheet loads, embedded data left out."""
    urls = {first or second for first, second in CSS_URL.findall(css)}
    return {url for url in urls if not url.startswith(("data:", "#"))}


@cache
def page_at(path: Path) -> Page:
    """The page in a file, read once."""
    return Page(path.read_text(encoding="utf-8"))


def problems(site: Path) -> list[str]:
    """Everything wrong with the site in a folder, one line each."""
    found = []
    offline = (site / "search/search_index.js").is_file()
    for path in sorted(site.rglob("*.html")):
        page = page_at(path)
        wrong = [*page.problems, *policy.problems(page.text, offline=offline)] + [
            problem
            for url in sorted(page.links | page.loads)
            if (problem := wrong_url(site, path, url, loaded=url in page.loads))
        ]
        found += [f"{path.relative_to(site)}: {problem}" for problem in wrong]
    for path in sorted(site.rglob("*.css")):
        urls = sorted(css_urls(path.read_text(encoding="utf-8")))
        wrong = [problem for url in urls if (problem := wrong_url(site, path, url, loaded=True))]
        found += [f"{path.relative_to(site)}: {problem}" for problem in wrong]
    return found


def wrong_url(site: Path, origin: Path, url: str, *, loaded: bool) -> str | None:
    """What is wrong with a URL that stands in the file ``origin``, or None."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return f"loads from another host: {url}" if loaded and parts.scheme != "data" else None
    target = local_file(site, origin, parts.path)
    if not target.is_file():
        return f"no such file: {url}"
    fragment = unquote(parts.fragment)
    if fragment and target.suffix == ".html" and fragment not in page_at(target).ids:
        return f"no such anchor: {url}"
    return None


def local_file(site: Path, origin: Path, url_path: str) -> Path:
    """The file that a URL path names, seen from the file it stands in."""
    path = unquote(url_path)
    if not path:
        return origin
    target = site / path.removeprefix(BASE) if path.startswith("/") else origin.parent / path
    target = Path(os.path.normpath(target))
    return target / "index.html" if is_folder(target) else target


@cache
def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path; asked of the same paths by every page."""
    return path.is_dir()


def weights(site: Path) -> dict[str, int]:
    """Bytes of each page with the styles, scripts and images that it names, each compressed by gzip."""
    size_of, result = cache(compressed), {}
    for path in sorted(site.rglob("*.html")):
        loads = {
            local_file(site, path, urlsplit(url).path) for url in page_at(path).loads if "://" not in url
        }
        result[path.relative_to(site).as_posix()] = sum(
            size_of(file) for file in {path, *loads} if file.is_file()
        )
    return result


def main(site: Path) -> int:
    """Print what is wrong and what the pages weigh; the exit status is 1 if anything is wrong."""
    site = site.resolve()
    found = problems(site)
    print("\n".join(found))
    sizes = sorted(weights(site).items(), key=lambda item: -item[1])
    print(f"{len(sizes)} pages, {len(found)} problems; the heaviest, in gzipped kB:")
    print("\n".join(f"{size / 1000:8.1f}  {name}" for name, size in sizes[:5]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"))
