"""``llmguide grpo``: learn from checked answers with GRPO and its kin, or in the tiny world."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Literal

import torch

from llmguide.cli.reward import tiny_rewards
from llmguide.cli.sft import WORLD
from llmguide.post_training.datasets import Problem, problems
from llmguide.post_training.rl import verifiable_rewards
from llmguide.post_training.rl.grpo import GRPOConfig, GRPOTrainer
from llmguide.post_training.rl.grpo_losses import Variant
from llmguide.post_training.toy.methods import grpo_choices, table_reward
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
    sides,
    wait,
)
from llmguide.runs.rollouts import answerable, share_right, summarize
from llmguide.runs.toy import N_STEPS, Exact, logprobs_of, one_thread, report, save_policy, standing
from llmguide.training import distributed

DESCRIPTION = """\
Group relative policy optimization, or dapo, dr_grpo or rloo with --variant. With no arguments, the policy of
llmguide sft follows the reward model of llmguide reward in the tiny world, where the best possible is known;
what is missing of the two is made first. --data, JSON lines with prompt and answer, checks answers instead:
numbers as numbers, others by the text in <answer></answer> or \\boxed{}. The same command goes on where it
stopped.

Examples:
  llmguide grpo
  llmguide grpo --variant dr_grpo --output runs/dr-grpo
  llmguide grpo --data gsm8k.jsonl --model Qwen/Qwen2.5-0.5B-Instruct --lora-rank 16 --output runs/math
  torchrun --nproc-per-node 2 -m llmguide grpo --output runs/two"""


def grpo(
    *,
    data: Path | None = None,
    model: str | None = None,
    reward_model: Path | None = None,
    output: Path = Path("runs/grpo"),
    variant: Variant = "grpo",
    group_size: int = 8,
    kl_coef: float | None = None,
    max_new_tokens: int = 128,
    check: Literal["auto", "numeric", "exact"] = "auto",
    held_out: float = 0.1,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Train a policy on how its answers compare with each other.

    Args:
        data: Prompts with answers, JSON lines; the tiny world, unless given.
        model: To start from: a run folder, a folder of transformers, or a name on the hub. In the tiny world:
            the folder of llmguide sft.
        reward_model: In the tiny world: the folder of llmguide reward.
        output: Folder of the run.
        variant: How answers are compared, and their tokens averaged.
        group_size: Answers to each prompt.
        kl_coef: KL coefficient: reward subtracted per nat of KL divergence; 0.05 in the tiny world, else 0.
        max_new_tokens: Longest answer; 4 in the tiny world.
        check: How answers are checked; auto: as numbers, if all that are expected are numbers.
        held_out: Share of the prompts that is evaluated on.
        steps: The training.
        lora: Adapters.
    """
    if data is None:
        if lora.lora_rank:
            raise ValueError(WORLD)
        with one_thread():
            folders = output, model, reward_model
            _in_tiny_world(*folders, steps, variant=variant, group_size=group_size, kl_coef=kl_coef)
        return
    if model is None or reward_model is not None:
        raise ValueError(
            "--data takes a policy, whose answers are checked: give --model, and no --reward-model"
        )
    choices = {"model": model, "variant": variant, "group_size": group_size, "kl_coef": kl_coef}
    device = begin(output, data=data, **choices, seed=steps.seed, lora=vars(lora), held_out=held_out)
    chat = open_chat(Origin(model), [], seed=steps.seed)
    found = answerable(chat, problems(data, with_answer=True), max_new_tokens)
    judge = _check(check, [problem for _, problem in found])
    expected = _expected(chat.tokenizer.decode, found)
    seen, unseen = sides([(problem.prompt[0]["content"], ids) for ids, problem in found], held_out)
    if not seen:
        raise ValueError(
            f"{data}: all {len(unseen)} prompts are held out; give more, or a smaller --held-out"
        )
    reference = deepcopy(chat.model).to(device) if kl_coef else None
    lora.into(chat.model.to(device))
    defaults = GRPOConfig(
        n_steps=200,
        batch_size=8,
        max_new_tokens=max_new_tokens,
        eos_id=chat.end_id,
        lr=1e-4 if lora.lora_rank else 1e-5,
        variant=variant,
        group_size=group_size,
        kl_coef=kl_coef or 0.0,
    )
    config = steps.on(defaults)
    reward = verifiable_rewards.reward(judge, chat.tokenizer.decode, expected, eos_id=chat.end_id)
    say(f"{config.n_steps} rollouts of {config.batch_size} of {len(seen):,} prompts, on {device}")
    learner = GRPOTrainer(policy=chat.model, reward=reward, config=config, reference_model=reference)
    before = share_right(chat.model, unseen, reward, config)
    with resumable(output):
        history = learner.train(
            seen, folder=output / "checkpoints", logger=loggers(output, Lines(config.n_steps))
        )
    finish(output, chat, chat.model, lora)
    after = share_right(chat.model, unseen, reward, config)
    for when, share in (("before", before), ("after", after)):
        if share is not None:
            say(
                f"right {when}: {share.score:.1%} of {len(unseen)} held-out prompts, 95% interval "
                f"{share.low:.1%} to {share.high:.1%}"
            )
    summarize(output, history, before=before, after=after)
    wait()


