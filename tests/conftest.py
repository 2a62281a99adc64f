"""Check the jaxtyping annotations of the package in every test; what is drawn is the same each time."""

import gc
import random

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from tests import typecheck
from tests.seed import SEED

gc.disable()  # until all that is tested is imported, which stays to the end

settings.register_profile(
    "same",
    settings.default,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same")

# Without such a device, torch.manual_seed would take a stack trace for each.
for devices in (torch.cuda, torch.xpu, torch.mtia):
    if not devices.is_available():
        devices.manual_seed_all = lambda _seed: None

jaxtyping.jaxtyped = typecheck.jaxtyped
jaxtyping.install_import_hook("llmguide", f"{typecheck.__name__}.check").__enter__()


def pytest_collection_finish():
    """Exempt what the imports have made from garbage collection, and collect less often."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002  # of the libraries that are compared with
    random.seed(SEED)


@pytest.fixture(autouse=True)
def checked():
    """Check the first calls of each function, also where an earlier test has called it often."""
    typecheck.calls.clear()


@pytest.fixture(autouse=True)
def unlocked():
    """Release the locks of run folders, which a command holds until its process ends."""
    yield
    from llmguide.training import locks  # noqa: PLC0415  # after the import hook

    for folder in list(locks._until_exit):
        locks.unlock(folder)
