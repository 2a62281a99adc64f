"""Run every test, and every program that a test starts, on one thread unless OMP_NUM_THREADS is set.

The models of the tests are so small that more threads only wait for each other. PyTorch reads the variable
when it is imported. This file is not in ``tests/`` because it is for the doctests of ``src/`` too.
"""

import gc
import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["tests.kept"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without garbage collection, a third of its time: hundreds of modules stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
