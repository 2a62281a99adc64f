"""``@claims weight-tying gpt2-117m`` links to claims that the section discusses, and that do not hold up."""

import re

from site_tools.content.claims import LINE, list_of_links
from site_tools.links import relative
from site_tools.markdown import replacing


def _listed(match: re.Match[str]) -> str:
    links = list_of_links(match["keys"], lambda entry: f"[“{entry.claim}”][{entry.anchor}]")
    return f"{links}\n{{: .claims }}"


def written_out(prose: str, page: str, source: str) -> str:
    """Prose with links to the claims on their page."""
    address = relative("claims.md", page)
    return LINE.sub(
        lambda match: list_of_links(
            match["keys"], lambda entry: f"[“{entry.claim}”]({address}#{entry.anchor})"
        ),
        prose,
    )


# before fences are read
makeExtension = replacing("claims", LINE, _listed, 29.2)
