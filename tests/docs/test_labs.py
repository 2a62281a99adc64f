"""A lab's notebook says what its source says, and its page shows both; test_run_pages.py executes labs."""

import copy
import json

import jupytext
import nbformat
import pytest
from site_tools import DOCS
from site_tools.built.plain_markdown import twin
from site_tools.cells import labs
from site_tools.cells.labs import markdown, run, same
from site_tools.cells.notebooks import lab
from site_tools.checks.prose import WRONG, terms
from site_tools.execution import PageError

LAB = """\
# ---
# jupyter:
#   description: "Two cells."
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Lab: two cells
#
# See [attention](../../learn/attention.md#the-formula).

# %% tags=["skip-execution"]
# %pip install llmguide

# %%
print("loss ≈1.50")
3 + 4

# %% tags=["sampled"]
print("once upon")

# %% alt="A line that falls."
import matplotlib.pyplot as plt
from tqdm.auto import tqdm  # warns without widgets, and writes to stderr, in transformers too

fig, axes = plt.subplots()
axes.plot(list(tqdm([2, 1])))
axes.set(xlabel="step")
plt.show()
"""
PAGE = "docs/projects/labs/two-cells.ipynb"


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """A function that stores the source of a lab below the root of a repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labs, "ROOT", tmp_path_factory.mktemp("root"))
        path = (labs.ROOT / PAGE).with_suffix(".py")
        path.parent.mkdir(parents=True)
        yield lambda source: path.write_text(source, encoding="utf-8")


@pytest.fixture(scope="module")
def execute(write):
    """A function that executes the source of a lab, and returns its notebook as text."""

    def execute(source, stored=labs.EMPTY):
        write(source)
        return run(stored, PAGE).text

    return execute


@pytest.fixture(scope="module")
def executed(execute):
    return execute(LAB)


@pytest.fixture
def cells(executed):
    return json.loads(executed)["cells"]


# ---- the labs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", labs.paths(), ids=lambda path: path.stem)
def test_a_lab_is_a_valid_notebook_of_its_source(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(stored)
    written = jupytext.read(path.with_suffix(".py"))
    assert [(cell["cell_type"], cell["source"], cell["metadata"]) for cell in stored["cells"]] == [
        (cell.cell_type, cell.source, cell.metadata) for cell in written.cells
    ]
    page = markdown(stored, path.relative_to(DOCS).as_posix())
    assert list(terms(page, WRONG)) == []


# ---- executing ---------------------------------------------------------------------------------------


def test_outputs_are_stored_but_of_the_cells_that_only_readers_run(cells):
    title, install, prints, sampled, _ = cells
    assert title["cell_type"] == "markdown"
    assert install["source"] == "%pip install llmguide"
    assert install["outputs"] == []
    assert [output.get("text") for output in prints["outputs"]] == ["loss ≈1.50\n", None]
    assert prints["outputs"][1]["data"] == {"text/plain": "7"}
    assert sampled["outputs"][0]["text"] == "once upon\n"


def test_a_figure_has_its_alt_text_and_colors_for_every_place_it_is_shown(cells):
    svg = cells[-1]["outputs"][0]["data"]["image/svg+xml"]
    assert 'role="img"' in svg
    assert 'aria-label="A line that falls."' in svg
    assert "var(--figure-accent, #1d64ad)" in svg
    assert "background: white" in svg
    assert ">step<" in svg


def test_outputs_that_agree_are_kept(execute, executed):
    stored = json.loads(executed)
    stored["cells"][3]["outputs"][0]["text"] = "one night\n"
    text = json.dumps(stored)
    assert execute(LAB, text) == text


@pytest.mark.parametrize(
    ("cell", "old", "new", "agree"),
    [
        (2, "loss ≈1.50", "loss ≈1.40", True),
        (2, "loss ≈1.50", "loss ≈4.50", False),
        (2, "loss", "cost", False),
        (2, '"7"', '"8"', False),
        (3, "upon", "there", True),
        (4, 'd=\\"M', 'd=\\"M9 9M', True),
        (4, ">step<", ">steps<", False),
    ],
)
def test_text_and_the_labels_of_figures_are_compared_but_not_samples(cells, cell, old, new, agree):
    other = copy.deepcopy(cells)
    outputs = json.dumps(other[cell]["outputs"], ensure_ascii=False)
    assert old in outputs
    other[cell]["outputs"] = json.loads(outputs.replace(old, new))
    assert same(other, cells) is agree


def test_changed_source_is_noticed(cells):
    for change in ({"source": "print(1)"}, {"metadata": {"alt": "Another."}}):
        assert not same([*cells[:-1], cells[-1] | change], cells)
    assert not same(cells[:-1], cells)


def test_a_cell_that_raises_is_told(execute):
    with pytest.raises(PageError, match="ZeroDivisionError"):
        execute("# %%\n1 / 0\n")


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (nbformat.v4.new_output("stream", name="stderr", text="careful"), "a lab cannot show: careful"),
        (nbformat.v4.new_output("display_data", {"text/html": "<b>"}), "a lab cannot show"),
        (nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg/>"}), "cell-7 .* say what it shows"),
    ],
)
def test_an_output_that_not_everyone_can_read_is_an_error(output, problem):
    with pytest.raises(PageError, match=problem):
        labs.output_of(output, nbformat.v4.new_code_cell(id="cell-7"), PAGE)


def test_new_text_is_taken_over_without_executing_and_new_code_is_not(write, executed):
    write(LAB.replace("two cells", "2 cells"))
    text = labs.refreshed(executed, PAGE)
    assert text == executed.replace("two cells", "2 cells")
    fingerprint = labs.fingerprint(text, PAGE)
    assert fingerprint == labs.fingerprint(executed, PAGE)
    write(LAB.replace("3 + 4", "3 + 5"))
    assert labs.refreshed(executed, PAGE) == executed
    assert labs.fingerprint(executed, PAGE) != fingerprint


# ---- showing -----------------------------------------------------------------------------------------


def test_the_page_is_in_the_guides_markdown(executed):
    page = markdown(json.loads(executed), "projects/labs/two-cells.ipynb")
    head, title, rest = page.split("\n\n", 2)
    assert head == '---\ndescription: "Two cells."\nedit: docs/projects/labs/two-cells.py\n---'
    assert title == "# Lab: two cells"
    assert '```{.python}\nprint("loss ≈1.50")\n3 + 4\n```\n\n```{.text .output}\nloss ≈1.50\n```' in rest
    assert '<figure class="computed-figure"><svg' in rest
    assert "var(--figure-accent)" in rest
    assert "background: white" not in rest
    assert twin(page, "projects/labs/two-cells.ipynb").startswith("# Lab: two cells\n\n> Two cells.\n")


def test_links_of_the_downloaded_notebook_lead_to_the_site(executed):
    text = lab(executed, "projects/labs/two-cells.ipynb")["cells"][0]["source"]
    assert "(https://llmguide.github.io/llmguide/learn/attention/#the-formula)" in text
