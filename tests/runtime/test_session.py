"""The Python side of a cell, natively: what it prints, what it keeps, and what it says of an error."""

import importlib.util
import json
import logging
import signal
import time
import warnings
from types import ModuleType
from typing import Any

import pytest
from site_tools import RUNTIME

import llmguide  # noqa: F401 (whose modules a name may have meant)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, RUNTIME / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


missing = load("missing_modules")


@pytest.fixture(scope="module")
def session() -> ModuleType:
    return load("session")


class Page:
    """Sends runs to a session and sorts what comes back."""

    def __init__(self, session: ModuleType) -> None:
        self.messages: list[dict[str, Any]] = []
        self.session = session.Session(lambda message: self.messages.append(json.loads(json.dumps(message))))

    def run(self, code: str, **options: Any) -> list[dict[str, Any]]:
        self.messages.clear()
        message = {"type": "run", "id": 7, "scope": "a", "name": "cell 1", "kind": "run", "page": "learn/x"}
        self.session.handle(message | {"code": code} | options)
        assert all(reply["id"] == 7 for reply in self.messages)
        assert [reply["type"] for reply in (self.messages[0], self.messages[-1])] == ["started", "done"]
        return self.messages[1:-1]

    def text(self, code: str, **options: Any) -> str:
        return "".join(reply["text"] for reply in self.run(code, **options))


@pytest.fixture
def page(session: ModuleType, tmp_path, monkeypatch) -> Page:
    monkeypatch.chdir(tmp_path)  # a run moves to the folder of its scope
    return Page(session)


def test_the_last_expression_is_printed_unless_it_is_none(page: Page) -> None:
    assert page.text("x = 2\nx + 1") == "3\n"
    assert page.text("None") == ""
    assert page.text("'a'") == "'a'\n"


def test_functions_whose_gradient_can_be_checked_are_named(page: Page) -> None:
    code = """
import torch
def scaled(x, by=2.0):
    return x * by
def helper(x):
    return scaled(x)
def no_tensor(n):
    return n
def computed(x):
    return x
x = torch.ones(2)
print(scaled(x, by=3.0), scaled(x), no_tensor(2), computed(x + 1))
"""
    (checks,) = [reply["checks"] for reply in page.run(code) if reply["type"] == "checks"]
    assert checks == ["check_gradient(scaled, x, by=3.0)"]
    check = f"from llmguide.training.gradient_check import check_gradient\n{checks[0]}"
    assert page.text(check) == "The gradient of scaled agrees with finite differences.\n"
    assert "checks" not in {reply["type"] for reply in page.run("scaled(x)")}  # which defines nothing


def test_runs_of_a_scope_share_names_and_others_do_not(page: Page) -> None:
    page.run("x = 1")
    assert page.text("x") == "1\n"
    assert "NameError" in page.text("x", scope="b")
    page.session.handle({"type": "reset", "scope": "a"})
    assert "NameError" in page.text("x")


def test_a_scope_works_in_an_empty_folder_of_its_own(page: Page) -> None:
    page.run("open('file', 'w').close()")
    assert page.text("import os; os.listdir()") == "['file']\n"
    assert page.text("import os; os.listdir()", scope="b") == "[]\n"


def test_inputs_become_names(page: Page) -> None:
    assert page.text("text.upper()", inputs={"text": "a"}) == "'A'\n"


def test_lines_are_posted_as_they_are_complete(page: Page) -> None:
    replies = page.run("print('a')\nprint('b', end='')\nprint('c')")
    assert [reply["text"] for reply in replies] == ["a", "\n", "bc\n"]


