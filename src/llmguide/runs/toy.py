"""Every post-training method in the tiny world, where the best possible policy is known exactly."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.models import build
from llmguide.models.saved import is_saved
from llmguide.post_training.preferences.dpo import dpo_loss, evaluate_preferences, preference_objective
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.toy.frontier import optimum
from llmguide.post_training.toy.methods import one_thread, policy_trainer
from llmguide.post_training.toy.training import (
    centered,
    demonstrated,
    fine_tuning,
    grpo_choices,
    ppo_choices,
    preference_data,
    preference_learning,
    score_completions,
)
from llmguide.post_training.toy.world import World, preferences, tiny_world
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import barrier, loggers, start_run, train_run
from llmguide.runs.options import Steps, per_step
from llmguide.runs.reward_heads import save_head, with_head
from llmguide.runs.toy_report import (
    N_LOGGED,
    Exact,
    load_policy,
    logprobs_of,
    policy_report,
    report,
    save_policy,
)
from llmguide.training import distributed
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss

Method = Literal["sft", "reward", "dpo", "ppo", "grpo"]

N_DEMONSTRATIONS, N_PAIRS = 4000, 2000
N_STEPS = 200
BETAS = (1.0, 0.5, 0.25, 0.1)  # KL coefficients of the policies that are optimal for the learned reward
NEEDS_DATA = (
    "the tiny world has data and a model of its own: give --data, or drop --held-out, --n-pairs, --packed, "
    "--epochs, --max-length, --max-new-tokens, --check, the sizes of a new model, the options of LoRA, and "
    "--model of sft"
)


class Learned(NamedTuple):
    """The starting point of a run of PPO or GRPO.

    Attributes:
        policy: Fine-tuned policy.
        reference: Log-probabilities of all completions under the policy.
        rewards: Learned reward of each completion; its mean under the policy is 0 for each prompt.
    """

    policy: Any
    reference: Tensor
    rewards: Tensor


def run_toy(
    method: Method,
    output: Path,
    steps: Steps,
    *,
    model: str | None = None,
    reward_model: Path | None = None,
    **options: Any,
) -> None:
    """Train with a method in the tiny world, and report the policy's exact rewards.

    Args:
        method: Method to train with.
        output: Run folder.
        steps: Training options.
        model: Folder of the fine-tuned policy; None: created beside the output if missing.
        reward_model: Folder of the reward model, for ppo and grpo; None: the same.
        options: Options of the method, such as ``beta`` or ``kl_coef``.
    """
    sources: dict[str, Any] = {} if method == "sft" else {"model": model}
    if method in ("ppo", "grpo"):
        sources["reward_model"] = reward_model
    with one_thread():
        device = start_run(output, world="tiny", **sources, **options, seed=steps.seed)
        if method == "sft":
            _sft(output, steps, device)
        elif method == "reward":
            _reward(output, steps, device, model)
        elif method == "dpo":
            _dpo(output, steps, device, model, **options)
        else:
            _policy_gradient(method, output, steps, sources, options)
        barrier()


def _sft(output: Path, steps: Steps, device: torch.device) -> None:
    world = tiny_world()
    torch.manual_seed(steps.seed)
    policy: Any = build(world.config).to(device)
    untrained = logprobs_of(policy, world)
    data = demonstrated(world, N_DEMONSTRATIONS, torch.Generator().manual_seed(steps.seed))
    config = _config(steps, fine_tuning(N_STEPS))
    logger = loggers(output, config, steps.wandb)
    _train(output, policy, data, config, f"{len(data):,} demonstrations", loss=batch_loss, logger=logger)
    _save(output, policy, steps)
    title = "KL divergence from the untrained policy, and true reward"
    _report(output, title, {"untrained": untrained, "fine-tuned": logprobs_of(policy, world)}, world)


def _reward(output: Path, steps: Steps, device: torch.device, model: str | None) -> None:
    world = tiny_world()
    policy = _fine_tuned(model, output, seed=steps.seed)
    reference = logprobs_of(policy, world)
    pairs, held_out = _preferences(world, reference, steps.seed)
    torch.manual_seed(steps.seed)
    reward_model = RewardModel(policy).to(device)
    config = _config(steps, preference_learning(N_STEPS))
    data = preference_data(world, pairs)
    logger = loggers(output, config, steps.wandb)
    _train(output, reward_model, data, config, f"{N_PAIRS:,} pairs", loss=preference_loss, logger=logger)
    reward_model.cpu()
    _save(output, policy, steps)
    if distributed.world().rank == 0:
        save_head(output, reward_model)
    learned = centered(score_completions(reward_model, world), reference)
    tables = (("learned", learned), ("gold", world.gold))
    accuracy = {name: _accuracy(table, held_out) for name, table in tables}
    say(
        f"held-out accuracy {accuracy['learned']:.1%} of {N_PAIRS:,} pairs; the true reward itself has "
        f"{accuracy['gold']:.1%}, since the labels are noisy"
    )
    policies = {f"optimal, beta {beta:g}": optimum(reference, learned, beta) for beta in BETAS}
    rows = [policy_report(name, logp, reference, world, learned) for name, logp in policies.items()]
    title = "policies that are optimal for the learned reward"
    report(output, title, rows, list(policies.values())[-1], world, accuracy=accuracy)


def _dpo(
    output: Path,
    steps: Steps,
    device: torch.device,
    model: str | None,
    *,
    beta: float,
    label_smoothing: float,
) -> None:
    world = tiny_world()
    loss = partial(dpo_loss, beta=beta, label_smoothing=label_smoothing)
    policy = _fine_tuned(model, output, seed=steps.seed)
    reference = logprobs_of(policy, world)
    pairs, held_out = (
        preference_data(world, labeled).with_reference(policy, batch_size=256)
        for labeled in _preferences(world, reference, steps.seed)
    )
    policy.to(device)
    config = _config(steps, preference_learning(N_STEPS))
    logger = Exact(loggers(output, config, steps.wandb), policy, reference, world, n_steps=config.n_steps)
    objective = preference_objective(loss)
    _train(output, policy, pairs, config, f"{N_PAIRS:,} pairs", loss=objective, logger=logger)
    _save(output, policy, steps)
    accuracy = evaluate_preferences(policy, held_out, loss, batch_size=256).accuracy
    say(f"held-out accuracy of the implicit reward: {accuracy:.1%} of {N_PAIRS:,} pairs")
    title = "KL divergence from the reference model, and true reward"
    policies = {"start": reference, f"DPO, beta {beta:g}": logprobs_of(policy, world)}
    _report(output, title, policies, world, accuracy=accuracy)


def _policy_gradient(
    method: Method, output: Path, steps: Steps, sources: dict[str, Any], options: dict[str, Any]
) -> None:
    world = tiny_world()
    policy, reference, learned = learned_rewards(**sources, output=output, seed=steps.seed)
    given = {name: value for name, value in options.items() if value is not None}
    if method == "ppo":
        config: Any = steps.merge_into(ppo_choices(world, N_STEPS, **given))
        name, unit = f"PPO, KL coefficient {config.kl_coef:g}", "completions"
    else:
        config = steps.merge_into(grpo_choices(world, N_STEPS, **given))
        name, unit = config.variant, f"groups of {config.group_size} completions"
    say(f"the tiny world: {config.n_steps} rollouts of {per_step(config)} {unit}")
    torch.manual_seed(steps.seed)
    trainer = policy_trainer(world, policy, learned, config)
    logger = Exact(loggers(output, config, steps.wandb), policy, reference, world, n_steps=config.n_steps)
    trainer.train(world.prompts[:, None].tolist(), folder=output / "checkpoints", logger=logger)
    _save(output, policy, steps)
    title = "KL divergence from the reference model, true reward, and learned reward"
    _report(output, title, {"start": reference, name: logprobs_of(policy, world)}, world, learned)


def learned_rewards(model: str | None, reward_model: Path | None, output: Path, *, seed: int) -> Learned:
    """Open the policy and the reward model of the tiny world; train them if missing.

    Args:
        model: Folder of the policy; None: ``sft`` beside the output.
        reward_model: Folder of the reward model; None: ``reward`` beside the output.
        output: Folder of the run that starts from them.
        seed: Seed of models that have to be trained.
    """
    folder = output.parent / "reward" if reward_model is None else reward_model
    policy = _fine_tuned(model, output, seed=seed)
    if reward_model is None and not is_saved(folder):
        say(f"{folder} has no reward model yet: training it first, as llmguide reward does\n")
        run_toy("reward", folder, Steps(seed=seed), model=model)
        say("")
    world = tiny_world()
    reference = logprobs_of(policy, world)
    scores = score_completions(with_head(folder, load_policy(folder)), world)
    return Learned(policy, reference, centered(scores, reference))


def _fine_tuned(model: str | None, output: Path, *, seed: int) -> Any:
    """Open the policy that other methods start from; train it if missing."""
    folder = output.parent / "sft" if model is None else Path(model)
    if model is None and not is_saved(folder):
        say(f"{folder} has no policy yet: training it first, as llmguide sft does\n")
        run_toy("sft", folder, Steps(seed=seed))
        say("")
    return load_policy(folder)


def _preferences(world: World, reference: Tensor, seed: int) -> list[Any]:
    """Sample labeled pairs to train on, and held-out ones."""
    generators = (torch.Generator().manual_seed(seed + i) for i in (1, 2))
    return [preferences(world, world.gold, reference, N_PAIRS, generator) for generator in generators]


def _config(steps: Steps, defaults: TrainConfig) -> TrainConfig:
    config = steps.merge_into(defaults)
    return replace(config, log_every=max(1, config.n_steps // N_LOGGED))


def _train(
    output: Path, model: Any, data: Any, config: TrainConfig, what: str, *, loss: Any, logger: Any
) -> None:
    say(f"the tiny world: {config.n_steps} steps of {config.batch_size} of {what}")
    train_run(output, model, data, config, loss=loss, logger=logger)


def _save(output: Path, policy: Any, steps: Steps) -> None:
    if distributed.world().rank == 0:
        save_policy(output, policy, seed=steps.seed)


def _report(
    output: Path,
    title: str,
    policies: dict[str, Tensor],
    world: World,
    learned: Tensor | None = None,
    **more: Any,
) -> None:
    """Report the reference model and the trained policy."""
    reference, trained = policies.values()
    rows = [policy_report(name, logp, reference, world, learned) for name, logp in policies.items()]
    report(output, title, rows, trained, world, **more)


def _accuracy(table: Float[Tensor, "P N"], pairs: Any) -> float:
    chosen, rejected = (table[pairs.prompts, side] for side in (pairs.chosen, pairs.rejected))
    return ((chosen > rejected).double() + (chosen == rejected).double() / 2).mean().item()
