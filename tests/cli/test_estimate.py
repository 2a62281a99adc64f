import json
import subprocess
import sys

import pytest
import transformers

from llmguide import load
from llmguide.cli.main import main
from llmguide.runs import resolve


def estimate(capsys, *args):
    assert main(["estimate", *args, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)["rows"]


def by(rows, name, value):
    return next(row for row in rows if row[name] == value)


def test_it_needs_no_torch():
    code = (
        "import sys; from llmguide.cli.main import main; "
        "assert main(['estimate', 'memory', 'gpt2']) == 0; assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_parameters_of_gpt2_and_of_the_same_shape(capsys):
    rows = estimate(capsys, "params", "gpt2")
    assert by(rows, "part", "total")["parameters"] == 124_439_808  # Radford et al. 2019, 12 layers
    shape = ["--n-layers", "12", "--d-model", "768", "--n-heads", "12", "--vocab-size", "50257"]
    assert estimate(capsys, "params", *shape) == rows
    assert sum(row["fraction"] for row in rows[:-1]) == pytest.approx(1)


def test_active_parameters_of_a_mixture(capsys):
    assert main(["estimate", "params", "mixtral-8x7b"]) == 0
    assert "12,879,925,248 of them" in capsys.readouterr().out.replace("\n", " ")


def test_flops_of_gpt2_by_hand(capsys):
    rows = estimate(capsys, "flops", "gpt2", "--tokens", "1024")
    assert by(rows, "part", "scores")["forward"] == 2 * 1024 * 768 * 12
    assert by(rows, "part", "head")["training"] == 3 * 2 * 50257 * 768


def test_optimal_sizes_of_the_papers(capsys):
    rows = estimate(capsys, "optimal", "5.76e23")
    # Hoffmann et al. 2022, table A3: 67B is what approach 1 finds for this budget; Chinchilla has 70B, 1.4T
    assert by(rows, "law", "Chinchilla, approach 1")["parameters"] == pytest.approx(67e9)
    assert by(rows, "law", "Chinchilla, 20 tokens a parameter")["tokens"] == pytest.approx(1.39e12, rel=0.01)
    # Kaplan et al. 2020, appendix A: 1.3e9 parameters for a petaflop-day
    assert by(estimate(capsys, "optimal", "8.64e19"), "law", "Kaplan et al. 2020")[
        "parameters"
    ] == pytest.approx(1.3e9)
    outside = estimate(capsys, "optimal", "1e15")
    assert by(outside, "law", "Chinchilla, approach 2")["parameters"] is None


def test_hours_of_llama_2_7b(capsys):
    # the model card says 184,320 A100 hours, which is an MFU of 39.1%
    args = ["train", "llama-2-7b", "--tokens", "2e12", "--gpu", "a100", "--utilization", "0.391"]
    (row,) = estimate(capsys, *args, "--n-gpus", "1024", "--price", "2")
    assert row["gpu_hours"] == pytest.approx(184_320, rel=2e-3)
    assert row["days"] == pytest.approx(184_320 / 1024 / 24, rel=2e-3)
    assert row["cost"] == pytest.approx(2 * row["gpu_hours"])
    (same,) = estimate(capsys, "train", "--params", "6738415616", *args[2:])
    assert same["gpu_hours"] == row["gpu_hours"]
    assert len(estimate(capsys, "train", "--params", "1e9", "--tokens", "2e10")) == 8


def test_memory_of_the_zero_paper(capsys):
    # Rajbhandari et al. 2019, figure 1: 7.5B parameters on 64 devices; here LLaMA-2 7B by its formulas
    rows = estimate(capsys, "memory", "llama-2-7b", "--n-gpus", "64", "--recompute", "full")
    n = 6_738_415_616
    states = [row["total"] - row["activations"] for row in rows]
    assert states == pytest.approx([16 * n, 4 * n + 12 * n / 64, 2 * n + 14 * n / 64, 16 * n / 64])
    assert rows[0]["smallest_gpu"] == "h200"  # 108 GB and 1 GB of activations
    assert by(estimate(capsys, "memory", "llama-2-70b"), "stage", "0, DDP")["smallest_gpu"] is None


def test_cache_and_adapters_of_llama_2_7b(capsys):
    wide, narrow = estimate(capsys, "cache", "llama-2-7b", "--tokens", "4096")
    assert (wide["all"], narrow["all"]) == (2 * 2**30, 2**30)
    rows = estimate(capsys, "lora", "llama-2-7b", "--rank", "8", "--targets", "q_proj", "v_proj")
    assert [row["trained"] for row in rows] == [
        6_738_415_616,
        4_194_304,
        4_194_304,
    ]  # arXiv:2106.09685, table 12's way
    assert rows[2]["memory"] < rows[1]["memory"] < rows[0]["memory"]


def test_counts_have_the_suffixes_of_the_tables(capsys):
    long = estimate(capsys, "train", "--params", "8e9", "--tokens", "1.5e13")
    assert estimate(capsys, "train", "--params", "8B", "--tokens", "15T") == long
    assert estimate(capsys, "cache", "gpt2", "--tokens", "1k") == estimate(
        capsys, "cache", "gpt2", "--tokens", "1000"
    )
    for args, message in (
        (["15Q"], "not a number such as"),
        (["T"], "not a number"),
        (["0.1"], "whole number"),
    ):
        assert main(["estimate", "cache", "gpt2", "--tokens", *args]) == 2
        assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize("place", ["", "config.json"])
def test_a_config_of_transformers_is_enough(place, capsys, tmp_path, monkeypatch):
    sizes = {"vocab_size": 11, "n_positions": 8, "n_embd": 12, "n_layer": 2, "n_head": 3}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    model.config.save_pretrained(tmp_path)
    rows = estimate(capsys, "params", str(tmp_path / place))
    assert by(rows, "part", "total")["parameters"] == model.num_parameters()
    monkeypatch.chdir(tmp_path)
    assert estimate(capsys, "params", place or ".") == rows


def test_a_run_and_its_adapter_are_enough(capsys, chat_run, tmp_path):
    total = sum(parameter.numel() for parameter in load(chat_run).parameters())
    adapter = {"base_model_name_or_path": str(chat_run)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    for place in (chat_run, chat_run / "checkpoints", tmp_path):
        assert by(estimate(capsys, "params", str(place)), "part", "total")["parameters"] == total


def test_a_misspelled_preset_is_not_looked_up_on_the_hub(capsys, monkeypatch):
    monkeypatch.setattr(resolve, "locate", lambda name, **_: pytest.fail(f"{name} was looked up"))
    assert main(["estimate", "params", "llama-3-8"]) == 1
    assert "did you mean llama-3-8b" in capsys.readouterr().err


def test_presets_are_listed(capsys):
    assert "llama-3.1-405b" in [row["model"] for row in estimate(capsys, "presets")]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["params"], "--n-layers, --d-model, --n-heads, --vocab-size are missing"),
        (["params", "gpt2", "--n-layers", "3"], "drop --n-layers"),
        (["train", "gpt2", "--params", "1e9", "--tokens", "1e9"], "--params 1e+09 replaces the model"),
        (["train", "gpt2", "--tokens", "1e9", "--utilization", "40"], "utilization=40"),
        (["train", "gpt2", "--tokens", "1e9", "--n-gpus", "0"], "--n-gpus 0 must be at least 1"),
        (["optimal", "-1"], "flops=-1"),
        (["lora", "gpt2", "--targets", "query"], "query"),
    ],
)
def test_what_cannot_be_estimated_says_why(args, message, capsys):
    assert main(["estimate", *args]) != 0
    assert message in " ".join(capsys.readouterr().err.split())
