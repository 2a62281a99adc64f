"""Start a page or a module from its template.

Examples::

    python -m site_tools.new docs/learn/softmax.md        a page
    python -m site_tools.new src/llmguide/nn/softmax.py   a module, its test, and its place in the reference
"""

import re
import sys
from keyword import iskeyword
from pathlib import Path, PurePosixPath

from site_tools import ROOT, write
from site_tools.content import reference

PAGE = (ROOT / "site_tools" / "page_template.md").read_text(encoding="utf-8")
MODULE = '''\
"""One sentence: what the module computes.

Reference: Author et al. 2017, arXiv:1706.03762, section 3.2.

Glossary: ``D`` model width.
"""

from jaxtyping import Float
from torch import Tensor


def NAME(x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
    """Multiply each vector by 2.

    Args:
        x: Vectors to multiply.

    Returns:
        The vectors, in the shape of ``x``.

    >>> import torch
    >>> NAME(torch.tensor([1.0, -2.0])).tolist()
    [2.0, -4.0]
    """
    return x * 2
'''
TEST = '''\
"""NAME against numbers on paper, and against torch."""

import torch

from llmguide.MODULE import NAME


def test_numbers_on_paper() -> None:
    assert NAME(torch.tensor([1.0, -2.0])).tolist() == [2.0, -4.0]


def test_equals_torch() -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(NAME(x), torch.mul(x, 2))
'''


def files(name: str) -> dict[Path, str]:
    """What a page or a module starts with: paths below the root, and texts.

    Raises:
        ValueError: The name is not that of a page or a module, or the file exists.
    """
    path = PurePosixPath(name)
    match path.parts, path.suffix:
        case ("docs", _, *_), ".md":
            title = path.stem.replace("-", " ").capitalize()
            place = path.relative_to("docs").with_suffix("").as_posix()
            found = {name: PAGE.replace("Title of the page", title).replace("FOLDER/PAGE", place)}
        case ("src", "llmguide", folder, _, *_), ".py" if folder in reference.FOLDERS:
            if not (ROOT / path.parent / "__init__.py").is_file():
                raise ValueError(
                    f"{path.parent} has no __init__.py; its docstring says what the folder holds"
                )
            below = path.relative_to("src/llmguide")
            texts = {name: MODULE, str(PurePosixPath("tests") / below.parent / f"test_{path.name}"): TEST}
            module = ".".join(below.with_suffix("").parts)
            found = {
                file: text.replace("MODULE", module).replace("NAME", path.stem)
                for file, text in texts.items()
            }
        case _:
            raise ValueError(
                f"{name!r} is neither a page, such as docs/learn/softmax.md, nor a module in a folder of the "
                f"package, such as src/llmguide/nn/softmax.py; the folders are {', '.join(reference.FOLDERS)}"
            )
    if path.suffix == ".md" and not re.fullmatch("[a-z0-9-]+", path.stem):
        raise ValueError(f"{path.name}: a page has a name in lower-case letters, digits and hyphens")
    if path.suffix == ".py" and (not re.fullmatch("[a-z][a-z0-9_]*", path.stem) or iskeyword(path.stem)):
        raise ValueError(
            f"{path.name}: a module has a name in lower-case letters, digits and underscores, and no keyword"
        )
    if there := [file for file in found if (ROOT / file).exists()]:
        raise ValueError(f"{there[0]} exists already; choose another name")
    return {ROOT / file: text for file, text in found.items()}


def main(name: str) -> str:
    """Write the files, and return what to do next."""
    written = files(name)
    for path, text in written.items():
        write(path, text)
    names = " ".join(path.relative_to(ROOT).as_posix() for path in written)
    if name.endswith(".md"):
        return (
            f"wrote {names}; give it a place under nav in mkdocs.yml, then: make check PAGE={name} UPDATE=1"
        )
    reference.main()
    return f"wrote {names} and the module's place in mkdocs.yml; then: .venv/bin/pytest {names}"


if __name__ == "__main__":
    try:
        print(main(sys.argv[1] if len(sys.argv) > 1 else ""))
    except ValueError as error:
        sys.exit(str(error))
