import json
from copy import deepcopy
from functools import partial
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file

from llmguide.cli.main import ALIASES, OTHERS, main
from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.models.saved import load_saved
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear, dequantize_model, quantize_model
from llmguide.post_training.preferences.dpo import dpo_loss, preference_objective
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.runs.folder import n_params
from llmguide.runs.options import Lora, Steps, schedule
from llmguide.training.losses import batch_loss
from llmguide.training.step import accumulate_gradients

SIZES = [
    "--n-layers",
    "1",
    "--d-model",
    "16",
    "--n-heads",
    "2",
    "--vocab-size",
    "300",
    "--context-length",
    "48",
]
TALKS = [{"prompt": f"What is {i} plus 1?", "completion": f"It is {i + 1}."} for i in range(20)]
PAIRS = [{"prompt": f"Add 1 to {i}.", "chosen": f"It is {i + 1}.", "rejected": "No."} for i in range(30)]
CONFIG = ModelConfig(vocab_size=40, context_length=24, n_layers=2, d_model=16, n_heads=2)


@pytest.fixture
def written(tmp_path):
    def write(rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return str(path)

    return write


def weights(folder):
    return load_file(folder / "model.safetensors")


def greatest_difference(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def examples(n):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 12, (n, 2), generator=generator).tolist()
    return [completion([1] * a, torch.randint(40, (b,), generator=generator).tolist()) for a, b in lengths]


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_accumulated_gradients_equal_those_of_the_larger_batch_in_double_precision(stage):
    torch.manual_seed(0)
    model = build(CONFIG).double()
    loss = batch_loss
    data = SFTDataset(examples(8))
    if stage != "sft":
        pairs = [PreferencePair(a, b) for a, b in zip(examples(8), examples(16)[8:], strict=True)]
        data = PreferenceDataset(pairs)
        loss = preference_loss if stage == "reward" else preference_objective(partial(dpo_loss, beta=0.5))
        model = RewardModel(model).double() if stage == "reward" else model
        data = data.with_reference(build(CONFIG)) if stage == "dpo" else data
    parts = deepcopy(model)
    mean, n = accumulate_gradients(model, [data.batch(0, 8)], loss=loss)
    split, n_split = accumulate_gradients(
        parts, [data.batch(0, 3), data.batch(3, 4), data.batch(7, 1)], loss=loss
    )
    assert n == n_split
    assert split == pytest.approx(mean, rel=1e-12)
    for one, other in zip(model.parameters(), parts.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("stage", "rows"), [("sft", TALKS), ("dpo", PAIRS), ("reward", PAIRS)])
def test_accumulation_and_recomputation_change_memory_and_not_the_result(stage, rows, written, tmp_path):
    # one start for both: dropout is drawn for each batch, so a new model, which has it, would differ
    args = ["--data", written(rows), *SIZES, "--dropout", "0", "--n-steps", "3", "--held-out", "0.2"]
    assert main(["sft", "--data", written(TALKS), *args[2:], "--output", str(tmp_path / "start")]) == 0
    args = [stage, "--data", written(rows), "--model", str(tmp_path / "start"), *args[-4:], "--lr", "0.01"]
    assert main([*args, "--output", str(tmp_path / "whole"), "--batch-size", "8"]) == 0
    parts = [*args, "--output", str(tmp_path / "parts"), "--batch-size", "2", "--accumulation", "4"]
    assert main([*parts, "--recompute"]) == 0
    whole, parts = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    )
    for name in ("loss", "grad_norm"):  # of the second and third step, which follow updates, too
        assert [row[name] for row in parts] == pytest.approx([row[name] for row in whole], rel=1e-4)
    run = json.loads((tmp_path / "parts" / "run.json").read_text())["training"]
    assert (run["gradient_accumulation_steps"], run["activation_checkpointing"]) == (4, True)


def test_epochs_and_names_of_other_libraries(written, tmp_path, capsys):
    args = ["sft", "--data", written(TALKS), *SIZES, "--batch-size", "4", "--held-out", "0", "--dropout", "0"]
    assert main([*args, "--epochs", "2", "--learning-rate", "1e-3", "--output", str(tmp_path / "a")]) == 0
    training = json.loads((tmp_path / "a" / "run.json").read_text())["training"]
    assert (training["n_steps"], training["lr"], training["precision"]) == (10, 1e-3, "float32")
    assert (
        main([*args, "--max-steps=10", "--lr=1e-3", "--precision=bf16", "--output", str(tmp_path / "b")]) == 0
    )
    assert 0 < greatest_difference(tmp_path / "a", tmp_path / "b") < 0.01  # rounding of bfloat16
    assert main([*args, "--epochs", "2", "--n-steps", "4", "--output", str(tmp_path / "c")]) == 1
    assert "give one of them" in capsys.readouterr().err
    assert main(["sft", "--epochs", "2", "--output", str(tmp_path / "c")]) == 1
    assert "--epochs" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("epochs", [0.0, -1.0, float("nan"), float("inf")])
def test_epochs_out_of_range(epochs):
    with pytest.raises(ValueError, match="must be above 0"):
        schedule(Steps(epochs=epochs), n=8, epochs=1, batch_size=4, lr=1e-3)


