"""Each page with cells as a notebook: valid, complete, and with nothing hidden."""

import ast
import tomllib
from symtable import symtable

import nbformat
import pytest
from site_tools import DOCS, ROOT, page_paths
from site_tools.cells.notebooks import EXTRAS, REPOSITORY, link, notebook
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


def _assigned(source: str) -> list[str]:
    """The names that a cell leaves in the notebook; none if it shows a syntax error."""
    try:
        symbols = symtable(source, "cell", "exec").get_symbols()
    except SyntaxError:
        return []
    return [symbol.get_name() for symbol in symbols if symbol.is_assigned()]


@pytest.mark.parametrize("path", page_paths(), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_notebook_is_valid_and_has_every_cell(path) -> None:
    source = path.read_text(encoding="utf-8")
    cells = cells_of(source)
    result = notebook(source, path.relative_to(DOCS).as_posix())
    assert (result is None) == (not cells)
    if result is None:
        return
    nbformat.validate(result)
    install, *code = [cell["source"] for cell in result["cells"] if cell["cell_type"] == "code"]
    assert install.startswith("%pip install ")
    own = [cell.code for cell in cells]
    assert code[-len(own) :] == own
    imports = "".join(code[: -len(own)])
    assert not imports or imports.startswith("from llmguide.pages import ")
    assert not [cell for cell in result["cells"] if "jupyter" in cell["metadata"]]  # would be hidden
    assert "site_tools" not in "".join(own)
    imported = {alias.name for node in ast.parse(imports).body for alias in node.names}
    assigned = {name for source in own for name in _assigned(source)}
    assert not imported & assigned
    assert "@@" not in "".join(cell["source"] for cell in result["cells"] if cell["cell_type"] == "markdown")


def test_cells_import_what_they_call_and_nothing_else(made: dict) -> None:
    sources = [cell["source"] for cell in made["cells"]]
    assert sources[2] == "from llmguide.pages import table"
    assert "llmguide.pages" not in "".join(sources[3:])


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS.values()) <= project["optional-dependencies"].keys()


def test_a_page_links_to_its_notebook_once() -> None:
    html = link("<h1>Title</h1><p>Text</p>", "learn/page.md")
    assert 'href="../page.ipynb" download' in html
    assert "/blob/notebooks/learn/page.ipynb" in html
    assert link(html, "learn/page.md") == html
    home = link("<article><h1>Title</h1><p>Lead</p></article>", "index.md")
    assert home.index("Lead") < home.index("notebook-links") < home.index("</article>")