def test_what_is_printed_slowly_is_posted_before_its_line_ends(page: Page, monkeypatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(
        time, "monotonic", lambda: float(next(now))
    )  # each look at the clock is a second later
    replies = page.run("for word in ('a ', 'b ', 'c'):\n    print(word, end='')")
    assert [reply["text"] for reply in replies] == ["a ", "b ", "c"]


def test_pyplot_is_told_to_show_and_warns_of_nothing(page: Page, monkeypatch) -> None:
    code = "import warnings\nwarnings.warn('FigureCanvasSVG is non-interactive, and thus cannot be shown')"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert page.run(code, needs="figure") == []
        assert logging.getLogger("matplotlib.font_manager").level == logging.ERROR


def test_output_is_capped(page: Page, session: ModuleType) -> None:
    text = page.text("for _ in range(100): print('x' * 1023)")
    assert text.count("x") < session.OUTPUT_CAP
    assert text.endswith("64 KB were printed; the rest is left out.]\n")
    assert len(text) < session.OUTPUT_CAP + 100


def test_a_traceback_has_the_readers_lines_only(page: Page) -> None:
    page.run("import json\ndef read(text):\n    return json.loads(text)", name="cell 1")
    (error,) = page.run(
        "try:\n    read('[')\nexcept ValueError as error:\n    raise KeyError('k') from error", name="cell 2"
    )
    files = [line.split('"')[1] for line in error["text"].splitlines() if line.startswith("  File")]
    assert files == ["cell 2", "cell 1", "cell 2"]
    assert "return json.loads(text)" in error["text"]
    assert error["text"].endswith("KeyError: 'k'")


def test_a_raises_cell_gives_the_last_line(page: Page) -> None:
    (error,) = page.run("raise ValueError('no\\nmore')", kind="raises")
    assert error["text"] == "ValueError: no\nmore"


@pytest.mark.parametrize(("code", "interrupted"), [("raise KeyboardInterrupt", True), ("exit()", False)])
def test_what_ends_a_program_ends_the_run_only(page: Page, code: str, interrupted: bool) -> None:
    (error,) = page.run(code)
    assert error["interrupted"] is interrupted
    assert page.text("1") == "1\n"


@pytest.mark.parametrize("kind", ["started", "output", "error", "done"])
def test_a_stop_at_any_step_leaves_a_run_that_ends(
    session: ModuleType, monkeypatch, tmp_path, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = []

    def post(message: dict[str, Any]) -> None:
        kinds.append(message["type"])
        if message["type"] == kind:
            stopped.interrupt(signal.SIGINT, None)

    stopped = session.Session(post)
    run = {"type": "run", "id": 7, "scope": "a", "name": "cell 1", "code": "print(1)\nprint(2)\n1 / 0"}
    stopped.handle(run)
    printed = {"started": 0, "output": 1, "error": 3, "done": 3}  # "1", its end of line, and the second line
    assert kinds == ["started", *["output"] * printed[kind], "error", "done"]


def test_tables_come_as_markdown_and_lend_their_helper_to_their_fence_only(page: Page) -> None:
    (reply,) = page.run("table([[1]], ['n'], caption='c')", kind="table")
    assert reply["stream"] == "markdown"
    assert reply["text"] == "| n |\n| --: |\n| 1 |\n\nTable: c"
    assert "NameError" in page.text("table")


def test_a_figure_that_is_not_drawn_still_defines_its_names(page: Page) -> None:
    code = """
with figure("f", alt="a") as (drawing, axes):
    axes.twinx().plot([1])
    heatmap(axes, [[1]])
    kept = 5
"""
    assert page.run(code, kind="figure", draw=False) == []
    assert page.text("kept") == "5\n"
    assert "NameError" in page.text("figure")


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("[p.shape for p in [drawing.subplots(2, 3), drawing.subplots(1, 3)]]", [(2, 3), (3,)]),
        ("drawing.subplots(2, 1, sharex=True).shape", (2,)),
        ("drawing.subplots(1, 1, squeeze=False).shape", (1, 1)),
        ("drawing.subplots().plot([1]) is not None", True),
        ("len(list(drawing.subplots(3, 2).flat))", 6),
        ("[line] = axes.plot([1, 2], [3, 4], label='a')\nline.get_color() is not None", True),
        ("len(axes.plot([1], [2], 'x', [3], [4], '--'))", 2),
        ("len(axes.plot([1, 2], numpy.ones((2, 3))))", 3),
        ("len(axes.bar(['a', 'b'], [1, 2]))", 2),
        ("left, right = axes.get_xlim()\nleft < right", True),
        ("handles, labels = axes.get_legend_handles_labels()\nlen(handles)", 0),
    ],
)
def test_a_figure_that_is_not_drawn_returns_what_is_unpacked(page: Page, code: str, value: object) -> None:
    body = "\n    ".join([*code.splitlines()[:-1], f"result = {code.splitlines()[-1]}"])
    source = f"import numpy\nwith figure('f', alt='a') as (drawing, axes):\n    {body}"
    assert page.run(source, kind="figure", draw=False) == []
    assert page.text("result") == f"{value!r}\n"


def test_input_is_refused_in_one_sentence(page: Page) -> None:
    (prompt, error) = page.run("name = input('Name? ')")
    assert prompt["text"] == "Name? "
    assert error["text"].endswith(
        "EOFError: a cell cannot read from the keyboard; assign the text to a variable instead"
    )
    assert "session.py" not in error["text"]


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("pandas", f"pandas {missing.ELSEWHERE}."),
        ("tokenizers", f"tokenizers {missing.ELSEWHERE}."),
        ("llmguide.commands_of_another", f"llmguide.commands_of_another {missing.ELSEWHERE}."),
        ("lzma", f"lzma {missing.ELSEWHERE}."),
        ("nmpy", "Did you mean: 'numpy'?"),
        ("collection", "Did you mean: 'collections'?"),
        ("llmguide.costz", "Did you mean: 'llmguide.costs'?"),
    ],
)
def test_a_module_that_the_tab_lacks_is_told_from_a_misspelled_one(name: str, note: str, monkeypatch) -> None:
    monkeypatch.setattr(missing.sys, "path", [])  # what is installed here is not in the tab
    error = ModuleNotFoundError("Pyodide would load it thus", name=name)
    missing.explain(error)
    assert str(error) == f"No module named {name!r}"
    assert error.__notes__ == [note]


def test_emit_hands_over_values_during_a_run_only(page: Page, session: ModuleType, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "session", session)
    (reply,) = page.run("from session import emit\nemit({'loss': [0.5]})")
    assert reply["value"] == {"loss": [0.5]}
    with pytest.raises(RuntimeError, match="no page is running this code"):
        session.emit(1)


def test_completion_knows_names_and_attributes(page: Page) -> None:
    page.run("long_name = 'text'")
    for code, start, name in (("lon", 0, "long_name"), ("y = long_name.spl", 14, "splitlines")):
        page.messages.clear()
        page.session.handle({"type": "complete", "id": 1, "scope": "a", "code": code, "cursor": len(code)})
        (reply,) = page.messages
        assert reply["from"] == start
        assert name in reply["names"]


def test_completion_counts_as_pages_do(page: Page) -> None:
    page.run("long_name = 'text'")
    page.messages.clear()
    # the face counts twice
    code = "# \N{GRINNING FACE}\nlon + 1"
    page.session.handle(
        {"type": "complete", "id": 1, "scope": "a", "code": code, "cursor": 8}
    )  # 2 of the face
    assert page.messages == [{"type": "completions", "id": 1, "from": 5, "names": ["long_name"]}]
