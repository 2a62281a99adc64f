"""``llmguide ppo``: follow a reward model with PPO, in the tiny world or on prompts of your own."""

from copy import deepcopy
from pathlib import Path

import torch

from llmguide.cli.reward import tiny_rewards
from llmguide.cli.sft import WORLD
from llmguide.post_training.datasets import problems
from llmguide.post_training.rl.ppo import PPOConfig, PPOTrainer, ValueModel
from llmguide.post_training.toy.methods import ppo_choices, table_reward
from llmguide.post_training.toy.world import tiny_world
from llmguide.runs.folder import say
from llmguide.runs.post_training import (
    LORA,
    STEPS,
    Lines,
    Lora,
    Origin,
    Steps,
    begin,
    finish,
    loggers,
    open_chat,
    resumable,
    wait,
)
from llmguide.runs.reward_heads import with_head
from llmguide.runs.rollouts import answerable, summarize
from llmguide.runs.toy import N_STEPS, Exact, logprobs_of, one_thread, report, save_policy, standing
from llmguide.training import distributed

DESCRIPTION = """\
Proximal policy optimization: the policy of llmguide sft learns to please the reward model of llmguide
reward, without going far from where it started. With no arguments, in the tiny world, where the best possible
is known; what is missing of the two is made first. --data, JSON lines with prompt, takes --model and
--reward-model too. The same command goes on where it stopped.

Examples:
  llmguide ppo
  llmguide ppo --kl-coef 0.02 --output runs/ppo-greedy        less held back: the reward is over-optimized
  llmguide ppo --data prompts.jsonl --model runs/chat --reward-model runs/judge --output runs/pleasing
  torchrun --nproc-per-node 2 -m llmguide ppo --output runs/two"""


def ppo(
    *,
    data: Path | None = None,
    model: str | None = None,
    reward_model: Path | None = None,
    output: Path = Path("runs/ppo"),
    kl_coef: float | None = None,
    max_new_tokens: int = 64,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Train a policy on a reward model.

    Args:
        data: Prompts, JSON lines; the tiny world, unless given.
        model: To start from, and to stay near: a run folder, a folder of transformers, or a name on the hub.
            In the tiny world: the folder of llmguide sft.
        reward_model: Folder of llmguide reward; with data, made from the same model.
        output: Folder of the run.
        kl_coef: KL coefficient: reward subtracted per nat of KL divergence; 0.1 in the tiny world, else 0.05.
        max_new_tokens: Longest answer; 4 in the tiny world.
        steps: The training.
        lora: Adapters.
    """
    if data is None:
        if lora.lora_rank:
            raise ValueError(WORLD)
        with one_thread():
            _in_tiny_world(output, model, reward_model, kl_coef, steps)
        return
    if model is None or reward_model is None:
        raise ValueError(
            "--data takes a policy and a judge: give --model, and --reward-model of llmguide reward"
        )
    choices = {"model": model, "reward_model": reward_model, "kl_coef": kl_coef, "seed": steps.seed}
    device = begin(output, data=data, **choices, lora=vars(lora))
    chat, scorer = (open_chat(Origin(str(name)), [], seed=steps.seed) for name in (model, reward_model))
    judge = with_head(reward_model, scorer.model).to(device).requires_grad_(False)
    asked = problems(data, with_answer=False)
    prompts = [prompt for prompt, _ in answerable(chat, asked, max_new_tokens)]
    example = asked[0].prompt
    if chat.prompt(example) != scorer.prompt(example):
        raise ValueError(
            f"{model} and {reward_model} have different tokenizers; make the second from the first"
        )
    reference = deepcopy(chat.model).to(device)
    lora.into(chat.model.to(device))
    defaults = PPOConfig(
        n_steps=200,
        batch_size=16,
        max_new_tokens=max_new_tokens,
        eos_id=chat.end_id,
        lr=1e-4 if lora.lora_rank else 1e-5,
        kl_coef=0.05 if kl_coef is None else kl_coef,
    )
    config = steps.on(defaults)
    say(f"{config.n_steps} rollouts of {config.batch_size} of {len(prompts):,} prompts, on {device}")
    learner = PPOTrainer(
        policy=chat.model,
        value_model=ValueModel(chat.model).to(device),
        reward=judge.score,
        reference_model=reference,
        config=config,
    )
    with resumable(output):
        history = learner.train(
            prompts, folder=output / "checkpoints", logger=loggers(output, Lines(config.n_steps))
        )
    finish(output, chat, chat.model, lora)
    summarize(output, history)
    wait()


COMMAND = ppo


def _in_tiny_world(
    output: Path, model: str | None, reward_model: Path | None, kl_coef: float | None, steps: Steps
) -> None:
    begin(output, world="tiny", model=model, reward_model=reward_model, kl_coef=kl_coef, seed=steps.seed)
    world = tiny_world()
    policy, reference, learned = tiny_rewards(model, reward_model, output, seed=steps.seed)
    config = steps.on(ppo_choices(world, N_STEPS, **({} if kl_coef is None else {"kl_coef": kl_coef})))
    say(f"the tiny world: {config.n_steps} rollouts of {config.batch_size} answers")
    torch.manual_seed(steps.seed)
    learner = PPOTrainer(
        policy=policy,
        value_model=ValueModel(policy),
        reward=table_reward(world, learned),
        reference_model=deepcopy(policy),
        config=config,
    )
    logger = Exact(loggers(output, Lines(config.n_steps)), policy, reference, world, n_steps=config.n_steps)
    with resumable(output):
        learner.train(world.prompts[:, None].tolist(), folder=output / "checkpoints", logger=logger)
    if distributed.world().rank == 0:
        save_policy(output, policy, seed=steps.seed)
    logprobs = logprobs_of(policy, world)
    rows = [
        standing(name, found, reference, world, learned)
        for name, found in (("start", reference), (f"PPO, {config.kl_coef:g} a nat", logprobs))
    ]
    report(
        output, "divergence from the start, true reward, and the reward it followed", rows, logprobs, world
    )
    wait()
