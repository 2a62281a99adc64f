"""The page on the tab's torch lists each name where it belongs: every one is looked up in the subset."""

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from site_tools import RUNTIME
from site_tools.content import torch_subset
from tests.python_path import importing_from

# Looks names up as a reader does, from code that knows nothing of the page's program.
LOOK_UP = """
import importlib, json, sys, types
import torch

def refusal(name):
    owner, _, last = name.rpartition(".")
    try:
        found = getattr(objects[owner] if owner in objects else importlib.import_module(owner), last)
    except Exception as error:
        return str(error) if isinstance(error, AttributeError) else None
    return "a module" if isinstance(found, types.ModuleType) else None

objects = {"torch.Tensor": torch.ones(2, 2), "torch.nn.Module": torch.nn.Module()}
print(json.dumps({name: refusal(name) for name in json.load(sys.stdin)}))
"""
CALLS = {
    "torch.autocast": "torch.autocast('cpu')",
    "torch.compile": "torch.compile(abs)",
    "torch.Tensor.cuda": "torch.ones(1).cuda()",
    "torch.amp.autocast": "torch.amp.autocast('cpu')",
    "torch.compiler.compile": "torch.compiler.compile(abs)",
}


def in_subset(program: str, given: object = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(given),
        env=importing_from(RUNTIME),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@cache
def listed(title: str) -> dict[str, list[str]]:
    """The folded lists of a section, as the page shows them."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", torch_subset.page(), re.MULTILINE | re.DOTALL)
    found = {}
    for owner, count, names in re.findall(r'\?\?\? note "(\S+): ([\d,]+) names?"\n\n    (.+)\n', section):
        found[owner] = re.findall(r"`([^`]+)`", names)
        assert len(found[owner]) == len(set(found[owner])) == int(count.replace(",", ""))
    return found


def full_names(lists: dict[str, list[str]]) -> list[str]:
    return [f"{owner}.{name}" for owner, names in lists.items() if owner != "modules" for name in names]


def test_names_that_the_page_lists_as_present_can_be_used() -> None:
    found = json.loads(in_subset(LOOK_UP, full_names(listed("What it has"))))
    assert len(found) > 500
    assert {name: error for name, error in found.items() if error is not None} == {}


def test_names_that_the_page_lists_as_missing_are_refused() -> None:
    names = full_names(listed("Every name it lacks")) + listed("Every name it lacks")["modules"]
    found = json.loads(in_subset(LOOK_UP, names))
    usable = [
        name
        for name, error in found.items()
        if error != f"{name} is not in the in-page subset; run with PyTorch" and name not in CALLS
    ]
    assert usable == []


def test_each_name_of_pytorch_is_on_one_list_and_the_table_counts_them() -> None:
    table = re.findall(r"^\| `([\w.]+)` \| ([\d,]+) \| ([\d,]+) \|$", torch_subset.page(), re.MULTILINE)
    counts = {owner: tuple(int(n.replace(",", "")) for n in both) for owner, *both in table}
    present, missing = listed("What it has"), listed("Every name it lacks")
    public = json.loads(in_subset("import json; from torch.names import NAMES; print(json.dumps(NAMES))"))
    assert counts.keys() == public.keys()
    for owner, names in ((owner, names.split()) for owner, names in public.items()):
        assert sorted(present.get(owner, []) + missing.get(owner, [])) == sorted(names)
        assert counts[owner] == (len(present.get(owner, [])), len(names))


@pytest.mark.parametrize("name", CALLS)
def test_names_that_exist_only_to_refuse_are_listed_as_missing(name: str) -> None:
    owner, _, last = name.rpartition(".")
    assert last in listed("Every name it lacks")[owner]
    program = f"import torch\ntry:\n    {CALLS[name]}\nexcept Exception as error:\n    print(error)"
    assert "the in-page subset" in in_subset(program)


def test_all_names_that_exist_only_to_refuse_are_known() -> None:
    known = {f"{owner}.{name}" for owner, names in torch_subset.REFUSING.items() for name in names}
    assert known == CALLS.keys()
    for path in (RUNTIME / "torch").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                statements = node.body[ast.get_docstring(node) is not None :]
                is_refusing = len(statements) == 1 and isinstance(statements[0], ast.Raise)
                assert not is_refusing or any(name.endswith(f".{node.name}") for name in known), node.name


def test_the_larger_gaps_are_gaps() -> None:
    names = [name for entry in torch_subset.entries()["absent"] for name in entry["names"]]
    found = json.loads(in_subset(LOOK_UP, names))
    assert {name for name, error in found.items() if "in-page subset" not in str(error)} <= CALLS.keys()


def test_a_row_without_its_test_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = torch_subset.PATH.read_text(encoding="utf-8").replace("test_hooks", "test_gone")
    monkeypatch.setattr(torch_subset, "PATH", tmp_path / "torch_subset.toml")
    torch_subset.PATH.write_text(text, encoding="utf-8")
    torch_subset.entries.cache_clear()
    with pytest.raises(ValueError, match=r"Hooks: there is no test tests/runtime/\w+\.py::test_gone"):
        torch_subset.entries()
