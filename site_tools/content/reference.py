"""Write the reference: the lists of names, a page for each module and folder, and their navigation.

A page shows the docstrings of its module and names the chapters that include the module's source. Modules
whose name begins with an underscore have no page. Adding a module needs no other edit.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from site_tools import DOCS, ROOT, page_paths, write
from site_tools.content import api, torch_subset
from site_tools.links import title

PACKAGE = ROOT / "src" / "llmguide"
FOLDER = DOCS / "reference"
CONFIG = ROOT / "mkdocs.yml"
# Folders of the package in the order of the guide; a folder imports only from those before it.
FOLDERS = (
    "config",
    "tokenization",
    "nn",
    "models",
    "generation",
    "data",
    "costs",
    "training",
    "evaluation",
    "interpretability",
    "post_training",
    "coding",
    "runs",
    "site_server",
    "exercises",
    "projects",
    "pages",
    "cli",
)
BEGIN, END = (
    "      # written by site_tools.content.reference\n",
    "      # end of what site_tools.content.reference writes\n",
)
_MACHINERY = {
    "checking",
    "classroom",
    "comparing",
    "course",
    "grading",
    "handout",
    "hidden",
    "notebooks",
    "sandbox",
    "solutions",
    "time_limit",
}  # of the exercises; the rest are lessons
_SOURCE = re.compile(r"^ *@source llmguide\.([\w.]+)", re.MULTILINE)


@cache
def modules() -> list[str]:
    """Names below ``llmguide`` of the documented modules and folders, each folder before its modules."""
    paths = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__main__.py"]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    public = [name for name in names if name != "__init__" and not re.search(r"(^|\.)_", name)]
    return sorted(public, key=lambda name: (_place(name), name))


def _place(name: str) -> int:
    first = name.partition(".")[0]
    return FOLDERS.index(first) if first in FOLDERS else -1


def is_folder(name: str) -> bool:
    """Whether a dotted name is a folder with modules."""
    return (PACKAGE / name.replace(".", "/")).is_dir()


def page_of(name: str) -> str:
    """The page of a module, below docs/.

    >>> page_of("nn.attention"), page_of("nn")
    ('reference/nn/attention.md', 'reference/nn/index.md')
    """
    path = name.replace(".", "/")
    if path.endswith("/index"):
        raise ValueError(f"llmguide.{name}: the page of a folder is called index; rename the module")
    return f"reference/{path}/index.md" if is_folder(name) else f"reference/{path}.md"


def source(name: str) -> Path:
    """The file of a module, or of the folder's own docstring."""
    path = PACKAGE / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def summary(name: str) -> str:
    """The first paragraph of a module's docstring, on one line."""
    docstring = ast.get_docstring(api.parsed(f"llmguide.{name}"))
    if not docstring:
        raise ValueError(
            f"{source(name).relative_to(ROOT)} has no docstring; add one that begins with a summary"
        )
    return " ".join(docstring.split("\n\n")[0].split())


@cache
def _explained() -> dict[str, list[tuple[str, str]]]:
    """For each module, address and title of the pages that include its source."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in page_paths():
        text = path.read_text(encoding="utf-8")
        included = {name.rpartition(".")[0] for name in _SOURCE.findall(text)}
        for module in included:
            entry = (path.relative_to(DOCS).as_posix(), title(text))
            found.setdefault(module, []).append(entry)
    return found


def page(name: str) -> str:
    """The page of a module or folder."""
    up = "../" * (page_of(name).count("/"))
    description = summary(name).replace('"', "'")
    edit = source(name).relative_to(ROOT).as_posix()
    front = f'---\ndescription: "llmguide.{name}: {description}"\nedit: {edit}\n---\n'
    head = f"{front}\n# {name} {{ #llmguide.{name} }}\n"
    parts = [head]
    if pages := _explained().get(name):
        links = ", ".join(f"[{title}]({up}{address})" for address, title in pages)
        parts.append(f"Explained in {links}.\n")
    is_lesson = name.startswith("exercises.") and name.partition(".")[2] not in _MACHINERY
    options = "\n    options:\n      members: []" if is_folder(name) or is_lesson else ""
    parts.append(f"::: llmguide.{name}{options}\n")
    if is_folder(name):
        parts.append(table(child for child in modules() if child.rpartition(".")[0] == name))
    return "\n".join(parts)


def table(names: Iterator[str]) -> str:
    """Names and summaries, linked from a page of the folder that holds them."""
    rows = []
    for name in names:
        last = name.rpartition(".")[2]
        link = f"{last}/index.md" if is_folder(name) else f"{last}.md"
        described = summary(name).replace("|", "\\|")
        rows.append(f"| [`{last}`]({link}) | {described} |")
    return "\n".join(["| Module | Summary |", "| :-- | :-- |", *rows]) + "\n"


def index() -> str:
    """The first page: the folders, and how to read the shapes."""
    top = (child for child in modules() if "." not in child)
    template = ROOT / "site_tools" / "reference_index.md"
    return template.read_text(encoding="utf-8").replace("@modules\n", table(top))


def navigation() -> str:
    """The entries of mkdocs.yml."""

    def entries(parent: str, depth: int) -> Iterator[str]:
        for name in modules():
            if name.rpartition(".")[0] != parent:
                continue
            last = name.rpartition(".")[2]
            if is_folder(name):
                yield f"{'  ' * depth}- {last}:\n{'  ' * (depth + 2)}- {page_of(name)}\n"
                yield from entries(name, depth + 2)
            else:
                yield f"{'  ' * depth}- {last}: {page_of(name)}\n"

    lists = ("The API at a glance: reference/api.md", "PyTorch in the tab: reference/torch-subset.md")
    return "".join([*(f"      - {entry}\n" for entry in lists), *entries("", 3)])


def main() -> None:
    """Write the pages that changed, remove those without a module, and update the navigation."""
    pages = {DOCS / page_of(name): page(name) for name in modules()}
    pages[FOLDER / "index.md"] = index()
    pages[FOLDER / "api.md"] = api.page()
    pages[FOLDER / "torch-subset.md"] = torch_subset.page()
    for old in FOLDER.rglob("*.md"):
        if old not in pages:
            old.unlink()
    for path, text in pages.items():
        write(path, text)
    for folder in sorted(FOLDER.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            shutil.rmtree(folder)
    config = CONFIG.read_text(encoding="utf-8")
    before, begin, rest = config.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"mkdocs.yml lacks the lines {BEGIN.strip()!r} and {END.strip()!r} under Reference")
    write(CONFIG, before + begin + navigation() + end + after)
