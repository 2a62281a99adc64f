"""The note on a page's last run: there if the run is of this very page, absent otherwise."""

import json

from markdown import markdown
from site_tools.cells import run_pages
from site_tools.markdown.verified import note

PAGE = "# T\n\n```{.python .run}\n1 + 1\n```\n\n```{.text .output}\n2\n```\n"
RECORD = {
    "cells": 1,
    "seconds": 0.1,
    "peak_mb": 1,
    "torch": "2.13.0",
    "llmguide": "0.1.0",
    "python": "3.11.2",
    "date": "2026-11-24",
    "commit": "0123456789",
    "code": "abcdef0123456789",
}


def html(text, tmp_path, monkeypatch):
    """The page as the build makes it, after a run of PAGE."""
    monkeypatch.setattr(run_pages, "CACHE", tmp_path)
    (tmp_path / "pages").mkdir(exist_ok=True)
    record = RECORD | {
        "code": run_pages.code_hash(PAGE, "docs/t.md"),
        "page": run_pages.page_hash(PAGE, "docs/t.md"),
    }
    (tmp_path / "pages" / "t.json").write_text(json.dumps(record))
    return markdown(
        text, extensions=["pymdownx.details", "pymdownx.superfences", "site_tools.markdown.verified"]
    )


def test_the_note_says_what_ran(tmp_path, monkeypatch):
    page = html(PAGE, tmp_path, monkeypatch)
    assert '<details class="verified">' in page
    for part in (
        "2026-11-24",
        "1 code cells",
        "torch 2.13.0",
        "llmguide 0.1.0",
        "0123456789",
        run_pages.code_hash(PAGE, "docs/t.md")[:12],
    ):
        assert part in page


def test_prose_may_change(tmp_path, monkeypatch):
    assert "verified" in html(PAGE.replace("# T", "# Title\n\nMore."), tmp_path, monkeypatch)


def test_a_changed_cell_or_output_has_no_note(tmp_path, monkeypatch):
    assert "verified" not in html(PAGE.replace("1 + 1", "1 + 2"), tmp_path, monkeypatch)
    assert "verified" not in html(PAGE.replace("\n2\n", "\n3\n"), tmp_path, monkeypatch)


def test_a_page_without_code_has_no_note(tmp_path, monkeypatch):
    assert html("# T\n\nText.\n", tmp_path, monkeypatch) == "<h1>T</h1>\n<p>Text.</p>"


def test_it_needs_no_git():
    assert "commit" not in " ".join(note(RECORD | {"commit": ""}))
    assert "at commit 0123 with uncommitted changes" in " ".join(note(RECORD | {"commit": "0123+"}))
