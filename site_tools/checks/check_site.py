"""Check the built site as a browser will meet it: `python -m site_tools.checks.check_site [FOLDER]`.

MkDocs sees links in Markdown only. This reads the HTML and CSS that were built: every link, anchor and file
must exist, nothing may be loaded from another host, images need a text alternative, ids and main headings
must be unique, and the content-security policy must allow what the page brings.
"""

import gzip
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from site_tools import ROOT
from site_tools.built import policy

# The folder that the site is served from; 404.html, which is shown at any depth, has absolute links into it.
BASE = "/llmguide/"
URL_ATTRIBUTES = {"action", "data", "formaction", "href", "poster", "src", "srcset", "xlink:href"}
NAMES_ONLY = {"canonical", "next", "prev"}  # kinds of <link> that name a page and load nothing
CSS_URL = re.compile(r"""url\(\s*["']?([^"')]+)["']?\s*\)|@import\s+["']([^"']+)["']""")


@dataclass
class Page(HTMLParser):
    """What one HTML page holds, and what is wrong with the page by itself."""

    text: str
    ids: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._seen: Counter[str] = Counter()
        self._headings = 0
        self.feed(self.text)
        self.ids = set(self._seen)
        self.problems += [f"id {name!r} stands {n} times" for name, n in self._seen.items() if n > 1]
        if self._headings != 1:
            self.problems.append(f"{self._headings} main headings (h1) instead of 1")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, links and loaded files of one element."""
        values = {name: value or "" for name, value in attrs}
        self._headings += tag == "h1"
        if "id" in values:
            self._seen[values["id"]] += 1
        if tag == "img" and not values.get("alt"):
            self.problems.append(f"image without alt: {values.get('src')}")
        if (
            tag == "svg"
            and values.get("role") == "img"
            and not (values.keys() & {"aria-label", "aria-labelledby"})
        ):
            self.problems.append("svg with role=img and no aria-label")
        names_only = tag == "link" and values.get("rel") in NAMES_ONLY
        kind = "a" if "alternate" in values.get("rel", "").split() else tag  # must exist, and is not loaded
        for name in URL_ATTRIBUTES & values.keys():
            self._note(kind, values[name], names_only=names_only)
        self.loads.update(css_urls(values.get("style", "")))

    def _note(self, tag: str, url: str, *, names_only: bool) -> None:
        if tag == "a" or url.startswith("#"):
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
    target = target.resolve()
    return target / "index.html" if target.is_dir() else target


def weights(site: Path) -> dict[str, int]:
    """Bytes of each page with the styles, scripts and images that it names, each compressed by gzip."""
    result = {}
    for path in sorted(site.rglob("*.html")):
        loads = {
            local_file(site, path, urlsplit(url).path) for url in page_at(path).loads if "://" not in url
        }
        result[path.relative_to(site).as_posix()] = sum(
            compressed(file) for file in {path, *loads} if file.is_file()
        )
    return result


@cache
def compressed(path: Path) -> int:
    """Size of a file as a web server sends it."""
    return len(gzip.compress(path.read_bytes(), mtime=0))


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
