"""``llmguide grpo``: GRPO and its variants on verifiable rewards, or in the tiny world."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Literal

from llmguide.post_training.datasets import FORMATS, Problem, first_turn, problems
from llmguide.post_training.rl import verifiable_rewards
from llmguide.post_training.rl.grpo import GRPOConfig, GRPOTrainer
from llmguide.post_training.rl.grpo_losses import Variant
from llmguide.runs.chat_model import open_chat, save_trained
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import barrier, loggers, start_run, train_val_split
from llmguide.runs.options import LORA, STEPS, Lora, ModelSource, Steps, per_step
from llmguide.runs.provenance import digest
from llmguide.runs.rollouts import answerable, fraction_correct, summarize
from llmguide.runs.toy import NEEDS_DATA, run_toy
from llmguide.training import distributed

DESCRIPTION = f"""\
Group relative policy optimization, or a variant of it with --variant. Without arguments, the policy of
llmguide sft maximizes the reward model of llmguide reward in the tiny world, where the best possible policy
is known; policy and reward model are trained first if missing. --data, your own prompts and answers,
uses verifiable rewards: numbers are compared as numbers, others by the text in <answer></answer> or
\\boxed{{}}. Repeat the command to resume a run.

{FORMATS}

Examples:
  llmguide grpo
  llmguide grpo --variant dr_grpo --output runs/dr-grpo
  llmguide grpo --data gsm8k.jsonl --model Qwen/Qwen2.5-0.5B-Instruct --lora-rank 16 --output runs/math
  torchrun --nproc-per-node 2 -m llmguide grpo --output runs/two"""

MAX_NEW_TOKENS, HELD_OUT = 128, 0.1


def grpo(
    *,
    data: Path | None = None,
    model: str | None = None,
    reward_model: Path | None = None,
    output: Path = Path("runs/grpo"),
    variant: Variant = "grpo",
    group_size: int = 8,
    kl_coef: float | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_length: int | None = None,
    check: Literal["auto", "numeric", "exact"] = "auto",
    held_out: float = HELD_OUT,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Train a policy on group-relative advantages.

    Args:
        data: Prompts with answers, in one of the formats above; default: the tiny world.
        model: Initial policy: a run folder, a folder of transformers, or a name on the hub. In the tiny
            world: the folder of llmguide sft.
        reward_model: Folder of llmguide reward, in the tiny world.
        output: Run folder.
        variant: Estimator of the advantages and aggregation of the loss.
        group_size: Number of completions of each prompt.
        kl_coef: KL coefficient; 0.05 in the tiny world, else 0.
        max_new_tokens: Most tokens of a completion; 4 in the tiny world.
        max_length: Most tokens of a prompt and its completion, at most the context length of the model, which
            is the default; longer prompts are dropped and counted.
        check: Comparison with the expected answer; auto: as numbers, if all expected answers are numbers.
        held_out: Fraction of the prompts that is held out.
        steps: Training options. Defaults: 200 rollouts of 8 prompts, learning rate 1e-5, with LoRA 1e-4; in
            the tiny world 200 of 16, learning rate 5e-4.
        lora: LoRA options.
    """
    if data is None:
        given = (max_new_tokens, max_length, check, held_out, steps.epochs, lora)
        if given != (MAX_NEW_TOKENS, None, "auto", HELD_OUT, None, LORA):
            raise ValueError(NEEDS_DATA)
        options = {"variant": variant, "group_size": group_size, "kl_coef": kl_coef}
        run_toy("grpo", output, steps, model=model, reward_model=reward_model, **options)
        return
    if model is None or reward_model is not None:
        raise ValueError("--data needs a policy and checks answers: give --model, and no --reward-model")
    distributed.init_process_group()
    asked = problems(data, with_answer=True, report=say)
    choices = {"model": model, "variant": variant, "group_size": group_size, "kl_coef": kl_coef}
    choices |= {"data": data, "data_sha256": digest(asked), "held_out": held_out, "check": check}
    choices |= {"max_new_tokens": max_new_tokens, "max_length": max_length}
    device = start_run(output, **choices, seed=steps.seed, lora=vars(lora))
    chat = open_chat(ModelSource(model), [], seed=steps.seed, lora=lora)
    found = answerable(chat, asked, max_new_tokens, max_length)
    grader = _grader(check, [problem for _, problem in found])
    expected = _expected(chat.tokenizer.decode, found)
    named = [(first_turn(problem.prompt), ids) for ids, problem in found]
    seen, unseen = train_val_split(named, held_out, "prompts")
    lora.apply_to(chat.model.to(device))
    reference = deepcopy(chat.model) if kl_coef else None  # new adapters change nothing
    defaults = GRPOConfig(
        n_steps=200,
        batch_size=8,
        max_new_tokens=max_new_tokens,
        eos_id=chat.end_ids,
        lr=1e-4 if lora.lora_rank else 1e-5,
        variant=variant,
        group_size=group_size,
        kl_coef=kl_coef or 0.0,
    )
    config = steps.merge_into(defaults, len(seen))
    reward = verifiable_rewards.reward(grader, chat.tokenizer.decode, expected, eos_id=chat.end_ids)
    say(f"{config.n_steps} rollouts of {per_step(config)} of {len(seen):,} prompts, on {device}")
    learner = GRPOTrainer(policy=chat.model, reward=reward, config=config, reference_model=reference)
    before = fraction_correct(chat.model, unseen, reward, config)
    chat.save_tokenizer(output)
    history = learner.train(seen, folder=output / "checkpoints", logger=loggers(output, config, steps.wandb))
    save_trained(output, chat, chat.model, lora)
    after = fraction_correct(chat.model, unseen, reward, config)
    for when, correct in (("before", before), ("after", after)):
        if correct is not None:
            say(
                f"right {when}: {correct.score:.1%} of {len(unseen)} held-out prompts, 95% interval "
                f"{correct.low:.1%} to {correct.high:.1%}"
            )
    summarize(output, history, before=before, after=after)
    barrier()


COMMAND = grpo


def _grader(kind: str, asked: list[Problem]) -> Callable[[str, str], float]:
    """Return the function that checks answers."""
    not_numbers = [
        problem.answer for problem in asked if verifiable_rewards.parse_number(_final(problem.answer)) is None
    ]
    if kind == "numeric" and not_numbers:
        raise ValueError(f"--check numeric: expected answer {not_numbers[0]!r} is not a number; try exact")
    return verifiable_rewards.exact if kind == "exact" or not_numbers else verifiable_rewards.numeric


def _expected(decode: Callable[[list[int]], str], found: list[tuple[list[int], Problem]]) -> dict[str, str]:
    """Return the expected answer of each prompt, by the decoded prompt."""
    expected: dict[str, str] = {}
    for ids, problem in found:
        answer = _final(problem.answer)
        if expected.setdefault(decode(ids), answer) != answer:
            raise ValueError(f"the prompt {problem.prompt[-1]['content'][:60]!r} has two different answers")
    return expected


def _final(answer: str) -> str:
    """Return the text after ``####``, as in the answers of GSM8K, or all of it."""
    return answer.rpartition("####")[2].strip()
