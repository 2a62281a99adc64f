"""The package under the in-page torch subset: the same numbers as under PyTorch, and its own doctests."""

import json
import subprocess
import sys

import pytest
from site_tools import ROOT, RUNTIME
from tests.python_path import importing_from

# Doctests that need what the tab has not: programs for a shell, the meta device, torch's 4-bit kernel,
# packages of extras.
LEFT_OUT = (
    "--ignore=src/llmguide/cli",
    "--ignore=src/llmguide/runs",
    "--ignore=src/llmguide/site_server",
    "--ignore=src/llmguide/projects",
    "--deselect=src/llmguide/data/tokens/windows.py::llmguide.data.tokens.windows.to_device",
    "--deselect=src/llmguide/post_training/adapters/quantized_linear.py::llmguide.post_training.adapters.quantized_linear.dequantize_model",
    "--deselect=src/llmguide/models/huggingface/convert.py::llmguide.models.huggingface.convert.from_hf",
    "--deselect=src/llmguide/models/huggingface/convert.py::llmguide.models.huggingface.convert.to_hf",
    "--deselect=src/llmguide/models/saved.py::llmguide.models.saved.save",
    "--deselect=src/llmguide/evaluation/metrics.py::llmguide.evaluation.metrics.rouge",
    "--deselect=src/llmguide/data/cleaning/filters.py::llmguide.data.cleaning.filters.language",
    "--deselect=src/llmguide/tokenization/huggingface.py::llmguide.tokenization.huggingface.to_hf_tokenizer",
    "--deselect=src/llmguide/tokenization/openai.py::llmguide.tokenization.openai.load_encoding",
    "--ignore=src/llmguide/nn/_int4.py",
)


def run(*command, subset):
    folders = [RUNTIME] * subset + [ROOT, ROOT / "src"]
    environment = importing_from(*folders) | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def both():
    """What the program of training runs prints under PyTorch, and under the subset."""
    found = []
    for subset in (False, True):
        done = run("-W", "ignore", "tests/runtime/training_runs.py", subset=subset)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    return found


def leaves(value, path=""):
    """Numbers in nested dicts and lists, each with the path to it."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, f"{path}/{key}")
    else:
        yield path, value


def agree(path, theirs, ours):
    if isinstance(theirs, int):
        return theirs == ours
    tolerance = 5e-4 if "Muon" in path else 1e-5
    return ours == pytest.approx(theirs, rel=tolerance, abs=tolerance)


@pytest.mark.nightly
def test_training_runs_give_the_same_numbers(both):
    """Integers, the tokens, exactly; the rest to 1e-5, or to 5e-4 with Muon, which rounds to bfloat16."""
    theirs, ours = (dict(leaves(runs)) for runs in both)
    assert theirs.keys() == ours.keys()
    wrong = {
        path: (number, ours[path]) for path, number in theirs.items() if not agree(path, number, ours[path])
    }
    assert not wrong


@pytest.mark.nightly
def test_doctests_of_the_package():
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "src/llmguide", *LEFT_OUT, subset=True)
    assert done.returncode == 0, done.stdout


def test_numpy_warns_a_reader_and_the_subset_does_not():
    code = """
import numpy as np, torch, warnings
zero, infinite = torch.zeros(1), torch.tensor([float("inf")])
zero.log(), zero / 0, infinite - infinite, torch.tensor([1e38]) * 1e38
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    np.log(np.zeros(1))
print([str(warning.message) for warning in caught])
"""
    done = run("-W", "error::RuntimeWarning", "-c", code, subset=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['divide by zero encountered in log']\n"


def test_the_subset_installs_by_itself(tmp_path):
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--target", str(tmp_path))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(RUNTIME)], check=True)
    code = "import torch; print(torch.__file__, torch.ones(2).sum())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=importing_from(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{tmp_path / 'torch' / '__init__.py'} tensor(2.)\n"
    (licenses,) = tmp_path.glob("*.dist-info/licenses")
    assert (licenses / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (licenses / "torch" / "NOTICE").is_file()
