"""Files of a model with 4-bit weights, read without a library: the same tensors as safetensors reads."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from llmguide.models.q4_files import read_safetensors

TENSORS = {
    "codes": torch.arange(24, dtype=torch.uint8).reshape(4, 6),
    "zeros": torch.tensor([-3, 500], dtype=torch.int16),
    "a.scales": torch.tensor([[0.5, -2.25], [1e-30, 3.0]]),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model-1.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt"})
    return path


def test_the_tensors_are_those_that_safetensors_wrote(file: Path) -> None:
    found = read_safetensors(file)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_truncated_file_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model-1\.safetensors is truncated"):
        read_safetensors(file)
