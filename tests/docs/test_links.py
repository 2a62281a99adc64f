"""Links that lead out of the guide: gathered here, and asked by hand whether they still answer."""

import re
import socket
import urllib.error
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from site_tools import DATA, ROOT, page_paths
from site_tools.fences import prose_lines

from llmguide.pages.facts import NAME as FACTS

LINK = re.compile(r"https?://[^\s)\"'<>}`\]|]+")
OWN = ("https://llmguide.github.io/", "http://localhost", "http://127.0.0.1")  # not out there, or not yet
GONE = (404, 410)


def links() -> list[str]:
    """Every address in the prose of a page, in the bibliography and among the facts."""
    texts = ["\n".join(prose_lines(path.read_text(encoding="utf-8"))) for path in page_paths()]
    texts += [path.read_text(encoding="utf-8") for path in (DATA / "references.bib", ROOT / FACTS)]
    found = {link.rstrip(".,;:*") for text in texts for link in LINK.findall(text)}
    return sorted(link for link in found if not link.startswith(OWN))


def status(link: str) -> int | str:
    """What a link answers, or why it does not."""
    request = urllib.request.Request(link, headers={"User-Agent": "Mozilla/5.0 (llmguide's check of links)"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return str(error)


def test_links_into_the_repository_lead_to_its_files() -> None:
    inside = re.compile(r"https://github\.com/llmguide/llmguide/(?:tree|blob)/main/([^#]+)")
    paths = [match[1] for link in links() if (match := inside.match(link))]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_links_are_found_in_prose_and_in_the_bibliography() -> None:
    found = links()
    assert "https://github.com/karpathy/nanochat" in found  # of a reference
    assert "https://docs.jax.dev/" in found  # of a page
    assert all("." in link.split("/")[2] for link in found)


@pytest.mark.slow
@pytest.mark.network
def test_no_link_is_dead() -> None:
    try:
        socket.create_connection(("export.arxiv.org", 443), timeout=10).close()
    except OSError as error:
        warnings.warn(f"links were NOT checked, there is no network: {error}", stacklevel=1)
        pytest.skip(f"no network: {error}")
    with ThreadPoolExecutor(16) as pool:
        answers = dict(zip(links(), pool.map(status, links()), strict=True))
    unclear = {link: answer for link, answer in answers.items() if answer not in (200, *GONE)}
    if unclear:  # many hosts turn programs away
        warnings.warn(f"look at these by hand: {unclear}", stacklevel=1)
    assert not {link: answer for link, answer in answers.items() if answer in GONE}
