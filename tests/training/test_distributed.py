"""Two and four gloo processes train as one does, and what they save goes on in any number of processes.

One interpreter imports torch once and forks the processes of every case, each with the environment that
torchrun gives.
"""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from tests.python_path import importing_from
from tests.training.small_run import Masked, T, new_model, some_text

from llmguide.training.checkpoint import checkpoints, newest_intact
from llmguide.training.config import TrainConfig
from llmguide.training.distributed import (
    ProcessGroup,
    all_reduce_sum,
    init_process_group,
    local_range,
    seed_rank,
    world,
)
from llmguide.training.train import train

CONFIG = TrainConfig(
    n_steps=4,
    context_length=T,
    batch_size=4,
    gradient_accumulation_steps=2,
    lr=0.01,
    max_grad_norm=0.5,
    checkpoint_every=2,
    eval_every=2,
)
ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="fork")

PROCESSES = """
import os, shutil, socket, sys
from pathlib import Path
import torch
import torch._dynamo, torch.distributed.fsdp, torch.distributed.checkpoint.state_dict_saver  # once for all
import torch.distributed as dist
from dataclasses import replace
from llmguide.training.checkpoint import checkpoints
from llmguide.training.distributed import init_process_group
from llmguide.training.sharded_tensors import gathered
from llmguide.training.train import train
from tests.training.test_distributed import CONFIG, Masked, new_model, some_text

def run(folder, size, port, changes):
    children = []
    for rank in range(size):
        child = os.fork()
        if child:
            children.append(child)
            continue
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size),
                          MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        init_process_group()
        torch.manual_seed(rank)  # other weights in every process but the first
        model = new_model(n_layers=1)
        if rank:
            torch.nn.init.zeros_(model.tokens.weight)
        result = train(model, Masked(), replace(CONFIG, **changes), validation=some_text(44), folder=folder)
        weights = {name: gathered(p.detach()) for name, p in model.named_parameters()}
        if rank == 0:
            losses = [[r.loss, r.grad_norm, r.val_loss or 0.0] for r in result.history]
            found = {"weights": weights, "losses": losses, "n_tokens": result.n_tokens}
            torch.save(found, folder + ".result")
        dist.destroy_process_group()
        os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * size

torch.set_num_threads(1)
os.chdir(sys.argv[1])
for case in sys.argv[2:]:
    folder, size, source, *changes = case.split(",")
    if source:
        middle = checkpoints(source)[1]
        for copy in folder, folder + "-alone":
            os.mkdir(copy)
            (shutil.copytree if middle.is_dir() else shutil.copy)(middle, Path(copy, middle.name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run(folder, int(size), port, dict(change.split("=") for change in changes))
"""
CASES = [  # folder, number of processes, run that it continues in the middle, changes
    "ddp-2,2,,parallel=ddp",
    "fsdp-2,2,,parallel=fsdp",
    "fsdp-2-4,4,fsdp-2,parallel=fsdp",
    "muon-2,2,,parallel=fsdp,optimizer=muon",
]
OTHER_CASES = ["ddp-4,4,,parallel=ddp", "ddp-2-4,4,ddp-2,parallel=ddp", "fsdp-4,4,,parallel=fsdp"]


