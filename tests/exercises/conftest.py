import pytest

from llmguide.coding import protections
from llmguide.exercises.sandbox import REQUIRED, Sandbox


@pytest.fixture(scope="session")
def sandbox():
    if missing := [layer for layer in REQUIRED if protections()[layer] != "on"]:
        pytest.skip(f"this machine lacks {missing}")
    with Sandbox() as started:
        yield started
