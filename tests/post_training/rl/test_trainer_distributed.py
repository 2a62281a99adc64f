"""Two and three gloo processes train as one does, by PPO and GRPO: same samples, curve and weights."""

import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.python_path import importing_from

from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.post_training.rl.grpo import GRPOConfig, GRPOTrainer
from llmguide.post_training.rl.ppo import PPOConfig, PPOTrainer, ValueModel
from llmguide.post_training.rl.rollout import Rollout
from llmguide.post_training.rl.trainer import PolicyTrainer
from llmguide.training import activation_checkpointing

pytestmark = pytest.mark.skipif(os.name != "posix", reason="fork")
ROOT = Path(__file__).parents[3]
PROMPTS = [[1, 2, 3], [4], [2, 2], [3, 1], [5], [6, 4, 2, 1], [1]]
COMMON: dict[str, Any] = {
    "n_steps": 2, "batch_size": 6, "max_new_tokens": 5, "eos_id": 0, "lr": 3e-3, "n_epochs": 2,
    "n_minibatches": 4, "checkpoint_every": 1,
}  # fmt: skip


def likes_twos(rollouts: Rollout) -> torch.Tensor:
    return ((rollouts.completions == 2) & rollouts.mask).float().sum(dim=1)


def learner(kind: str) -> PolicyTrainer:
    torch.manual_seed(3)
    shape = ModelConfig(vocab_size=7, context_length=12, n_layers=1, d_model=16, n_heads=2)
    policy = build(shape).double()  # in which rounding puts no token on the other side of the clipping
    reference = deepcopy(policy)
    if kind.startswith("ppo"):
        value = ValueModel(policy if kind == "ppo" else build(shape)).double()
        config = PPOConfig(**COMMON, kl_target=1.0, missing_eos_penalty=0.5)
        return PPOTrainer(
            policy=policy, value_model=value, reward=likes_twos, reference_model=reference, config=config
        )
    variant: Any = kind
    config = GRPOConfig(**COMMON, variant=variant, group_size=3, kl_coef=0.1, overlong_margin=2)
    return GRPOTrainer(policy=policy, reward=likes_twos, config=config, reference_model=reference)


CASES = ("ppo/2", "dapo/2")
OTHER_KINDS = ("ppo, own trunk", "grpo", "rloo")
OTHER_CASES = (*(f"{kind}/2" for kind in OTHER_KINDS), "grpo/3", "dapo/3")
KINDS = ("ppo", "dapo", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in OTHER_KINDS))

PROCESSES = """
import os, socket, sys
import torch
import torch.distributed as dist
from llmguide.training.distributed import init_process_group
from tests.post_training.rl.test_trainer_distributed import PROMPTS, learner

torch.set_num_threads(1)
for case in sys.argv[1:]:
    kind, size = case.split("/")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(int(size)):
        child = os.fork()
        if child:
            children.append(child)
            continue
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=size,
                          MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        init_process_group()
        one = learner(kind)
        if rank:  # what another process would have drawn counts for nothing
            torch.manual_seed(rank)
            torch.nn.init.zeros_(one.policy.tokens.weight)
        one.train(PROMPTS, folder=case.replace("/", "-"))
        if rank == 0:
            found = {"model": one.trained.state_dict(), "history": one.history}
            torch.save(found, case.replace("/", "-") + ".pt")
        dist.destroy_process_group()
        os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * int(size), case
"""


def train_in_processes(path: Path, cases: tuple[str, ...]) -> Path:
    """Leave checkpoints and results of some cases in a folder."""
    command = [sys.executable, "-c", PROCESSES, *cases]
    subprocess.run(command, cwd=path, env=importing_from(ROOT), check=True)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_in_processes(tmp_path_factory.mktemp("processes"), CASES)


@cache
def alone(kind: str) -> PolicyTrainer:
    one = learner(kind)
    one.train(PROMPTS)
    return one


def assert_same(one: PolicyTrainer, found: dict[str, Any]) -> None:
    assert len(one.history) == len(found["history"]) == COMMON["n_steps"]
    for ours, theirs in zip(one.history, found["history"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6, nan_ok=True)
    torch.testing.assert_close(one.trained.state_dict(), found["model"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_several_processes_learn_as_one(folder, case):
    assert_same(alone(case.split("/")[0]), torch.load(folder / f"{case.replace('/', '-')}.pt"))


@pytest.mark.nightly
def test_several_processes_learn_as_one_by_the_other_methods(tmp_path):
    train_in_processes(tmp_path, OTHER_CASES)
    for case in OTHER_CASES:
        assert_same(alone(case.split("/")[0]), torch.load(tmp_path / f"{case.replace('/', '-')}.pt"))


@pytest.mark.parametrize("kind", ["ppo", "dapo"])
def test_one_process_goes_on_where_two_stopped(folder, kind):
    checkpoints = folder / f"{kind}-2"
    max(checkpoints.glob("step-*")).unlink()
    one = learner(kind)
    one.train(PROMPTS, folder=checkpoints)
    assert_same(one, torch.load(folder / f"{kind}-2.pt"))


def test_prompts_must_divide_among_processes(monkeypatch):
    monkeypatch.setattr("llmguide.training.distributed.world", lambda: (0, 4))
    with pytest.raises(ValueError, match="6 sequences do not divide among 4 processes"):
        learner("grpo").generate(torch.ones(6, 1, dtype=torch.long), None)


@pytest.mark.parametrize("kind", KINDS)
def test_accumulation_and_recomputation_end_as_the_larger_batch(kind, monkeypatch):
    whole, checkpoint, sizes = alone(kind), activation_checkpointing.checkpoint, []

    def counted(function, x, *args, **options):
        sizes.append(len(x))
        return checkpoint(function, x, *args, **options)

    monkeypatch.setattr(activation_checkpointing, "checkpoint", counted)
    parts = learner(kind)
    changes = {"batch_size": 2, "gradient_accumulation_steps": 3, "activation_checkpointing": True}
    parts.config = replace(parts.config, **changes)
    parts.train(PROMPTS)
    n_rows = COMMON["batch_size"] * getattr(whole.config, "group_size", 1)
    assert sum(sizes) >= COMMON["n_steps"] * COMMON["n_epochs"] * n_rows
    assert max(sizes) <= -(-n_rows // COMMON["n_minibatches"] // 3)
    assert_same(whole, {"model": parts.trained.state_dict(), "history": parts.history})