def train_in_processes(folder: Path, cases: list[str]) -> Path:
    command = [sys.executable, "-c", PROCESSES, str(folder), *cases]
    subprocess.run(command, check=True, cwd=ROOT, timeout=180, env=importing_from(ROOT, ROOT / "src"))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Folder with the checkpoints and results of all cases."""
    folder = tmp_path_factory.mktemp("runs")
    return train_in_processes(folder, CASES)


@pytest.fixture(scope="module")
def other_runs(runs) -> Path:
    return train_in_processes(runs, OTHER_CASES)


@cache
def in_one_process(folder: Path | None = None, **changes) -> dict:
    model = new_model(n_layers=1)
    config = replace(CONFIG, **changes)
    result = train(model, Masked(), config, validation=some_text(44), folder=folder)
    losses = [[r.loss, r.grad_norm, r.val_loss or 0.0] for r in result.history]
    return {"weights": dict(model.named_parameters()), "losses": losses, "n_tokens": result.n_tokens}


def assert_same(run: dict, expected: dict, atol: float = 2e-5) -> None:
    assert run["n_tokens"] == expected["n_tokens"]
    losses, expected_losses = torch.tensor(run["losses"]), torch.tensor(expected["losses"])
    torch.testing.assert_close(losses, expected_losses, atol=atol, rtol=0)
    for name, weight in expected["weights"].items():
        torch.testing.assert_close(run["weights"][name], weight, atol=atol, rtol=0, check_stride=False)


def result_of(runs: Path, case: str) -> dict:
    return torch.load(runs / f"{case}.result", weights_only=True)


@posix
@pytest.mark.parametrize("case", ["ddp-2", "fsdp-2"])
def test_several_processes_train_as_one(runs, case):
    assert_same(result_of(runs, case), in_one_process())
    assert [path.name[:13] for path in checkpoints(runs / case)] == ["step-00000004", "step-00000002"]
    assert all(path.is_dir() == case.startswith("fsdp") for path in checkpoints(runs / case))


@posix
@pytest.mark.nightly
@pytest.mark.parametrize("case", ["ddp-4", "fsdp-4"])
def test_four_processes_train_as_one(other_runs, case):
    test_several_processes_train_as_one(other_runs, case)


@posix
@pytest.mark.nightly
def test_two_replicas_are_continued_by_four_and_by_one(other_runs):
    test_two_processes_are_continued_by_four_and_by_one(other_runs, "ddp")


@posix
@pytest.mark.parametrize("parallel", ["fsdp"])
def test_two_processes_are_continued_by_four_and_by_one(runs, parallel):
    expected = in_one_process()
    assert_same(result_of(runs, f"{parallel}-2-4"), expected)
    assert_same(in_one_process(runs / f"{parallel}-2-4-alone", parallel=parallel), expected)


@posix
def test_muon_gathers_its_matrices(runs):
    assert_same(result_of(runs, "muon-2"), in_one_process(optimizer="muon"), atol=2e-3)  # bfloat16


@posix
@pytest.mark.parametrize("name", ["__1_0.distcp", ".metadata", "run.pt", "manifest.json"])
def test_a_flipped_byte_in_any_file_of_shards_is_found(runs, name):
    newest, older = checkpoints(runs / "muon-2")
    file = newest / name
    whole = file.read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=f"skipped a checkpoint: {file} is damaged"):
        assert newest_intact(newest.parent) == older
    file.unlink()
    with pytest.warns(UserWarning, match=f"{file} is damaged: its SHA-256 is that of no file"):
        assert newest_intact(newest.parent) == older
    file.write_bytes(whole)
    assert newest_intact(newest.parent) == newest


def test_a_process_of_its_own():
    assert world() == ProcessGroup(0, 1)
    assert init_process_group() == torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    assert local_range(12, 4) == (12, 4)
    assert all_reduce_sum(1.5, 2, device=torch.device("cpu")) == [1.5, 2]


def test_slices_cover_a_batch(monkeypatch):
    for size in 1, 2, 4:
        places = []
        for rank in range(size):
            monkeypatch.setattr(
                "llmguide.training.distributed.world", lambda rank=rank, size=size: ProcessGroup(rank, size)
            )
            first, n = local_range(100, 8)
            places += range(first, first + n)
        assert places == list(range(100, 108))
    monkeypatch.setattr("llmguide.training.distributed.world", lambda: ProcessGroup(0, 3))
    with pytest.raises(ValueError, match="8 sequences do not divide among 3 processes"):
        local_range(0, 8)


def test_random_numbers_differ_by_rank_and_step_and_agree_where_they_must(monkeypatch):
    def draw(rank: int, step: int, **options) -> float:
        monkeypatch.setattr("llmguide.training.distributed.world", lambda: ProcessGroup(rank, 2))
        seed_rank(5, step, **options)
        return torch.rand(()).item()

    drawn = [draw(rank, step) for rank in (0, 1) for step in (1, 2)]
    assert len(set(drawn)) == 4
    assert draw(1, 2) == drawn[-1]
    assert draw(0, 1, same=True) == draw(1, 1, same=True) not in drawn
