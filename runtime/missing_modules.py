"""Says of a module that the tab lacks what it may have meant, or where else the code runs."""

import difflib
import pkgutil
import sys

ON_DEMAND = {"numpy", "matplotlib"}  # packages that the tab loads before the first code that names them
ELSEWHERE = "is not available in the tab; run this page with `llmguide serve` or as a notebook"


def explain(error: ModuleNotFoundError) -> None:
    """Replace what Pyodide says of its own ways to load a package, which a page does not have."""
    if error.name is None:
        return
    error.msg = f"No module named {error.name!r}"
    if close := _close(error.name):
        error.add_note(f"Did you mean: {close!r}?")
    elif not error.name.startswith("torch."):  # PyTorch has no such module either
        error.add_note(f"{error.name} {ELSEWHERE}.")


def _close(name: str) -> str | None:
    """The module that a misspelled name is closest to."""
    parent, dot, last = name.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", []) if parent else None
    siblings = {module.name for module in pkgutil.iter_modules(path)}
    if not parent:
        siblings |= sys.stdlib_module_names | ON_DEMAND
    siblings = {sibling for sibling in siblings if not sibling.startswith("_")}
    siblings.discard(last)  # of the standard library, and not in the tab
    matches = difflib.get_close_matches(last, siblings, n=1, cutoff=0.8)
    # one letter more or less: tokenizers is a package of its own, and not tokenize
    return next((parent + dot + match for match in matches if abs(len(match) - len(last)) <= 1), None)
