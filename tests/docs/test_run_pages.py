"""The runner notices when a page does not say what its code prints. `make test` has run it on all pages."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from site_tools import DOCS, RUNTIME, page_paths, slots
from site_tools.agreement import agree
from site_tools.cells import labs, run_pages
from site_tools.cells.run_pages import is_current
from site_tools.execution import PageError, located
from site_tools.page_figures import figure
from site_tools.slots import run
from tests.runtime.node import node


def test_every_stored_figure_is_on_a_page():
    folder = DOCS / "assets" / "figures"
    pages = "\n".join(path.read_text(encoding="utf-8") for path in [*labs.paths(), *page_paths()])
    figures = [path.relative_to(folder).as_posix() for path in folder.rglob("*.svg")]
    assert not [name for name in figures if name not in pages and not name.startswith("notebook/")]


# ---- the runner --------------------------------------------------------------------------------------


def ran(text):
    return run(text, "docs/learn/sample.md")


PRINTS = """\
A value {{ 6 = 2 * 3 }}.

```{.python .run}
x = 2
print("x is", x)
x + 1
```

```{.text .output}
x is 2
3
```

Then {{ 0.67 = f"{x / 3:.2f}" }} and `{{ 1 = 2 }}`.
"""


def test_page_that_agrees_is_left_alone():
    assert ran(PRINTS).text == PRINTS


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("x is 2", "x is 3"),
        ("\n3\n", "\n4\n"),
        ("{{ 6 =", "{{ 7 ="),
        ("{{ 0.67 =", "{{ 0.69 ="),
        ("x is 2\n", ""),
    ],
)
def test_wrong_output_is_noticed_and_put_right(right, wrong):
    page = PRINTS.replace(right, wrong)
    assert page != PRINTS
    assert ran(page).text == PRINTS


def test_missing_output_is_added_and_an_output_of_nothing_removed():
    added = ran("```{.python .run}\n1 + 1\n```\n").text
    assert added == "```{.python .run}\n1 + 1\n```\n\n```{.text .output}\n2\n```\n"
    assert ran(added.replace("1 + 1\n", "x = 2\n")).text == "```{.python .run}\nx = 2\n```\n"


def test_indented_cell_gets_an_indented_output():
    text = ran('!!! note\n\n    ```{.python .run}\n    print("a\\n\\nb")\n    ```\n').text
    assert text.endswith("\n    ```{.text .output}\n    a\n\n    b\n    ```\n")


def test_cells_and_values_share_one_namespace_in_page_order():
    cell = "```{{.python .run}}\n{}\n```\n\n"
    text = cell.format("n = 1") + "{{ = n }}\n\n" + cell.format("n += 1") + "{{ = n }} {{ = n + 1 }}\n"
    assert [line for line in ran(text).text.split("\n") if "{{" in line] == [
        "{{ 1 = n }}",
        "{{ 2 = n }} {{ 3 = n + 1 }}",
    ]


def test_pages_do_not_see_each_other():
    ran("```{.python .run}\nleft_over = 1\n```\n")
    with pytest.raises(PageError, match="name 'left_over' is not defined"):
        ran("```{.python .run}\nleft_over\n```\n")


def test_torch_and_numpy_start_afresh_on_each_page():
    ran(
        "```{.python .run}\nimport torch, numpy\ntorch.set_default_dtype(torch.float64)\n"
        "torch.set_grad_enabled(False)\ntorch.set_printoptions(precision=1)\n"
        "numpy.set_printoptions(precision=1)\n```\n"
    )
    code = "torch.tensor([1/3], requires_grad=True) * 1, numpy.array([1/3])"
    text = ran(f"```{{.python .run}}\nimport numpy, torch\n{code}\n```\n").text
    assert "(tensor([0.3333], grad_fn=<MulBackward0>), array([0.33333333]))" in text


def test_randomness_without_a_seed_is_noticed():
    page = ran("```{.python .run}\nimport torch\ntorch.rand(4)\n```\n").text
    assert ran(page).text != page


def test_randomness_with_a_seed_is_stable():
    page = ran("```{.python .run}\nimport torch\ntorch.manual_seed(0)\ntorch.rand(4)\n```\n").text
    assert ran(page).text == page


def test_error_names_the_line_of_the_page():
    with pytest.raises(PageError, match=r"^docs/learn/sample\.md:4: ZeroDivisionError: division by zero$"):
        ran("# A\n\n```{.python .run}\n1 / 0\n```\n")


def test_syntax_error_names_the_line_of_the_page():
    with pytest.raises(PageError, match=r"^docs/learn/sample\.md:2: SyntaxError: invalid syntax$"):
        ran("```{.python .run}\nx = = 1\n```\n")


def test_error_in_an_inline_value_names_the_line_of_the_page():
    with pytest.raises(PageError, match=r"sample\.md:3: NameError: name 'unknown' is not defined$"):
        ran("# A\n\nvalue {{ 1 = unknown }}\n")


def test_error_of_the_package_names_the_line_of_the_page_first():
    with pytest.raises(
        PageError, match=r"^docs/learn/sample\.md:3: .*JSONDecodeError: .* \(raised by .*json"
    ):
        ran('```{.python .run}\nimport json\njson.loads("{")\n```\n')


def test_a_wrong_output_is_told_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(run_pages, "ROOT", tmp_path)
    path = tmp_path / "docs" / "sample.md"
    stored = "# A\n\nIt is {{ 3 = 1 + 1 }}.\n"
    told = run_pages._settle(path, stored, ran(stored).text, store=False)
    assert told.split("\n") == [
        "docs/sample.md:3: stored (-) is not what is computed (+)",
        "-It is {{ 3 = 1 + 1 }}.",
        "+It is {{ 2 = 1 + 1 }}.",
    ]


def test_messages_begin_with_file_and_line():
    assert located("docs/a.md", ValueError("line 3: no")) == "docs/a.md:3: no"
    assert located("docs/a.md", ValueError("docs/b.toml:3: no")) == "docs/b.toml:3: no"
    assert located("docs/a.md", ValueError("no: line 3")) == "docs/a.md: no: line 3"


def test_cell_that_must_raise_shows_its_last_line():
    text = ran('```{.python .run .raises}\nprint("before")\nraise ValueError("no")\n```\n').text
    assert "```{.text .output}\nbefore\nValueError: no\n```" in text


def test_cell_that_must_raise_and_does_not_fails():
    with pytest.raises(PageError, match=r"sample.md:2: the cell is marked .raises but raises nothing"):
        ran("```{.python .run .raises}\n1\n```\n")


def test_table_fence_stores_markdown_between_markers_and_rewrites_it():
    fence = '```{.python .table}\ntable([["**a**", 1]], ["x", "y"], caption="C")\n```\n'
    text = ran(fence).text
    printed = "| x | y |\n| :-- | --: |\n| **a** | 1 |\n\nTable: C"
    assert text == f"{fence}\n<!-- output -->\n\n{printed}\n\n<!-- /output -->\n"
    assert ran(text).text == text
    assert ran(text.replace("| 1 |", "| 2 |")).text == text


def test_output_marker_that_is_not_closed_is_an_error():
    with pytest.raises(ValueError, match=r"sample.md:5: <!-- output --> without"):
        ran("```{.python .table}\nprint(1)\n```\n\n<!-- output -->\n")


def test_helpers_are_lent_to_tables_only():
    with pytest.raises(PageError, match="name 'fact' is not defined"):
        ran('```{.python .run}\nfact("context-gpt3")\n```\n')
    cell = "```{{.python .{}}}\n{}\n```\n\n"
    lent = cell.format("table", 'table([[1]], ["x"], caption="C")')
    page = cell.format("run", "table = 5") + lent + cell.format("run", "table")
    assert "```{.text .output}\n5\n```" in ran(page).text


def test_fact_is_at_hand_in_an_inline_value():
    assert "{{ 4096 = 2 *" in ran('{{ = 2 * fact("context-gpt3").value }}\n').text


def test_static_code_is_not_run():
    text = '```{.python .static reason="needs a GPU"}\n1 / 0\n```\n'
    assert ran(text).text == text


def test_measurements(monkeypatch):
    looks = iter([0, 3, 10, 12])  # at the clock, before and after the cell, then the inline value
    monkeypatch.setattr(slots, "time", SimpleNamespace(perf_counter=lambda: next(looks)))
    result = ran("```{.python .run}\nx = 1\n```\n\n{{ 1 = 1 }}\n")
    assert result.cells == [3]
    assert result.seconds == 5


@pytest.mark.parametrize(
    ("stored", "computed", "same"),
    [
        ("loss 0.693", "loss 0.694", True),
        ("loss 0.693", "loss 0.695", False),
        ("n = 12", "n = 13", False),
        ("1,024 tokens", "1,025 tokens", False),
        ("1.2e-07", "1.3e-07", True),
        ("1.2e-07", "1.2e-06", False),
        ("0.1", "0.0999999", True),
        ("0.1", "0.13", False),
        ("tensor([0.5000, -0.1000])", "tensor([0.5001, -0.1001])", True),
        ("True", "False", False),
        ("a  b", "a b", False),
        ("nan", "0.1", False),
        ("-0.0000", "0.0000", True),
        ("1 2", "1", False),
        ("KL ≈1.0, step 12", "KL ≈1.9, step 12", True),
        ("KL ≈1.9", "KL ≈1.0", True),
        ("KL ≈1.0", "KL ≈2.2", False),
        ("KL ≈1.0", "KL ≈-1.0", False),
        ("KL ≈1.0, step 12", "KL ≈1.0, step 13", False),
        ("KL ≈0.0", "KL ≈-0.0", True),
        ("KL ≈0.0", "KL ≈0.5", False),
    ],
)
def test_numbers_agree_to_the_printed_digits(stored, computed, same):
    assert agree(stored, computed) is same
    verdict = node(RUNTIME / "output.js", "return m.compare(...given.texts)", texts=[stored, computed])
    assert (verdict != "different") is same


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Where a page can be run and is not of the repository; by the command line, too, in this process."""
    monkeypatch.setattr(run_pages, "ROOT", tmp_path)
    monkeypatch.setattr(run_pages, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(run_pages, "CACHE", tmp_path / ".cache")
    monkeypatch.setattr(run_pages, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    path = tmp_path / "docs" / "page.md"
    path.parent.mkdir()
    return path


def test_command_line_reports_a_difference_and_writes_it(page, monkeypatch, capsys):
    page.write_text("```{.python .run}\n1 + 1\n```\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["run_pages", str(page)])
    assert run_pages.main() == 1
    assert "+2" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["run_pages", "--write", str(page)])
    assert run_pages.main() == 0
    text = page.read_text(encoding="utf-8")
    assert "\n2\n" in text
    assert is_current(page, text)


def test_a_figure_is_kept_beside_the_others_of_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("site_tools.page_figures.DOCS", tmp_path)
    with figure("w", page="learn/x", alt='An "alt" text', caption="C") as (_, axes):
        axes.plot([0, 1], [0, 1])
    assert capsys.readouterr().out == '![An "alt" text](../assets/figures/learn/x/w.svg)\n\nFigure: C\n'
    assert 'id="learn-x-w-' in (tmp_path / "assets/figures/learn/x/w.svg").read_text()


def test_a_page_is_run_again_with_another_version(page, monkeypatch):
    page.write_text("Two: {{ 2 = 1 + 1 }}.\n", encoding="utf-8")
    assert not run_pages.check(page)
    text = page.read_text(encoding="utf-8")
    assert is_current(page, text)
    monkeypatch.setattr(run_pages, "versions", lambda: "numpy 0.1")
    assert not is_current(page, text)
