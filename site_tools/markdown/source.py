"""``@source llmguide.nn.attention.attention`` shows a function, class or constant of the package.

The code is read from ``src`` by name, so a page can never show code that does not exist. Docstrings are
dropped, since the page explains the code itself; ``@source NAME full`` keeps them. An unknown name fails the
build.
"""

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from llmguide.pages.entries import near
from site_tools import REPOSITORY, ROOT
from site_tools.fences import dump, map_prose

LINE = re.compile(r"^(?P<indent>[ ]*)@source (?P<name>[\w.]+)(?P<full> full)?[ ]*$", re.MULTILINE)
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class SourceExtension(Extension):
    """Registers the preprocessor; options ``root`` and ``repository`` say where the code is and is shown."""

    def __init__(self, **options: Any) -> None:
        self.config = {
            "root": [str(ROOT), "directory that holds src/"],
            "repository": [REPOSITORY, "address of that directory in the repository's web view"],
        }
        super().__init__(**options)

    def extendMarkdown(self, md: Markdown) -> None:
        """Add the preprocessor, before fences are read."""
        md.preprocessors.register(_Include(self.getConfigs(), md), "source", 29)


class _Include(Preprocessor):
    def __init__(self, config: dict[str, str], md: Markdown) -> None:
        super().__init__(md)
        self.root, self.repository = Path(config["root"]), config["repository"]

    def run(self, lines: list[str]) -> list[str]:
        return map_prose("\n".join(lines), lambda prose: LINE.sub(self.include, prose)).split("\n")

    def include(self, match: re.Match[str]) -> str:
        name, indent = match["name"], match["indent"]
        path, node, lines = find(name, self.root)
        first, last = _span(node)
        code = extract(node, lines, docstrings=bool(match["full"]))
        place = path.relative_to(self.root).as_posix()
        link = f"[{place}, lines {first} to {last}]({self.repository}/{place}#L{first}-L{last})"
        if not any(part.startswith("_") for part in name.split(".")):
            link = f"[`{name}`][{name}] in {link}"
        block = [
            *dump("{.python .source}", code.split("\n"), indent),
            "",
            f"{indent}{link}",
            f"{indent}{{: .source-link }}",
        ]
        return "\n".join(["", *block, ""])


def find(name: str, root: Path = ROOT) -> tuple[Path, ast.stmt, list[str]]:
    """The file, syntax node and lines of what a dotted name defines.

    Raises:
        ValueError: No module of the package has that name, or the module does not define it.
    """
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        base = root.joinpath("src", *parts[:length])
        path = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
        if path is None:
            continue
        text = path.read_text(encoding="utf-8")
        node: ast.Module | ast.stmt = ast.parse(text)
        for part in parts[length:]:
            node = _child(node, part, name, path.relative_to(root))
        assert isinstance(node, ast.stmt)
        return path, node, text.split("\n")
    raise ValueError(f"{name}: src has no module of that name")


def _child(node: ast.Module | ast.stmt, part: str, name: str, path: Path) -> ast.stmt:
    body = getattr(node, "body", [])
    for child in body:
        if part in _names(child):
            return child
    known = {name for child in body for name in _names(child)}
    if path.name == "__init__.py":
        known |= {module.stem for module in (ROOT / path.parent).iterdir()}
    raise ValueError(
        f"{name}: {path.as_posix()} does not define {part!r} there (name it where it is defined)"
        + near(part, known)
    )


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, _Definition):
        return {node.name}
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _span(node: ast.stmt) -> tuple[int, int]:
    """First and last line, counted from 1, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(item.lineno for item in decorators)]), node.end_lineno or node.lineno


def extract(node: ast.stmt, lines: list[str], *, docstrings: bool) -> str:
    """The source of a node, dedented, with or without the docstrings in it."""
    first, last = _span(node)
    dropped: set[int] = set()
    for inner in ast.walk(node):
        if not docstrings and isinstance(inner, _Definition) and ast.get_docstring(inner) is not None:
            text = inner.body[0]
            end = text.end_lineno or text.lineno
            if len(inner.body) > 1 and not lines[end].strip():
                end += 1  # the blank line that followed it
            dropped |= set(range(text.lineno, end + 1))
    return textwrap.dedent(
        "\n".join(lines[i - 1] for i in range(first, last + 1) if i not in dropped)
    ).rstrip()


def written_out(prose: str, page: str, source: str) -> str:
    """Prose with the code that it includes."""
    return LINE.sub(_code, prose)


def _code(match: re.Match[str]) -> str:
    path, node, lines = find(match["name"])
    code = extract(node, lines, docstrings=bool(match["full"]))
    place = f"From {path.relative_to(ROOT).as_posix()}:"
    return "\n".join([f"{match['indent']}{place}", "", *dump("python", code.split("\n"), match["indent"])])


makeExtension = SourceExtension
