"""What is noticed when a cell does not give its stored output in the tab, or its fence is wrong about it.

`make test` has checked the pages themselves (site_tools/cells/check_in_tab.py).
"""

import pytest
from site_tools import CACHE, DOCS
from site_tools.cells.check_in_tab import complaints, measure, result_path


@pytest.fixture
def page(tmp_path):
    """Writes a page under docs/, where pages must lie; removes it again."""
    path = DOCS / f"{tmp_path.name}.md"

    def written(*cells):
        path.write_text("\n\n".join(cells) + "\n", encoding="utf-8")
        return path

    yield written
    path.unlink(missing_ok=True)
    result_path(path).unlink(missing_ok=True)


def cell(code, output="", header=".run"):
    stored = f"\n\n```{{.text .output}}\n{output}\n```" if output else ""
    return f"```{{.python {header}}}\n{code}\n```{stored}"


def test_cell_that_agrees_is_measured(page):
    path = page(cell("1 + 1", "2"), cell("import torch\ntorch.ones(2).sum()", "tensor(2.)"))
    assert complaints([path]) == []
    core, torch = measure(path)
    assert [core["line"], core["needs"], core["difference"]] == [2, "core", ""]
    assert [torch["line"], torch["needs"]] == [10, "torch"]
    assert core["seconds_tab"] < 5
    assert core["seconds"] is None  # the page has had no run with PyTorch


def test_cell_that_differs_is_noticed(page):
    (complaint,) = complaints([page(cell("1 + 1", "3"))])
    assert "differs in the tab" in complaint
    assert "+2" in complaint


LACKING = {
    "import transformers": "No module named 'transformers'",
    "import lzma": "No module named '_lzma'",
    "import bisect\nopen(bisect.__spec__.origin)": "/lib/python312.zip/bisect.py",
    "import colorsys\nopen(colorsys.__file__)": "/lib/python312.zip/colorsys.py",
    "import subprocess\nsubprocess.run(['true'])": "does not support processes",
    "import torch\ntorch.fft.fft(torch.ones(2))": "torch.fft is not in the in-page subset",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')": "unreachable",
}


def test_what_the_tab_lacks_is_lacking(page):
    found = measure(page(*map(cell, LACKING)))
    for (code, lacking), measured in zip(LACKING.items(), found, strict=True):
        assert lacking in measured["difference"], code


def test_page_that_ends_its_process_is_noticed_and_the_next_one_runs(page):
    path = page(cell("import os\nos._exit(3)"))
    page_of_scores = DOCS / "learn" / "families.md"
    assert complaints([path, page_of_scores]) == [
        f"docs/{path.name}: the process that plays the tab ended with\nstatus 3"
    ]


def test_local_cell_that_would_agree_is_noticed(page):
    (complaint,) = complaints([page(cell("1 + 1", "2", '.run .local reason="needs nothing"'))])
    assert "take .local away" in complaint


def test_local_cell_without_a_reason_is_noticed(page):
    (complaint,) = complaints([page(cell("import transformers", "", ".run .local"))])
    assert "say why" in complaint


def test_names_of_a_local_cell_are_not_there_in_the_tab(page):
    path = page(
        cell("import math\nimport transformers", "", '.run .local reason="needs transformers"'),
        cell("math.pi > 3", "True"),
    )
    (complaint,) = complaints([path])
    assert "name 'math' is not defined" in complaint


def test_figure_with_other_words_is_noticed(page):
    drawing = 'with figure("f", alt="A") as (_, axes):\n    axes.set_title("{}")'
    shown = "\n\n<!-- output -->\n\n![A](assets/figures/{}/f.svg)\n\n<!-- /output -->"
    path = page("x")
    built = DOCS / "assets" / "figures" / path.stem / "f.svg"
    try:
        built.parent.mkdir(parents=True)
        built.write_text("<svg><text>right</text></svg>", encoding="utf-8")
        page(cell(drawing.format("wrong"), header=".figure") + shown.format(path.stem))
        assert "+wrong" in measure(path)[0]["difference"]
        assert built.read_text(encoding="utf-8") == "<svg><text>right</text></svg>"
    finally:
        built.unlink(missing_ok=True)
        built.parent.rmdir()


def test_measurements_are_kept_until_the_page_changes(page):
    path = page(cell("import time\ntime.time() > 0", "True"))
    first = measure(path)
    assert measure(path) == first
    assert result_path(path).parent == CACHE / "tab"
    page(cell("2 + 2", "5"))
    assert measure(path) != first
