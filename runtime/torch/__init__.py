"""The part of PyTorch that this guide uses, on numpy, small enough to run in a reader's tab.

Names, results, printed forms, error messages and random streams are torch's; a test compares each operation
with torch itself. What is missing is refused by name. The files, in reading order:

| file | holds |
| --- | --- |
| `dtypes`, `promotion` | element types, and the common type of two operands |
| `attributes`, `tensor` | the class: an array, its type, where its gradient goes |
| `autograd/` | recording operations, walking back, hooks, `no_grad`, `Function` |
| `arithmetic`, `unary`, `elementwise`, `comparison`, `complexes`, `special` | each element by itself |
| `operators` | the signs, and writing in place |
| `reductions`, `minmax`, `statistics`, `softmaxes`, `cumulative` | along axes |
| `views`, `slicing`, `joining` | other shapes |
| `indexing`, `gathering`, `masking`, `ordering` | elements by place, condition and size |
| `products`, `contraction`, `norms`, `linalg` | matrices |
| `creation`, `filled`, `ranges` | tensors from numbers, of constants, and of evenly spaced numbers |
| `casting`, `python_values` | tensors of other types, and back to numbers |
| `generator`, `random` | the random stream, and the global one |
| `random_tensors`, `random_filling` | tensors of random numbers, and filling others with them |
| `printing` | `repr` |
| `refusal`, `names` | errors for names that are missing, and the public names of PyTorch |
| `nn/`, `optim/`, `utils/` | what is built on these |
| `*.pyi` | for mypy: types that signatures share, and the methods that files add to the class |
"""

import math as _math
import sys as _sys
import warnings as _warnings
from typing import TYPE_CHECKING, NoReturn as _NoReturn

# torch gives inf and nan without a word; numpy that a reader calls still warns
_warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"torch\b")

from torch import dtypes as _dtypes  # noqa: E402
from torch.dtypes import (  # noqa: E402
    can_cast,
    dtype,
    finfo,
    get_default_dtype,
    iinfo,
    promote_types,
    set_default_dtype,
)
from torch.tensor import NAMES as _NAMES  # noqa: E402
from torch.attributes import Size, device, layout, strided  # noqa: E402
from torch.tensor import Tensor  # noqa: E402

# each adds its names to torch and to Tensor
from torch import autograd, arithmetic, unary, elementwise, comparison, complexes, operators  # noqa: E402
from torch import views, slicing, joining, reductions, minmax, statistics, softmaxes, cumulative  # noqa: E402
from torch import indexing, gathering, masking, ordering, products, contraction, norms, linalg, special  # noqa: E402
from torch import python_values, creation, filled, ranges, casting, printing  # noqa: E402
from torch import random, random_tensors, random_filling  # noqa: E402

globals().update(_dtypes.NAMES)
globals().update(_NAMES)

inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e
newaxis = None
__version__ = "2.13.0+subset"


class memory_format:
    """How axes lie in memory; one kind is enough here."""


contiguous_format = preserve_format = memory_format()

# what is written in terms of the names above, and adds its own
from torch import amp, compiler, machine, serialization  # noqa: E402
from torch import nn, optim, utils  # noqa: E402
from torch import cuda, distributed, distributions, overrides  # noqa: E402
from torch.machine import ops  # noqa: E402
from torch.refusal import is_gap as _is_gap, refusal as _refusal  # noqa: E402

globals().update(_NAMES)
# of these names, those that modules of the subset look up here, where a TorchFunctionMode sees them
if TYPE_CHECKING:
    from torch.autograd.modes import no_grad
    from torch.creation import as_tensor, tensor
    from torch.filled import empty, ones, zeros, zeros_like
    from torch.ranges import arange
    from torch.dtypes import bool_ as bool, float64, int64
    from torch.generator import Generator
    from torch.joining import stack
    from torch.masking import where
    from torch.random_tensors import bernoulli, multinomial, normal, randint, randn, randperm
    from torch.special import xlogy
    from torch.unary import log, log1p
    from torch.promotion import broadcast_tensors


if not TYPE_CHECKING:  # else mypy would take any name

    def __getattr__(name: str) -> _NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _refusal("torch", name)


class _Missing:
    """Refuses what is imported from a package, is a name of PyTorch, and is not here."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name.startswith("torch.") and _is_gap(*name.rsplit(".", 1)):
            raise ImportError(f"{name} is not in the in-page subset; run with PyTorch", name=name)


_sys.meta_path.append(_Missing)
# The import machinery asks it for a name of a module only if the module has a path.
for _name, _module in [*_sys.modules.items()]:
    if _name.startswith("torch."):
        vars(_module).setdefault("__path__", [])
