"""Write ``runtime/torch/names.py``, the public names of PyTorch, from the PyTorch that is installed.

Run ``python -m site_tools.tab.torch_names`` after an update of PyTorch; a test fails until then.
"""

import importlib
import pkgutil
import textwrap
import warnings

from site_tools import RUNTIME

TARGET = RUNTIME / "torch" / "names.py"
# What the subset has a part of, and refuses the rest of by name.
OWNERS = (
    *("torch", "torch.Tensor", "torch.autograd", "torch.cuda", "torch.distributed", "torch.linalg"),
    *("torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils"),
    *("torch.optim", "torch.special", "torch.utils"),
)
HEAD = """\"\"\"Public names of PyTorch {version}, by owner; site_tools/tab/torch_names.py writes it.\"\"\"

NAMES = {{
"""


def public_names(owner: str) -> list[str]:
    """Sort the public attributes and submodules of a module of PyTorch, or of ``torch.Tensor``."""
    path, _, last = owner.rpartition(".")
    value = getattr(importlib.import_module(path), last) if path else importlib.import_module(owner)
    names = {*dir(value), *(module.name for module in pkgutil.iter_modules(getattr(value, "__path__", ())))}
    return sorted(name for name in names if not name.startswith("_"))


def source() -> str:
    """Return the text of the file."""
    import torch  # noqa: PLC0415 (slow, and the constants above need none of it)

    parts = [HEAD.format(version=torch.__version__.partition("+")[0])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dir() looks up names that PyTorch deprecates
        for owner in OWNERS:
            lines = textwrap.wrap(" ".join(public_names(owner)), 102, break_on_hyphens=False)
            parts += [f'    "{owner}": """\n', *(f"        {line}\n" for line in lines), '    """,\n']
    return "".join([*parts, "}\n"])


if __name__ == "__main__":
    TARGET.write_text(source(), encoding="utf-8")
