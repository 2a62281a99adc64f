"""The command lines of the programs of this folder."""

import argparse
from pathlib import Path


def argument_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for ``python -m module``, whose help shows the description as it is written."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def page_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """An `argument_parser` that takes paths of pages."""
    parser = argument_parser(module, description)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="pages; all of them by default")
    return parser