COMMAND = grpo


def _check(kind: str, asked: list[Problem]) -> Callable[[str, str], float]:
    """Choose how answers are checked."""
    unread = [
        problem.answer for problem in asked if verifiable_rewards.parse_number(_final(problem.answer)) is None
    ]
    if kind == "numeric" and unread:
        raise ValueError(f"--check numeric: the expected answer {unread[0]!r} is no number; try exact")
    return verifiable_rewards.exact if kind == "exact" or unread else verifiable_rewards.numeric


def _expected(decode: Callable[[list[int]], str], found: list[tuple[list[int], Problem]]) -> dict[str, str]:
    """The answer to each prompt, by the prompt as it decodes."""
    expected: dict[str, str] = {}
    for ids, problem in found:
        answer = _final(problem.answer)
        if expected.setdefault(decode(ids), answer) != answer:
            raise ValueError(f"the prompt {problem.prompt[-1]['content'][:60]!r} has two different answers")
    return expected


def _final(answer: str) -> str:
    """What stands behind ``####``, as in the answers of GSM8K, or all of it."""
    return answer.rpartition("####")[2].strip()


def _in_tiny_world(
    output: Path,
    model: str | None,
    reward_model: Path | None,
    steps: Steps,
    *,
    variant: Variant,
    group_size: int,
    kl_coef: float | None,
) -> None:
    choices = {"variant": variant, "group_size": group_size, "kl_coef": kl_coef, "seed": steps.seed}
    begin(output, world="tiny", model=model, reward_model=reward_model, **choices)
    world = tiny_world()
    policy, reference, learned = tiny_rewards(model, reward_model, output, seed=steps.seed)
    price = {} if kl_coef is None else {"kl_coef": kl_coef}
    config = steps.on(grpo_choices(world, N_STEPS, variant=variant, group_size=group_size, **price))
    say(f"the tiny world: {config.n_steps} rollouts of {config.batch_size} groups of {group_size} answers")
    torch.manual_seed(steps.seed)
    learner = GRPOTrainer(
        policy=policy, reward=table_reward(world, learned), config=config, reference_model=deepcopy(policy)
    )
    logger = Exact(loggers(output, Lines(config.n_steps)), policy, reference, world, n_steps=config.n_steps)
    with resumable(output):
        learner.train(world.prompts[:, None].tolist(), folder=output / "checkpoints", logger=logger)
    if distributed.world().rank == 0:
        save_policy(output, policy, seed=steps.seed)
    logprobs = logprobs_of(policy, world)
    rows = [
        standing(name, found, reference, world, learned)
        for name, found in (("start", reference), (variant, logprobs))
    ]
    report(
        output, "divergence from the start, true reward, and the reward it followed", rows, logprobs, world
    )
    wait()
