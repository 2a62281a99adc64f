"""Write *PyTorch in the tab*: the names of PyTorch that the subset has and lacks, and where it differs.

The names are those of ``runtime/torch/names.py`` that the subset has when it is imported in a process of its
own. The larger gaps and the differences are in ``docs/_data/torch_subset.toml``.
"""

import json
import os
import re
import subprocess
import sys
from functools import cache
from typing import Any, NamedTuple

from llmguide.pages.entries import check_fields, load_toml
from site_tools import DATA, REPOSITORY, ROOT, RUNTIME, generated_head

PATH = DATA / "torch_subset.toml"
# Names that exist in the subset only to refuse whoever calls them.
REFUSING = {
    "torch": {"autocast", "compile"},
    "torch.Tensor": {"cuda"},
    "torch.amp": {"autocast"},
    "torch.compiler": {"compile"},
}
LISTING = """
import importlib, json, torch
from torch.names import MODULES, NAMES, VERSION
present = {owner: dir(importlib.import_module(owner)) for owner in NAMES if owner.split(".")[-1].islower()}
present |= {"torch.Tensor": dir(torch.ones(1)), "torch.nn.Module": dir(torch.nn.Module())}
names = {owner: names.split() for owner, names in NAMES.items()}
print(json.dumps([VERSION, names, MODULES["torch"].split(), present]))
"""
INTRODUCTION = """
When a cell runs in your browser, `import torch` loads our own [subset of PyTorch]({source}). It is written in
Python on top of numpy, with WebAssembly for the loops that would be slow. Names, results, printed forms,
error messages and random numbers follow PyTorch {version}. The tests compare {operations}, and again
{in_tab}.

In the tab, `torch.__version__` ends in `+subset`. To use PyTorch itself, run the guide with
[`llmguide serve`](../index.md#use-the-code), which connects the cells to the Python on your machine. To use
the subset on your machine, run `pip install ./runtime` in a clone of the repository, in an environment
without PyTorch.
"""
HAS = """
The right column counts the public names that `dir()` lists in PyTorch {version}, without modules. Many of
them are internal or deprecated. A name that can only raise an error in the tab is counted as missing.

| Part | In the tab | In PyTorch |
| :-- | --: | --: |
{rows}

Table: Public names of each part, in the tab and in PyTorch.
"""
LACKS = """
If PyTorch has a name and the subset lacks it, the error says so. It is an `AttributeError`, or an
`ImportError` if you import the name:

```text
AttributeError: torch.conv2d is not in the in-page subset; run with PyTorch
```

A misspelled name gets Python's own message, which suggests a name. An argument that the subset does not
support raises a `NotImplementedError`, which names the argument.

These are the larger gaps; [the last section](#every-name-it-lacks) lists every missing name:
"""
DIFFERS = """
Shapes, element types, type promotion, broadcasting, views that share memory, in-place operations with their
version counters, and gradients follow PyTorch. These are the known exceptions:

| PyTorch | In the tab |
| :-- | :-- |
{rows}

Table: Where the subset differs from PyTorch. Each row links to the test that checks it.
"""


class Owner(NamedTuple):
    """A module or class of PyTorch, and which of its public names the subset has."""

    name: str
    present: list[str]
    lacking: list[str]


@cache
def owners() -> tuple[str, list[Owner], list[str]]:
    """The version of PyTorch, each owner of names, and the modules of PyTorch that the subset lacks."""
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        env=os.environ | {"PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        check=True,
        text=True,
    )
    version, names, modules, found = json.loads(done.stdout)
    result = []
    for owner, public in names.items():
        usable = set(found[owner]) - REFUSING.get(owner, set())
        present = [name for name in public if name in usable]
        result.append(Owner(owner, present, [name for name in public if name not in usable]))
    return version, result, [f"torch.{name}" for name in modules if name not in found["torch"]]


@cache
def entries() -> dict[str, list[dict[str, Any]]]:
    """The larger gaps and the differences.

    Raises:
        ValueError: An entry lacks a field, has an unknown one, or names a test that does not exist.
    """
    data = load_toml(PATH.read_text(encoding="utf-8"), "docs/_data/torch_subset.toml")
    check_fields("torch_subset.toml", data, {"absent", "difference"}, set())
    for entry in data["absent"]:
        check_fields(f"torch_subset.toml: {entry.get('what')}", entry, {"what", "names"}, {"instead"})
    for entry in data["difference"]:
        where = f"torch_subset.toml: {entry.get('subject')}"
        check_fields(where, entry, {"subject", "torch", "tab", "test"}, set())
        file, _, function = entry["test"].partition("::")
        path = ROOT / "tests" / file
        if not (path.is_file() and re.search(rf"^def {function}\(", path.read_text(encoding="utf-8"), re.M)):
            raise ValueError(f"{where}: there is no test tests/{entry['test']}")
    return data


def _link(text: str, test: str) -> str:
    file, _, function = test.partition("::")
    title = f"{file.rpartition('/')[2]}, {function}".removesuffix(", ")
    return f'[{text}]({REPOSITORY}/tests/{file} "{title}")'


def _fold(owner: str, names: list[str]) -> str:
    listed = " ".join(f"`{name}`" for name in names)
    return f'??? note "{owner}: {len(names):,} name{"s" * (len(names) != 1)}"\n\n    {listed}\n'


def _gap(entry: dict[str, Any]) -> str:
    names = ", ".join(f"`{name}`" for name in entry["names"])
    return f"- {entry['what']}: {names}. {entry.get('instead', '')}".rstrip()


def _difference(entry: dict[str, Any]) -> str:
    tab = f"{entry['tab']} ({_link('test', entry['test'])})"
    return f"| **{entry['subject']}**<br>{entry['torch']} | {tab} |"


def page() -> str:
    """The page, in Markdown."""
    version, parts, modules = owners()
    counts = [(o.name, len(o.present), len(o.present) + len(o.lacking)) for o in parts]
    head = generated_head(
        "PyTorch in the tab",
        "Which names of PyTorch a cell in your browser has, which it lacks, and where results differ.",
        "site_tools/content/torch_subset.py from runtime/torch and docs/_data/torch_subset.toml",
        edit="docs/_data/torch_subset.toml",
    )
    introduction = INTRODUCTION.format(
        version=version,
        operations=_link("each operation with PyTorch", "runtime/test_torch_operations.py"),
        in_tab=_link("in the Python of the tab", "runtime/test_torch_tab.py"),
        source=f"{REPOSITORY}/runtime/torch/__init__.py",
    )
    rows = "\n".join(f"| `{name}` | {present:,} | {public:,} |" for name, present, public in counts)
    differences = "\n".join(map(_difference, entries()["difference"]))
    return "\n".join(
        [
            head + introduction,
            "## What it has\n" + HAS.format(version=version, rows=rows),
            *(_fold(owner.name, owner.present) for owner in parts if owner.present),
            "## What it lacks\n" + LACKS,
            *map(_gap, entries()["absent"]),
            "\n## Where it differs\n" + DIFFERS.format(rows=differences),
            "## Every name it lacks\n",
            _fold("modules", modules),
            *(_fold(owner.name, owner.lacking) for owner in parts if owner.lacking),
        ]
    )