def test_longer_examples_are_truncated_or_skipped_and_counted(written, tmp_path, capsys):
    turn = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]
    rows = [{"messages": turn * n} for n in (1, 1, 4, 6)] + [
        {"prompt": "What?", "completion": "That, that, that. " * 20}
    ]
    args = ["sft", "--data", written(rows), *SIZES, "--max-length", "40", "--n-steps", "1", "--held-out", "0"]
    assert main([*args, "--output", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "dropped 1 of 5 conversations: longer than 40 tokens" in out
    assert "truncated 2 conversations: their oldest turns do not fit into 40 tokens" in out
    args = ["reward", "--data", written(PAIRS), *SIZES, "--max-length", "4", "--n-steps", "1"]
    assert main([*args, "--output", str(tmp_path / "reward")]) == 0
    assert "texts at their start, to 4 tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stage", "rows"),
    [("sft", TALKS), ("dpo", PAIRS), pytest.param("reward", PAIRS, marks=pytest.mark.nightly)],
)
def test_qlora_trains_adapters_on_a_base_of_four_bits(stage, rows, written, tmp_path, capsys):
    sizes = ["--n-layers", "1", "--d-model", "64", "--n-heads", "2", *SIZES[6:]]
    args = ["--data", written(TALKS), *sizes, "--n-steps", "2", "--output", str(tmp_path / "start")]
    assert main(["sft", *args]) == 0
    args = [stage, "--data", written(rows), "--model", str(tmp_path / "start"), "--n-steps", "2"]
    qlora = ["--lora-rank", "2", "--quantize", "nf4", "--precision", "bf16", "--held-out", "0.2"]
    assert main([*args, *qlora, "--output", str(tmp_path / "run")]) == 0
    # the saved model is the base after its round trip through four bits, plus the update of the adapters
    before, after = load_saved(tmp_path / "start"), load_saved(tmp_path / "run")
    rounded = dequantize_model(quantize_model(before, ["o_proj", "up"]))
    rounded, after = dict(rounded.named_parameters()), dict(after.named_parameters())
    (up,) = (name for name in after if name.endswith(".up.weight"))
    assert torch.equal(after[up], rounded[up])
    o = "blocks.0.attention.o_proj.weight"
    assert 1 <= torch.linalg.matrix_rank(after[o] - rounded[o], atol=1e-6) <= 2
    copytree(tmp_path / "run", tmp_path / "again")
    (tmp_path / "again" / "model.safetensors").unlink()
    assert main([*args, *qlora, "--output", str(tmp_path / "again")]) == 0
    assert greatest_difference(tmp_path / "run", tmp_path / "again") == 0
    assert main([*args, "--quantize", "nf4", "--output", str(tmp_path / "full")]) == 1
    assert "give a --lora-rank" in capsys.readouterr().err


def test_the_matrices_of_the_blocks_are_quantized_and_the_head_is_not():
    sizes = {"vocab_size": 40, "context_length": 24, "n_layers": 2, "d_model": 64, "n_heads": 2}
    model = build(ModelConfig(**sizes, tie_embeddings=False))
    n_before = n_params(model)
    Lora(lora_rank=2, quantize="nf4").apply_to(model)
    assert n_params(model) == n_before + 2 * 4 * 2 * (64 + 64)  # layers, matrices, rank, sides
    quantized = {name for name, layer in model.named_modules() if isinstance(layer, QuantizedLinear)}
    assert len(quantized) == 2 * 6  # four of attention, two of the feed-forward layer
    assert not any("head" in name for name in quantized)


@pytest.mark.parametrize("command", ["pretrain", "sft", "reward", "dpo", "ppo", "grpo"])
def test_help_shows_every_default(command, capsys):
    assert main([command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "None" not in text.replace("None: all", "")
    for option in ("--lr", "--n-steps", "--batch-size", "--checkpoint-every", "--seed"):
        assert option in text
    assert command == "pretrain" or "learning rate" in text.partition("Defaults:")[2]
    of_ours = {name.split()[0] for name in (*ALIASES.values(), *OTHERS.values()) if name.startswith("--")}
    assert command != "grpo" or not [name for name in of_ours - {"--max-length"} if name not in text]


def test_names_of_transformers_trl_and_peft_are_ours(tmp_path, capsys):
    data = tmp_path / "talks.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n' * 9)
    args = [
        "sft",
        "--dataset_name",
        str(data),
        "--output-dir",
        str(tmp_path / "run"),
        "--max_steps",
        "1",
        *SIZES,
    ]
    args += ["--per_device_train_batch_size", "3", "--learning_rate=1e-3", "--max-seq-length", "64"]
    assert main([*args, "--lora-r", "2", "--lora-alpha", "8", "--lora-target-modules", "q_proj"]) == 0
    options = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (options["lora"]["lora_rank"], options["lora"]["lora_targets"]) == (2, ["q_proj"])
    assert main([*args, "--bf16"]) == 2
    assert "--bf16 is an option of transformers or TRL; give --precision bfloat16" in capsys.readouterr().err
