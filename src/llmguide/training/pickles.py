"""Load pickles of other libraries with an allowlist of classes and functions.

A pickle is a program that may call any function that it can name. With an allowlist of the names that a file
needs, it can use those and nothing else, so it cannot run arbitrary code.

Reference: "Restricting Globals" in the documentation of Python's `pickle`.
"""

import io
import pickle
from collections.abc import Collection
from typing import Any

import torch


def loads(content: bytes, allowed: Collection[str]) -> Any:
    """Load a pickle without running code that is not allowed.

    Args:
        content: Bytes of the pickle.
        allowed: Full names of the classes and functions that it may use; torch's dtypes are always allowed.

    Returns:
        The object.

    Raises:
        ValueError: The pickle uses a name that is not allowed, or is damaged.

    >>> loads(pickle.dumps({"a": [1, 2]}), [])
    {'a': [1, 2]}
    >>> loads(pickle.dumps(print), [])
    Traceback (most recent call last):
    ValueError: the pickle uses builtins.print, which could run code; it was not loaded
    """
    try:
        return _Reader(io.BytesIO(content), allowed).load()
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle raises errors of any kind
        raise ValueError(f"the pickle is damaged: {type(error).__name__}: {error}") from error


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, allowed: Collection[str]) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        dtype = getattr(torch, name, None) if module == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        if f"{module}.{name}" not in self._allowed:
            raise ValueError(f"the pickle uses {module}.{name}, which could run code; it was not loaded")
        return super().find_class(module, name)
