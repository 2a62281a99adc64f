import json
from pathlib import Path

import pytest
from site_tools.cells import parity
from site_tools.cells.parity import join, merge, read, render, stored


def row(**changes):
    return {
        "function": "llmguide.nn.masks.causal_mask",
        "peer": "torch.tril",
        "version": "2.13.0+cpu",
        "error": 0.0,
        "tolerance": 0.0,
        "test": "tests/test_masks.py::test_causal[3-5]",
        **changes,
    }


def test_comparisons_of_tests_that_are_not_repeated_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "LEDGER", tmp_path / "parity")
    monkeypatch.setattr(parity, "PASSED", tmp_path / "passed")
    monkeypatch.setattr(parity, "ROOT", tmp_path)
    for folder in ("parity", "passed", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tests" / "test_masks.py").touch()
    repeated, left_out, deleted = (f"tests/test_masks.py::test_{name}" for name in "abc")
    renamed = "tests/test_old_name.py::test_d"
    passed = {"tests/test_masks.py": [repeated, f"{left_out} b]"], "tests/test_old_name.py": [renamed]}
    for file, names in passed.items():
        record = {"file": file, "tests": {name: [] for name in names}}
        (tmp_path / "passed" / f"{Path(file).name}.json").write_text(json.dumps(record))
    first = [row(test=name, error=1.0) for name in (repeated, left_out, deleted, renamed)]
    (tmp_path / "parity" / "1.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in first))
    join()
    assert read() == first
    second = row(test=repeated, error=0.5)
    (tmp_path / "parity" / "2.jsonl").write_text(json.dumps(second) + "\n")
    join()
    assert read() == [first[1], second]


def test_empty_ledger_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "LEDGER", tmp_path)
    with pytest.raises(ValueError, match=r"no comparison in .*run python -m site_tools\.cells\.parity"):
        read()


def test_largest_error_of_each_pair_stays():
    rows = [
        row(error=1e-7),
        row(error=3e-7, test="tests/test_masks.py::worst"),
        row(error=2e-7),
        row(peer="numpy.tril"),
    ]
    assert [(entry["peer"], entry["error"]) for entry in merge(rows)] == [
        ("numpy.tril", 0.0),
        ("torch.tril", 3e-7),
    ]
    assert merge(rows)[1]["test"].endswith("worst")


def test_page_shows_what_was_measured():
    page = render([row(error=2.5e-7, tolerance=1e-6)])
    assert "## llmguide.nn.masks\n" in page
    assert "| [`causal_mask`][llmguide.nn.masks.causal_mask] | `torch.tril` 2.13.0 | [2.5e-07](" in page
    assert '/tests/test_masks.py "test_masks.py, test_causal") | 1e-06 |' in page


def test_equal_results_show_as_zero():
    page = render([row()])
    assert "| [0](" in page
    assert page.rstrip().count(") | 0 |") == 1


def test_function_of_no_module_is_an_error():
    with pytest.raises(ValueError, match=r"compares 'nowhere\.f', but src has no such module"):
        render([row(function="nowhere.f")])


def test_the_stored_ledger_compares_what_the_tests_compare():
    measured = [(row["function"], row["peer"]) for row in merge(read())]
    assert [(row["function"], row["peer"]) for row in stored()] == measured, (
        "python -m site_tools.cells.parity --store"
    )
