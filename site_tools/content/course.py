"""What a reader can do in each chapter, for the pages that show progress: docs/assets/vendor/course.json."""

import json
from typing import Any

from llmguide.exercises.ladder import EXERCISES as LADDER
from site_tools import DOCS, write
from site_tools.built.plain_markdown import sections
from site_tools.content import quiz, quiz_pages
from site_tools.content.exercises import PAGE as EXERCISES
from site_tools.content.exercises import placed
from site_tools.links import heading_at
from site_tools.markdown.cells import cells_of
from site_tools.tab.vendor import VENDOR

FILE = VENDOR / "course.json"
_TAUGHT = ("Learn", "Projects")  # sections of the navigation


def course() -> list[dict[str, Any]]:
    """For each chapter, but no lab: ``page``, ``title``, how many ``cells`` run in the tab, and ``items``.

    ``items`` maps the id of each question that the page answers, and of each of its exercises, to the page
    that has it in all variants. Pages are named as in addresses.
    """
    exercises = graded()
    pages = [page for section in _TAUGHT for page in sections()[section] if page.endswith(".md")]
    return [
        {
            "page": address(page),
            "title": heading_at(page),
            "cells": sum("local" not in cell.classes for cell in cells_of((DOCS / page).read_text("utf-8"))),
            "items": {
                **_questions(page),
                **{f"exercise-{name}": address(page) for name in exercises.get(page, [])},
            },
        }
        for page in [*pages, EXERCISES.name]
    ]


def graded() -> dict[str, list[str]]:
    """For each page the names of its exercises, those of the ladder among them."""
    return {**placed(), EXERCISES.name: [found.name for found in LADDER]}


def _questions(page: str) -> dict[str, str]:
    return {
        question.id: address(quiz_pages.part_of(chapter.name))
        for chapter in quiz.chapters()
        for question in chapter.questions
        if question.see.partition("#")[0] == page
    }


def address(page: str) -> str:
    """A page below docs/ as its address names it.

    >>> address("learn/attention.md"), address("projects/index.md")
    ('learn/attention', 'projects')
    """
    return page.removesuffix(".md").removesuffix("/index")


def main() -> None:
    """Write the file."""
    write(FILE, json.dumps(course(), ensure_ascii=False) + "\n")
