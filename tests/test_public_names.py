"""The public names: each can be imported from `llmguide`, and none is loaded before it is used."""

import subprocess
import sys

import pytest

import llmguide


@pytest.mark.parametrize("name", llmguide.__all__)
def test_a_public_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(llmguide, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(llmguide)


def test_importing_the_package_loads_no_torch_and_no_module_of_its_own() -> None:
    code = "import sys, llmguide; print([m for m in sys.modules if m.startswith(('llmguide.', 'torch'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'causal_masks'"):
        llmguide.causal_masks  # noqa: B018
