"""A tiny model from first words to preferences, for the play page: each stage reports while it runs.

Everything here is the code of the package, in the world of `llmguide.post_training.toy.world`, where all
completions are listed; only the reports are this module's own. It runs in the reader's tab and hands numbers
to the page.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from session import emit

from llmguide.models import build
from llmguide.post_training.preferences.dpo import dpo_loss, preference_objective
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.rl.grpo import GRPOTrainer
from llmguide.post_training.rl.ppo import PPOTrainer, ValueModel
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.post_training.toy.frontier import best_of_n, expected, frontier, point
from llmguide.post_training.toy.methods import BEST_OF_N, BETAS, KLRewardCurve
from llmguide.post_training.toy.training import (
    fine_tuning,
    grpo_choices,
    ppo_choices,
    preference_data,
    preference_learning,
    score_completions,
    table_reward,
)
from llmguide.post_training.toy.world import (
    WORDS,
    World,
    completion_logprobs,
    demonstrations,
    preferences,
    tiny_world,
)
from llmguide.training.train import train

BABBLE = 2.0  # temperature of the text to pre-train on: all words, and little sense
TAUGHT = 0.7  # of the demonstrations: better completions more often
SUPERVISED = 300  # steps of pre-training, fine-tuning and the reward model, which are quick


class Curve:
    """Hands the loss of a stage to the page, every few steps; a logger of `llmguide.training.train`."""

    def __init__(self, stage: str):
        self.stage = stage

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Report a training step."""
        if step % 5 == 0:
            emit({"stage": self.stage, "step": step, "loss": values["loss"]})

    def text(self, step: int, text: str) -> None:
        """Nothing is written in this world."""


@dataclass
class LiveCurve(KLRewardCurve):
    """Hands each exact point of a policy to the page."""

    method: str = ""

    def measure(self) -> None:
        """Add a point, and report it."""
        super().measure()
        emit({"method": self.method, "point": self.points[-1]._asdict()})


def live(*, seed: int, n_steps: int, methods: list[str], flawed: bool, beta: float, kl_coef: float) -> None:
    """Run the stages, and the methods that are named, in the order of the chapter.

    Args:
        seed: Of weights, data and sampling.
        n_steps: Steps of PPO, GRPO and DPO each.
        methods: Any of "best-of-n", "PPO", "GRPO", "DPO".
        flawed: Whether the rater of the pairs rewards every *wow*.
        beta: KL coefficient of DPO.
        kl_coef: KL coefficient of PPO and GRPO.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    world = tiny_world()
    model = build(world.config)
    for stage, temperature in (("pre-training", BABBLE), ("fine-tuning", TAUGHT)):
        data = _texts(world, 4000, generator, temperature)
        train(model, data, fine_tuning(SUPERVISED), logger=Curve(stage))
        reference = _report(stage, model, world)
    best = [point(reference, reference, world), *frontier(reference, world.gold, (*BETAS, 0.1, 0.05), world)]
    emit({"frontier": [p._asdict() for p in best]})

    pairs = preferences(world, world.proxy if flawed else world.gold, reference, 2000, generator)
    scorer = RewardModel(deepcopy(model))
    curve = Curve("reward model")
    train(
        scorer,
        preference_data(world, pairs),
        preference_learning(SUPERVISED),
        loss=preference_loss,
        logger=curve,
    )
    learned = score_completions(scorer, world)
    learned = learned - (reference.exp() * learned).sum(dim=1, keepdim=True)
    if "best-of-n" in methods:
        for n in BEST_OF_N:
            found = point(best_of_n(reference, learned, n).float(), reference, world, learned)
            emit({"method": "best-of-n", "point": found._asdict()})

    prompts = world.prompts[:, None].tolist()
    reward = table_reward(world, learned)
    for method in ("PPO", "GRPO", "DPO"):
        if method not in methods:
            continue
        policy, frozen = deepcopy(model), deepcopy(model)
        curve = LiveCurve(policy, reference, world, learned, every=max(1, n_steps // 20), method=method)
        if method == "PPO":
            ppo = ppo_choices(world, n_steps, kl_coef=kl_coef)
            PPOTrainer(
                policy=policy,
                value_model=ValueModel(policy),
                reward=reward,
                reference_model=frozen,
                config=ppo,
            ).train(prompts, logger=curve)
        elif method == "GRPO":
            grpo = grpo_choices(world, n_steps, kl_coef=kl_coef)
            GRPOTrainer(policy=policy, reward=reward, reference_model=frozen, config=grpo).train(
                prompts, logger=curve
            )
        else:
            compared = preference_data(world, pairs).with_reference(frozen, batch_size=256)
            objective = preference_objective(partial(dpo_loss, beta=beta))
            train(policy, compared, preference_learning(n_steps), loss=objective, logger=curve)
        _report(method, policy, world)


def _texts(world: World, n: int, generator: torch.Generator, temperature: float) -> SFTDataset:
    """Prompts with completions; the lower the temperature, the more often good ones are sampled."""
    prompts, completions = demonstrations(world, n, generator, temperature=temperature)
    texts = world.token_ids(completions)
    starts = world.prompts[prompts].tolist()
    return SFTDataset([completion([start], text) for start, text in zip(starts, texts, strict=True)])


def _report(stage: str, model: Any, world: World) -> torch.Tensor:
    """Report the most likely completion of each prompt and the mean reward; return all log-probabilities."""
    with torch.no_grad():
        logprobs: torch.Tensor = completion_logprobs(model.eval(), world)
    says = []
    for prompt, row in zip(world.prompts.tolist(), logprobs, strict=True):
        best = row.argmax().item()
        says.append({"prompt": WORDS[prompt], "answer": world.text(best), "p": row[best].exp().item()})
    emit({"stage": stage, "says": says, "gold": expected(logprobs, world.gold).item()})
    return logprobs
