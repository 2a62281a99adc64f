"""The public names: each can be imported from `llmguide`, and none is loaded before it is used."""

import re
import subprocess
import sys
from dataclasses import fields, is_dataclass

import griffe
import pytest
from site_tools.content import api

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


def test_the_api_page_lists_every_public_name_with_an_example() -> None:
    listed = {found.name: found for found in api.public_names()}
    assert listed.keys() == set(llmguide.__all__)
    assert all(found.chapter and found.summary and found.name in found.example for found in listed.values())


@pytest.mark.parametrize("name", sorted(set(llmguide.__all__) - {"PRESETS"}))  # a dict has dict's docstring
def test_the_docstring_of_a_public_name_imports_it_from_the_package(name: str) -> None:
    docstring = getattr(llmguide, name).__doc__ or ""
    imports = re.findall(r">>> from llmguide import (.+)", docstring)
    assert any(name in found.split(", ") for found in imports)


@pytest.mark.parametrize("name", [n for n in llmguide.__all__ if is_dataclass(getattr(llmguide, n))])
def test_a_public_dataclass_describes_its_fields(name: str) -> None:
    kind = getattr(llmguide, name)
    described = {
        attribute.name
        for base in kind.__mro__
        for section in griffe.Docstring(base.__doc__ or "").parse("google", warnings=False)
        if section.kind is griffe.DocstringSectionKind.attributes
        for attribute in section.value
    }
    assert {field.name for field in fields(kind)} <= described
