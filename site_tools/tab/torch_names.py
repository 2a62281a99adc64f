"""Write ``runtime/torch/names.py``, the public names of PyTorch, from the PyTorch that is installed.

Run ``python -m site_tools.tab.torch_names`` after an update of PyTorch; a test fails until then.
"""

import importlib
import inspect
import pkgutil
import textwrap
import warnings
from typing import Any, TypeVar

from site_tools import RUNTIME

TARGET = RUNTIME / "torch" / "names.py"
# What the subset has a part of, and refuses the rest of by name.
OWNERS = (
    *("torch", "torch.Tensor", "torch.amp", "torch.autograd", "torch.compiler", "torch.cuda"),
    *(
        "torch.distributed",
        "torch.distributions",
        "torch.linalg",
        "torch.nn",
        "torch.nn.Module",
        "torch.nn.functional",
    ),
    *(
        "torch.nn.init",
        "torch.nn.utils",
        "torch.nn.utils.rnn",
        "torch.optim",
        "torch.optim.lr_scheduler",
        "torch.overrides",
    ),
    *("torch.random", "torch.special", "torch.utils", "torch.utils.checkpoint", "torch.utils.data"),
)
_IMPORTED = {(owner, "Tensor") for owner in OWNERS if owner != "torch"}
_IMPORTED |= {(owner, "TYPE_CHECKING") for owner in OWNERS}
HEAD = """\"\"\"Public names of PyTorch {version}, by owner; site_tools/tab/torch_names.py writes it.\"\"\"
"""


def public_names(owner: str) -> tuple[list[str], list[str]]:
    """Sort the public names of a module of PyTorch, or of a class, and those of its submodules.

    What the module has imported from elsewhere, such as ``torch.os``, is left out.
    """
    path, _, last = owner.rpartition(".")
    value = getattr(importlib.import_module(path), last) if path else importlib.import_module(owner)
    modules = {module.name for module in pkgutil.iter_modules(getattr(value, "__path__", ()))}
    names = set()
    for name in dir(value):
        found = getattr(value, name, None)
        if inspect.ismodule(found):
            if found.__name__.startswith("torch."):
                modules.add(name)
        elif _is_of_torch(found) and (owner, name) not in _IMPORTED:
            names.add(name)
    public = [sorted(name for name in kind if not name.startswith("_")) for kind in (names, modules)]
    return public[0], public[1]


def _is_of_torch(value: Any) -> bool:
    module = getattr(value, "__module__", None)
    is_of_torch = not isinstance(module, str) or module.partition(".")[0] == "torch"
    return is_of_torch and not isinstance(value, TypeVar)


def source() -> str:
    """Return the text of the file."""
    import torch  # noqa: PLC0415 (slow, and the constants above need none of it)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # looking a name up warns if PyTorch deprecates it
        found = {owner: public_names(owner) for owner in OWNERS}
    version = torch.__version__.partition("+")[0]
    parts = [HEAD.format(version=version), f'\nVERSION = "{version}"\n']
    for title, kind in (("NAMES", 0), ("MODULES", 1)):
        parts.append(f"\n{title} = {{\n")
        for owner, both in found.items():
            lines = textwrap.wrap(" ".join(both[kind]), 102, break_on_hyphens=False)
            if lines:
                parts += [f'    "{owner}": """\n', *(f"        {line}\n" for line in lines), '    """,\n']
        parts.append("}\n")
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(source(), encoding="utf-8")
