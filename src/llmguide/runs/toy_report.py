"""Policies of the tiny world: save and open them, and report their exact rewards and divergences."""

from collections.abc import Mapping
from copy import deepcopy
from math import exp
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.files import write_json
from llmguide.models import GPT, Llama, save
from llmguide.models.saved import is_saved
from llmguide.post_training.toy.frontier import divergence, expected, optimum
from llmguide.post_training.toy.world import WORDS, World, completion_logprobs
from llmguide.runs.folder import load_model, say
from llmguide.runs.lifecycle import write_report
from llmguide.runs.tables import Columns, Table, show
from llmguide.training import distributed
from llmguide.training.monitor import Logger

FILE = "world.json"
N_LOGGED = 20  # number of steps of a run that are logged


def save_policy(folder: Path, policy: GPT | Llama, *, seed: int) -> None:
    """Save a model of the tiny world."""
    save(policy, folder)
    content = {"world": "tiny", "words": WORDS, "seed": seed}
    write_json(folder / FILE, content)


def load_policy(folder: str | Path) -> GPT | Llama:
    """Open a model of the tiny world.

    Raises:
        ValueError: The folder has no model of the tiny world.
    """
    folder = Path(folder)
    if not (is_saved(folder) and (folder / FILE).exists()):
        raise ValueError(
            f"{folder} has no model of the tiny world; llmguide sft without --data makes one, and other "
            "models need --data"
        )
    return load_model(folder)


@torch.no_grad()
def logprobs_of(policy: Any, world: World) -> Float[Tensor, "P N"]:
    """Return the log-probabilities of all completions, under a copy of a policy on the CPU."""
    return completion_logprobs(deepcopy(policy).cpu().eval(), world)


def best_at(reference: Float[Tensor, "P N"], reward: Float[Tensor, "P N"], kl: float) -> float:
    r"""Return the highest expected reward at a KL divergence: the frontier, by bisection over beta.

    >>> reference = torch.tensor([[0.5, 0.5]]).log()
    >>> best_at(reference, torch.tensor([[1.0, 0.0]]), 0.130812)  # 3 to 1: 0.75 log 1.5 + 0.25 log 0.5
    0.75
    """
    low, high = -8.0, 8.0  # logarithm of beta; the divergence falls as it rises
    for _ in range(40):
        middle = (low + high) / 2
        policy = optimum(reference, reward, exp(middle))
        if divergence(policy, reference).item() > kl:
            low = middle
        else:
            high = middle
    return expected(optimum(reference, reward, exp(high)), reward).item()


class Exact:
    """A logger that adds the exact true reward and KL divergence of a policy, at about 20 steps of a run."""

    def __init__(self, logger: Logger | None, policy: Any, reference: Tensor, world: World, *, n_steps: int):
        self.logger = logger
        self.policy = policy
        self.reference = reference
        self.world = world
        self.every = max(1, n_steps // N_LOGGED)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Measure if the step is due, and pass all values on."""
        values = dict(values)
        if step % self.every == 0:
            logprobs = logprobs_of(self.policy, self.world)
            values["exact/gold"] = expected(logprobs, self.world.gold).item()
            values["exact/kl"] = divergence(logprobs, self.reference).item()
        if self.logger is not None:
            self.logger.log(step, values)

    def text(self, step: int, text: str) -> None:
        """Pass a sample on."""
        if self.logger is not None:
            self.logger.text(step, text)


def policy_report(
    name: str,
    logprobs: Float[Tensor, "P N"],
    reference: Float[Tensor, "P N"],
    world: World,
    learned: Float[Tensor, "P N"] | None = None,
) -> dict[str, Any]:
    """Measure a policy: its KL divergence, its expected reward, and the highest reward at that divergence.

    Args:
        name: Name of the policy.
        logprobs: Log-probabilities of all completions under the policy.
        reference: Log-probabilities of the reference model.
        world: The tiny world, with its true reward.
        learned: Learned reward of all completions, to report as well; None: none.
    """
    kl = max(0.0, divergence(logprobs, reference).item())
    row = {
        "policy": name,
        "kl": kl,
        "gold": expected(logprobs, world.gold).item(),
        "best_gold": best_at(reference, world.gold, kl),
    }
    if learned is not None:
        row["learned"] = expected(logprobs, learned).item()
        row["best_learned"] = best_at(reference, learned, kl)
    return row


def report(
    output: Path,
    title: str,
    rows: list[dict[str, Any]],
    logprobs: Float[Tensor, "P N"] | None,
    world: World,
    **more: Any,
) -> None:
    """Print and save the rows of policies, with the most likely completions of the last one."""
    if distributed.world().rank > 0:
        return
    columns: Columns = {"policy": str} | {name: "{:.3f}".format for name in rows[0] if name != "policy"}
    notes = ["best: the highest reward of any policy at that divergence; all numbers are exact."]
    if logprobs is not None:
        for prompt, answer in zip(world.prompts.tolist(), logprobs.argmax(dim=1).tolist(), strict=True):
            notes.append(f"{WORDS[prompt]}: {world.text(answer)}")
    show(Table(title, columns, rows, notes), as_json=False)
    write_report(output, {"rows": rows, **more})
    say(f"\nsee the curves:  tensorboard --logdir {output / 'logs'}")
