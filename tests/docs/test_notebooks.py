"""Each page with cells as a notebook: valid, complete, and with the helpers that its cells call."""

import re
import sys
import types
import urllib.request

import nbformat
import pytest
from site_tools import DOCS, page_paths
from site_tools.built.plain_markdown import config
from site_tools.cells.notebooks import EXTRAS, FOLDER, REPOSITORY, link, notebook
from site_tools.markdown.cells import cells_of

PAGE = """---
title: A page
description: What the page is about.
---

# A page

See [attention](attention.md#the-formula), worth {{ 3 = 1 + 2 }}.

```{.python .run}
print("a")
2
```

```{.text .output}
a
2
```

```{.python .run .raises}
raise ValueError("too large")
```

```{.text .output}
ValueError: too large
```

```{.python .table}
table([["x", 1]], ["Name", "Number"], caption="Numbers.")
```

<!-- output -->

| Name | Number |
| :-- | --: |
| x | 1 |

Table: Numbers.

<!-- /output -->

??? question "Try"

    ```{.python .run}
    3
    ```

    ```{.text .output}
    3
    ```

    The end.
"""


@pytest.fixture(scope="module")
def made() -> dict:
    result = notebook(PAGE, "learn/page.md")
    assert result is not None
    return result


def test_the_first_cell_installs_the_package(made: dict) -> None:
    assert made["cells"][0]["source"] == f'%pip install --quiet "llmguide @ {REPOSITORY}"'


def test_text_is_that_of_the_twin_with_links_to_the_site(made: dict) -> None:
    text = made["cells"][1]["source"]
    assert text.startswith("# A page")
    assert "[attention](https://llmguide.github.io/llmguide/learn/attention/#the-formula), worth 3." in text


def test_cells_bring_their_stored_outputs(made: dict) -> None:
    cells = {cell["source"]: cell for cell in made["cells"]}
    assert cells['print("a")\n2']["outputs"] == [
        {"output_type": "stream", "name": "stdout", "text": "a\n2\n"}
    ]
    raising = cells['raise ValueError("too large")']
    assert raising["metadata"] == {"tags": ["raises-exception"]}
    assert [(out["ename"], out["evalue"]) for out in raising["outputs"]] == [("ValueError", "too large")]
    (table,) = cells['table([["x", 1]], ["Name", "Number"], caption="Numbers.")']["outputs"]
    assert table["data"]["text/markdown"].startswith("| Name | Number |")
    assert cells["3"]["outputs"][0]["text"] == "3\n"
    assert "The end." in made["cells"][-1]["source"]


def test_a_page_without_cells_has_no_notebook() -> None:
    assert notebook("---\ndescription: Words.\n---\n\n# Words\n", "words.md") is None


@pytest.mark.parametrize("path", page_paths(), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_notebook_is_valid_and_has_every_cell(path) -> None:
    source = path.read_text(encoding="utf-8")
    cells = cells_of(source)
    result = notebook(source, path.relative_to(DOCS).as_posix())
    assert (result is None) == (not cells)
    if result is None:
        return
    nbformat.validate(result)
    code = [cell for cell in result["cells"] if cell["cell_type"] == "code"]
    assert [cell["source"] for cell in code if "jupyter" not in cell["metadata"]] == [
        cell.code for cell in cells
    ]
    assert "@@" not in "".join(cell["source"] for cell in result["cells"] if cell["cell_type"] == "markdown")


def test_the_helpers_work_without_the_guide(made: dict, tmp_path, monkeypatch) -> None:
    """Runs the cells that write and import the helpers, in an empty folder, with a display that collects."""
    shown: list = []
    display = types.ModuleType("IPython.display")
    display.Markdown, display.SVG, display.display = str, str, shown.append
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    for name in [name for name in sys.modules if name.partition(".")[0] == "site_tools"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for cell in made["cells"]:
        if cell["cell_type"] != "code" or cell["source"].startswith(("%pip", "raise")):
            continue
        writes = re.match(r"%%writefile (\S+)\n", cell["source"])
        if writes:
            (tmp_path / writes[1]).write_text(cell["source"][writes.end() :], encoding="utf-8")
        else:
            exec(cell["source"], names)
    assert shown == ["| Name | Number |\n| :-- | --: |\n| x | 1 |\n\nTable: Numbers.\n"]
    assert sys.modules["site_tools"].__file__.startswith(str(tmp_path / FOLDER))


def test_a_page_that_loads_the_small_model_fetches_it(tmp_path, monkeypatch) -> None:
    cell = "```{.python .table}\nfrom site_tools.export_model import MODEL\n```\n"
    result = notebook(
        f"---\ndescription: d\n---\n\n# P\n\n{cell}\n<!-- output -->\n\n<!-- /output -->\n", "learn/page.md"
    )
    assert result is not None
    sources = [cell["source"] for cell in result["cells"]]
    assert "llmguide[cli]" in sources[0]
    assert any(source.startswith(f"%%writefile {FOLDER}/site_tools/export_model.py\n") for source in sources)
    fetched = {}
    monkeypatch.setattr(urllib.request, "urlretrieve", lambda url, path: fetched.update({path: url}))
    monkeypatch.chdir(tmp_path)
    exec("import os\n" + next(source for source in sources if "urlretrieve" in source), {})
    names = ["docs/assets/model/model.json", "docs/assets/model/weights.bin"]
    assert fetched == {f"{FOLDER}/{name}": name.replace("docs/", config()["site_url"]) for name in names}
    assert all((DOCS.parent / name).is_file() for name in names)


def test_extras_exist() -> None:
    import tomllib  # noqa: PLC0415

    from site_tools import ROOT  # noqa: PLC0415 (the test above takes the package out of sys.modules for a while)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS.values()) <= project["optional-dependencies"].keys()


def test_a_page_links_to_its_notebook_once() -> None:
    html = link("<h1>Title</h1><p>Text</p>", "learn/page.md")
    assert 'href="../page.ipynb" download' in html
    assert "/blob/notebooks/learn/page.ipynb" in html
    assert link(html, "learn/page.md") == html
    home = link("<article><h1>Title</h1><p>Lead</p></article>", "index.md")
    assert home.index("Lead") < home.index("notebook-links") < home.index("</article>")
