"""Markdown and drawings: printed by a program, rendered in a notebook."""

import sys
from types import SimpleNamespace

import pytest

from llmguide.pages import cite, figure, table


@pytest.fixture
def notebook(monkeypatch) -> list[tuple[str, str]]:
    """What a notebook displays, as pairs of a kind and a text."""
    shown: list[tuple[str, str]] = []
    shell = SimpleNamespace(kernel="a kernel")
    display = SimpleNamespace(
        Markdown=lambda text: ("Markdown", text), SVG=lambda text: ("SVG", text), display=shown.append
    )
    ipython = SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0))  # matplotlib asks for it
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


ROW = ["**GPT-3**", cite("brown2020", "table 2.1")]


def test_a_table_is_printed_by_a_program_that_has_imported_ipython(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    table([ROW], ["Model", "Source"], caption="T")
    assert "| **GPT-3** | [@brown2020, table 2.1] |" in capsys.readouterr().out


def test_a_table_of_a_notebook_links_its_citations_to_the_bibliography(notebook, capsys) -> None:
    table([ROW], ["Model", "Source"], caption="T")
    link = "[brown2020](https://llmguide.github.io/llmguide/bibliography/#brown2020), table 2.1"
    lines = ["| Model | Source |", "| :-- | :-- |", f"| **GPT-3** | {link} |", "", "Table: T"]
    assert notebook == [("Markdown", "\n".join(lines))]
    assert not capsys.readouterr().out


def test_a_figure_of_a_notebook_is_displayed_with_its_caption_and_not_saved(
    notebook, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with figure("w", alt="A line", caption="Rises.") as (_, axes):
        axes.plot([0, 1], [0, 1])
    (kind, svg), caption = notebook
    assert kind == "SVG"
    assert 'aria-label="A line"' in svg
    assert caption == ("Markdown", "Rises.")
    assert not list(tmp_path.iterdir())
