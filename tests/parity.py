"""Compare with an independent library and record the largest error for the parity ledger.

Each comparison writes one JSON line to ``.cache/parity``; site_tools/cells/parity.py makes a page of them.
"""

import json
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

LEDGER = Path(__file__).parent.parent / ".cache" / "parity"


@dataclass(frozen=True)
class Comparison:
    """One row of the ledger."""

    function: str
    peer: str
    version: str
    error: float
    tolerance: float
    test: str


def assert_parity(ours: object, peer: object, *, of: str, against: str, atol: float) -> None:
    """Assert that two results agree everywhere within ``atol``, and record the largest error.

    Args:
        ours: Tensor, array, or (nested) list from the package.
        peer: The same from the library named in ``against``.
        of: Dotted name of our function.
        against: Dotted name of the peer, starting with its distribution name.
        atol: Largest absolute error allowed; 0 demands equality. Equal infinities agree.
    """
    a, b = _as_array(ours), _as_array(peer)
    assert a.shape == b.shape, f"{of}: shape {a.shape}, {against}: {b.shape}"
    different = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    error = float(np.abs(a[different] - b[different]).max()) if different.any() else 0.0
    _record(Comparison(of, against, version(against.partition(".")[0]), error, atol, _test_id()))
    assert error <= atol, f"{of} differs from {against} by {error:.3g} > {atol:.3g}"


def _as_array(value: object) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().to(torch.float64 if value.is_floating_point() else value.dtype).cpu().numpy()
    array = np.asarray(value)
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def _test_id() -> str:
    return os.environ["PYTEST_CURRENT_TEST"].split(" ")[0]


def _record(comparison: Comparison) -> None:
    LEDGER.mkdir(parents=True, exist_ok=True)
    with (LEDGER / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(comparison)) + "\n")
