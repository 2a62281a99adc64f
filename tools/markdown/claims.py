"""``@claims weight-tying gpt2-117m`` links to claims that the section discusses, and that do not hold up."""

from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from tools.claims import LINE, list_of_links
from tools.fences import map_prose


class ClaimsExtension(Extension):
    """Registers the preprocessor."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the preprocessor before fences are read."""
        md.preprocessors.register(_Claims(md), "claims", 29.2)


class _Claims(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        text = "\n".join(lines)
        return map_prose(
            text,
            lambda prose: LINE.sub(
                lambda match: (
                    list_of_links(match["keys"], lambda entry: f"[“{entry.claim}”][{entry.anchor}]")
                    + "\n{: .claims }"
                ),
                prose,
            ),
        ).split("\n")


def makeExtension(**options: Any) -> ClaimsExtension:
    """Entry point that Python-Markdown looks for."""
    return ClaimsExtension(**options)
