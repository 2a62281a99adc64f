"""``@claims weight-tying gpt2-117m`` links to claims that the section discusses, and that do not hold up."""

import re

from site_tools.content.claims import LINE, list_of_links
from site_tools.markdown import replacing


def _listed(match: re.Match[str]) -> str:
    links = list_of_links(match["keys"], lambda entry: f"[“{entry.claim}”][{entry.anchor}]")
    return f"{links}\n{{: .claims }}"


# before fences are read
makeExtension = replacing("claims", LINE, _listed, 29.2)
