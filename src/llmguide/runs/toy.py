"""The tiny world on the command line: policies in folders, and exact reports of where they stand."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.files import write_json
from llmguide.models import GPT, Llama, save
from llmguide.models.saved import is_saved
from llmguide.post_training.toy.world import WORDS, World, completion_logprobs, divergence, expected, optimum
from llmguide.runs.folder import load_model, say
from llmguide.runs.post_training import write_report
from llmguide.runs.tables import Columns, Table, show
from llmguide.training import distributed
from llmguide.training.config import TrainConfig
from llmguide.training.monitor import Logger

FILE = "world.json"
N_DEMONSTRATIONS, N_PAIRS = 4000, 2000
N_STEPS = 200


def save_policy(folder: Path, policy: GPT | Llama, *, seed: int) -> None:
    """Write a model of the tiny world."""
    save(policy, folder)
    content = {"world": "tiny", "words": WORDS, "seed": seed}
    write_json(folder / FILE, content)


def load_policy(folder: str | Path) -> GPT | Llama:
    """Open a model of the tiny world.

    Raises:
        ValueError: The folder holds none.
    """
    folder = Path(folder)
    if not (is_saved(folder) and (folder / FILE).exists()):
        raise ValueError(
            f"{folder} holds no model of the tiny world; llmguide sft without --data makes one, and other "
            "models take --data"
        )
    return load_model(folder)


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: with matrices of 32 columns a second one costs more than it brings."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def paced(config: TrainConfig) -> TrainConfig:
    """Log about 20 of the steps."""
    return replace(config, log_every=max(1, config.n_steps // 20))


@torch.no_grad()
def logprobs_of(policy: Any, world: World) -> Float[Tensor, "P N"]:
    """Log-probabilities of all answers, of a policy on any device, which is left as it is."""
    return completion_logprobs(deepcopy(policy).cpu().eval(), world)


def best_at(reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], kl: float) -> float:
    r"""Most expected reward at a divergence from the reference: the frontier, found by bisection over beta.

    >>> reference = torch.tensor([[0.5, 0.5]]).log()
    >>> best_at(reference, torch.tensor([[1.0, 0.0]]), 0.130812)  # 3 to 1: 0.75 log 1.5 + 0.25 log 0.5
    0.75
    """
    low, high = -8.0, 8.0  # logarithm of beta; the divergence falls as it rises
    for _ in range(40):
        middle = (low + high) / 2
        found = optimum(reference, reward, exp(middle))
        if divergence(found, reference).item() > kl:
            low = middle
        else:
            high = middle
    return expected(optimum(reference, reward, exp(high)), reward).item()


class Exact:
    """A logger that adds exact measurements of a policy to what it passes on, at about 20 steps of a run."""

    def __init__(self, logger: Logger | None, policy: Any, reference: Tensor, world: World, *, n_steps: int):
        self.logger = logger
        self.policy = policy
        self.reference = reference
        self.world = world
        self.every = max(1, n_steps // 20)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Measure, if it is time, and pass everything on."""
        values = dict(values)
        if step % self.every == 0:
            logprobs = logprobs_of(self.policy, self.world)
            values["exact/gold"] = expected(logprobs, self.world.gold).item()
            values["exact/kl"] = divergence(logprobs, self.reference).item()
        if self.logger is not None:
            self.logger.log(step, values)

    def text(self, step: int, text: str) -> None:
        """Pass a text on."""
        if self.logger is not None:
            self.logger.text(step, text)


def standing(
    name: str,
    logprobs: Float[Tensor, "P N"],
    reference: Float[Tensor, "P N"],
    world: World,
    learned: Float[Tensor, "P N"] | None = None,
) -> dict[str, Any]:
    """Measure a policy: its divergence, its reward, and the most reward that any policy has at that."""
    kl = max(0.0, divergence(logprobs, reference).item())
    found = {
        "policy": name,
        "kl": kl,
        "gold": expected(logprobs, world.gold).item(),
        "best_gold": best_at(reference, world.gold, kl),
    }
    if learned is not None:
        found["learned"] = expected(logprobs, learned).item()
        found["best_learned"] = best_at(reference, learned, kl)
    return found


def report(
    output: Path,
    title: str,
    rows: list[dict[str, Any]],
    logprobs: Float[Tensor, "P N"] | None,
    world: World,
    **more: Any,
) -> None:
    """Print and keep where policies stand, with the likeliest answers of the last."""
    if distributed.world().rank > 0:
        return
    columns: Columns = {"policy": str} | {name: "{:.3f}".format for name in rows[0] if name != "policy"}
    notes = ["best: the most that any policy has at that divergence; all numbers are exact."]
    if logprobs is not None:
        for prompt, answer in zip(world.prompts.tolist(), logprobs.argmax(dim=1).tolist(), strict=True):
            notes.append(f"{WORDS[prompt]}: {world.text(answer)}")
    show(Table(title, columns, rows, notes), as_json=False)
    write_report(output, {"rows": rows, **more})
    say(f"\nsee the curves:  tensorboard --logdir {output / 'logs'}")
