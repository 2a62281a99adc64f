"""The stubs by which mypy knows the methods that files add to Tensor: they name what is added, and no more."""

import ast
import json
import subprocess
import sys

from tests.python_path import importing_from
from tests.runtime.subset import RUNTIME

STUBS = ("methods.pyi", "elementwise_methods.pyi")
LISTING = """
import inspect, json, sys, torch
found = {}
for name, value in vars(torch.Tensor).items():
    value = value.fget if isinstance(value, property) else value
    if inspect.isfunction(value) and value.__code__.co_filename != sys.modules["torch.tensor"].__file__:
        found[name] = list(inspect.signature(value).parameters)[1:]
print(json.dumps(found))
"""


def added():
    """Methods and properties that other files than tensor.py define, each with the names of its parameters."""
    command = [sys.executable, "-c", LISTING]
    done = subprocess.run(command, capture_output=True, text=True, env=importing_from(RUNTIME), check=True)
    return json.loads(done.stdout)


def stubbed():
    """The same of the stubs; None for parameters that a stub takes from the definition itself."""
    found = {}
    for path in (RUNTIME / "torch" / name for name in STUBS):
        *_, definition = ast.parse(path.read_text(encoding="utf-8")).body
        for node in definition.body:
            if isinstance(node, ast.FunctionDef):
                every = [*node.args.args, node.args.vararg, *node.args.kwonlyargs, node.args.kwarg]
                found[node.name] = [each.arg for each in every if each][1:]
            else:
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                found[target.id] = None
    return found


def test_the_stubs_name_every_method_that_is_added():
    assert sorted(stubbed()) == sorted(added())


def test_the_stubs_name_the_parameters_as_they_are():
    real = added()
    in_place = ["args", "kwargs"]  # whatever the operation takes
    written = {name: names for name, names in stubbed().items() if names is not None}
    assert {name: names for name, names in written.items() if real[name] not in (names, in_place)} == {}
