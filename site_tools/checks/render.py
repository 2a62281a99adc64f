"""Render one page as the site would, and say what MkDocs and its plugins warn of.

This finds what lint.py does not look for, such as a name that autorefs cannot resolve.

Examples::

    python -m site_tools.checks.render docs/learn/attention.md
"""

import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config

from site_tools import DOCS, ROOT
from site_tools.command_line import page_parser


class _Warnings(logging.Handler):
    """Collects what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def problems(pages: Sequence[Path]) -> list[str]:
    """What is logged when MkDocs builds these pages, as `mkdocs serve` builds those that are asked for."""
    warnings, logger = _Warnings(), logging.getLogger("mkdocs")
    logger.addHandler(warnings)
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=folder)
        config.plugins.on_startup(command="serve", dirty=False)
        build(config, serve_url=config.site_url)
        (hooks,) = config["hooks"].values()
        for page in pages:
            hooks.build_asked(
                page.resolve().relative_to(DOCS).with_suffix("").as_posix().removesuffix("index")
            )
    logger.removeHandler(warnings)
    # Who logs a mistake first does not know its page, and the server repeats it with the page.
    return [
        line for line in warnings.lines if not any(other.endswith(f": {line}") for other in warnings.lines)
    ]


def main() -> int:
    """Print what is wrong; the exit status is 1 if anything is."""
    found = problems(page_parser("site_tools.checks.render", __doc__).parse_args().pages)
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
