"""``llmguide ppo``: maximize a reward model with PPO, in the tiny world or on your own prompts."""

from copy import deepcopy
from pathlib import Path

from llmguide.post_training.datasets import FORMATS, problems
from llmguide.post_training.rl.ppo import PPOConfig, PPOTrainer, ValueModel
from llmguide.runs.chat_model import open_chat, save_trained
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import barrier, loggers, start_run
from llmguide.runs.options import LORA, STEPS, Lora, ModelSource, Steps, per_step
from llmguide.runs.provenance import digest
from llmguide.runs.reward_heads import with_head
from llmguide.runs.rollouts import answerable, summarize
from llmguide.runs.toy import NEEDS_DATA, run_toy
from llmguide.training import distributed

DESCRIPTION = f"""\
Proximal policy optimization: the policy of llmguide sft maximizes the reward model of llmguide reward, with a
KL penalty. Without arguments, in the tiny world, where the best possible policy is known; policy and reward
model are trained first if missing. --data, your own prompts, needs --model and --reward-model. Repeat the
command to resume a run.

{FORMATS}

Examples:
  llmguide ppo
  llmguide ppo --kl-coef 0.02 --output runs/ppo-greedy        small KL penalty: over-optimizes the reward
  llmguide ppo --data prompts.jsonl --model runs/chat --reward-model runs/reward --output runs/ppo-chat
  torchrun --nproc-per-node 2 -m llmguide ppo --output runs/two"""

MAX_NEW_TOKENS = 64


def ppo(
    *,
    data: Path | None = None,
    model: str | None = None,
    reward_model: Path | None = None,
    output: Path = Path("runs/ppo"),
    kl_coef: float | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_length: int | None = None,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Train a policy on a reward model.

    Args:
        data: Prompts, in one of the formats above; default: the tiny world.
        model: Initial policy and reference model: a run folder, a folder of transformers, or a name on the
            hub. In the tiny world: the folder of llmguide sft.
        reward_model: Folder of llmguide reward; with data, trained from the same model.
        output: Run folder.
        kl_coef: KL coefficient; 0.1 in the tiny world, else 0.05.
        max_new_tokens: Most tokens of a completion; 4 in the tiny world.
        max_length: Most tokens of a prompt and its completion, at most the context length of the model, which
            is the default; longer prompts are dropped and counted.
        steps: Training options. Defaults: 200 rollouts of 16 prompts, learning rate 1e-5, with LoRA 1e-4; in
            the tiny world 200 of 128, learning rate 5e-4.
        lora: LoRA options.
    """
    if data is None:
        if (max_new_tokens, max_length, steps.epochs, lora) != (MAX_NEW_TOKENS, None, None, LORA):
            raise ValueError(NEEDS_DATA)
        run_toy("ppo", output, steps, model=model, reward_model=reward_model, kl_coef=kl_coef)
        return
    if model is None or reward_model is None:
        raise ValueError(
            "--data needs a policy and a reward model: give --model, and --reward-model of llmguide reward"
        )
    distributed.init_process_group()
    asked = problems(data, with_answer=False, report=say)
    choices = {"model": model, "reward_model": reward_model, "kl_coef": kl_coef, "seed": steps.seed}
    choices |= {"data": data, "data_sha256": digest(asked)}
    choices |= {"max_new_tokens": max_new_tokens, "max_length": max_length}
    device = start_run(output, **choices, lora=vars(lora))
    chat, reward_chat = (
        open_chat(ModelSource(str(name)), [], seed=steps.seed, lora=lora) for name in (model, reward_model)
    )
    scorer = with_head(reward_model, reward_chat.model).to(device).requires_grad_(False)
    prompts = [prompt for prompt, _ in answerable(chat, asked, max_new_tokens, max_length)]
    example = asked[0].prompt
    if chat.prompt(example) != reward_chat.prompt(example):
        raise ValueError(
            f"{model} and {reward_model} have different tokenizers; train the second from the first"
        )
    lora.apply_to(chat.model.to(device))
    reference = deepcopy(chat.model)  # new adapters change nothing
    defaults = PPOConfig(
        n_steps=200,
        batch_size=16,
        max_new_tokens=max_new_tokens,
        eos_id=chat.end_ids,
        lr=1e-4 if lora.lora_rank else 1e-5,
        kl_coef=0.05 if kl_coef is None else kl_coef,
    )
    config = steps.merge_into(defaults, len(prompts))
    say(f"{config.n_steps} rollouts of {per_step(config)} of {len(prompts):,} prompts, on {device}")
    learner = PPOTrainer(
        policy=chat.model,
        value_model=ValueModel(chat.model).to(device),
        reward=scorer.score,
        reference_model=reference,
        config=config,
    )
    chat.save_tokenizer(output)
    history = learner.train(
        prompts, folder=output / "checkpoints", logger=loggers(output, config, steps.wandb)
    )
    save_trained(output, chat, chat.model, lora)
    summarize(output, history)
    barrier()


COMMAND = ppo
