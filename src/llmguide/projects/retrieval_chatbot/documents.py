"""The chatbot's default documents: the documentation that comes with Python.

The language reference comes from ``pydoc_data``, the library reference from the docstrings of its public
modules, classes and functions. Both differ between versions of Python, so report the version with a score.

Leaves out: signatures, and modules written in C, whose docstrings are in no source file.
"""

import ast
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc
from pathlib import Path

from llmguide.data.corpora import Corpus, load_corpus, standard_library_sources
from llmguide.data.documents import Document

# tests, internals, and modules that only some installations have
_NOT_LIBRARY = {"test", "tests", "site-packages", "dist-packages", "encodings", "ensurepip", "pydoc_data"}
_NOT_LIBRARY |= {"distutils", "idlelib", "lib2to3", "tkinter", "turtle", "turtledemo"}
_Named = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def knowledge(source: str | None = None) -> Corpus:
    """Return the documents to answer from.

    Args:
        source: File, folder or data set, as in `load_corpus`; None: `python_documentation`.
    """
    return python_documentation() if source is None else load_corpus(source)


def python_documentation() -> Corpus:
    """Return the documentation topics and the docstrings of the public modules of the running Python."""

    def documents() -> Iterator[Document]:
        for topic, text in sorted(import_module("pydoc_data.topics").topics.items()):
            yield Document(text, f"topics/{topic}", "standard library")
        for path, source in standard_library_sources(_is_documented):
            name = ".".join(part for part in path.with_suffix("").parts if part != "__init__")
            if text := docstrings(source, name):
                yield Document(text, name, "standard library")

    attribution = "Python Software Foundation, language reference and docstrings of the standard library"
    return Corpus("Python documentation", "PSF-2.0", attribution, documents)


def _is_documented(path: Path) -> bool:
    parts = path.with_suffix("").parts
    return _NOT_LIBRARY.isdisjoint(parts) and not any(is_private(part) for part in parts)


def docstrings(source: str, module: str) -> str:
    r"""Write the docstrings of a module's public names as one text, with a heading for each.

    >>> print(docstrings("'''One.'''\ndef f(): 'Two.'\ndef _g(): 'Three.'", "m"))
    m
    =
    <BLANKLINE>
    One.
    <BLANKLINE>
    m.f
    ===
    <BLANKLINE>
    Two.
    <BLANKLINE>
    """
    return "\n".join(
        f"{name}\n{'=' * len(name)}\n\n{cleandoc(text)}\n" for name, text in _named(ast.parse(source), module)
    )


def is_private(name: str) -> bool:
    """Whether a name is private: ``_a`` and ``__a__``, but not ``__init__``.

    >>> [is_private(name) for name in ("a", "_a", "__init__")]
    [False, True, False]
    """
    return name.startswith("_") and name != "__init__"


def _named(node: ast.Module | _Named, name: str) -> Iterator[tuple[str, str]]:
    if text := ast.get_docstring(node, clean=False):
        yield name, text
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for child in node.body:
            if isinstance(child, _Named) and not is_private(child.name):
                yield from _named(child, f"{name}.{child.name}")
