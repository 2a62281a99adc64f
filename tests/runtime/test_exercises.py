"""The exercises graded by the in-page subset as by PyTorch: solutions pass, and each mistake has its name."""

import json
import subprocess
import sys

import pytest
from tests.python_path import importing_from
from tests.runtime.subset import REPOSITORY, RUNTIME

PROGRAM = """
import json, sys

sys.modules["sqlite3"] = None  # Pyodide comes without it
import torch
from llmguide.exercises import exercises, grade

assert torch.__file__.startswith(RUNTIME), torch.__file__
found = {}
for name, exercise in exercises().items():
    solved = grade(name, exercise.solution)
    named = {mistake.name: str(grade(name, mistake.mutant).mistake) for mistake in exercise.mistakes}
    found[name] = [solved.message] + [f"{a} is named {b!r}" for a, b in named.items() if a != b]
print(json.dumps(found))
"""


@pytest.mark.nightly
def test_the_subset_grades_as_pytorch_does():
    environment = importing_from(RUNTIME, REPOSITORY / "src")
    program = f"RUNTIME = {str(RUNTIME)!r}\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found
    assert found == {name: [f"{name}: right."] for name in found}
