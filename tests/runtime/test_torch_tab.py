"""The subset on the tab's Python, numpy and 32-bit integers: the same snippets in Pyodide, under Node."""

import json
import subprocess

import pytest
from tests.runtime import test_nn as nn
from tests.runtime import test_torch_autograd as autograd
from tests.runtime import test_torch_operations as operations
from tests.runtime import test_torch_printing as printing
from tests.runtime import test_torch_random as random
from tests.runtime.subset import REPOSITORY, describe_all, differences

NUMPY = next((REPOSITORY / ".cache" / "wheels").glob("numpy-*.whl"), None)
PROGRAM = """
import { loadPyodide } from "pyodide";
import { readFileSync } from "node:fs";
const { repository, numpy, snippets } = JSON.parse(readFileSync(0, "utf8"));
const pyodide = await loadPyodide({ stdout: (text) => process.stderr.write(text + "\\n") });
pyodide.unpackArchive(new Uint8Array(readFileSync(numpy)), "wheel");
pyodide.mountNodeFS("/runtime", `${repository}/docs/runtime`);
pyodide.mountNodeFS("/guide/tests/runtime", `${repository}/tests/runtime`);
pyodide.globals.set("snippets", snippets);
process.stdout.write(pyodide.runPython(`
import json, sys
sys.path[:0] = ["/runtime", "/guide/tests/runtime"]
import subset
json.dumps(subset.describe_all(json.loads(snippets)))
`));
"""
SNIPPETS = [
    *operations.ELEMENTWISE,
    *operations.REDUCTIONS,
    *operations.PRODUCTS,
    *operations.SHAPES,
    *operations.INDEXING,
    *operations.CREATION,
    *operations.ERRORS,
    *autograd.GRAPHS,
    *autograd.IN_PLACE,
    *autograd.HOOKS,
    *printing.SNIPPETS,
    *random.EXACT,
    *random.CLOSE,
    *nn.FUNCTIONS,
    *nn.LOSSES,
    *nn.ATTENTION,
    *nn.MODULES,
    *nn.STATES,
    *nn.OPTIMIZERS,
    *nn.OTHERS,
]


@pytest.mark.skipif(
    NUMPY is None, reason="needs Pyodide's numpy in .cache/wheels: python -m tools.wheels fetches it"
)
def test_subset_in_pyodide_equals_torch():
    given = {"repository": str(REPOSITORY), "numpy": str(NUMPY), "snippets": json.dumps(SNIPPETS)}
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", PROGRAM],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [
        f"{snippet}\n  {difference}"
        for snippet, mine, other in zip(
            SNIPPETS, json.loads(done.stdout), describe_all(SNIPPETS), strict=True
        )
        for difference in differences(mine, other, tolerance=2e-5)
    ]
    assert not found, f"{len(found)} differences in {len(SNIPPETS)} snippets\n" + "\n".join(found)
