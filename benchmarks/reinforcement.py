"""Time of a reward-model step against TRL, and of a PPO update against the last TRL that had one.

Run ``python -m benchmarks.reinforcement [--trl112 DIR] [--pairs N]``, where DIR holds
``pip install --no-deps --target DIR trl==1.12.0``; without it the rows on PPO are left out. Weights and
inputs are the same on both sides, and what can be compared is asserted equal first. An update is a whole one:
answers, reference, values, rewards, advantages, and four epochs of training.
"""

import argparse
import os
import subprocess
import sys
from contextlib import redirect_stdout
from copy import deepcopy
from io import StringIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarks.harness import Result, compare, print_header
from benchmarks.post_training import (
    BATCH,
    Step,
    columns,
    datasets,
    pair_of_steps,
    saved_model,
    tokenizer,
    transformers,
    trl,
)
from torch import Tensor

from llmguide.models import from_hf
from llmguide.post_training.preferences.pairs import PreferenceBatch
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.rl.ppo import PPOConfig, PPOTrainer, ValueModel
from llmguide.post_training.rl.rollout import completion_logprobs

PROMPT, ANSWER, EPOCHS = 24, 16, 4  # tokens, tokens, passes over a rollout
PAD = 511  # a token that no text has: transformers finds the end of a text by its padding


def scoring_model(shape: str, folder: str) -> Any:
    """Make a GPT-2 that gives one number for a text."""
    saved_model(shape, folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, pad_token_id=PAD
    )
    torch.manual_seed(1)
    torch.nn.init.normal_(model.score.weight, std=0.1)
    return model


def our_scoring_model(peer: Any) -> RewardModel:
    language_model = transformers.GPT2LMHeadModel(peer.config)
    language_model.transformer = deepcopy(peer.transformer)
    language_model.tie_weights()
    model = RewardModel(from_hf(language_model))
    model.head.load_state_dict(peer.score.state_dict())
    return model


def reward_model(shape: str) -> dict[str, Step]:
    """Make a step of each, on the same pairs."""
    with TemporaryDirectory() as folder:
        arguments = trl.RewardConfig(
            output_dir=folder, report_to="none", per_device_train_batch_size=BATCH, use_cpu=True, bf16=False,
            gradient_checkpointing=False, disable_tqdm=True,
        )  # fmt: skip
        peer = trl.RewardTrainer(
            model=scoring_model(shape, folder),
            args=arguments,
            train_dataset=datasets.Dataset.from_dict(columns()),
            processing_class=tokenizer(),
        )
    prepare = peer._prepare_inputs

    def with_own_padding(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        batch = prepare(batch)
        return batch | {"input_ids": batch["input_ids"].where(batch["attention_mask"].bool(), PAD)}

    peer._prepare_inputs = with_own_padding
    peer.model.config.pad_token_id = PAD

    def convert(batch: dict[str, Tensor]) -> PreferenceBatch:
        ids, mask = batch["input_ids"], batch["attention_mask"].bool()
        return PreferenceBatch(ids, mask, mask, torch.zeros(len(ids) // 2))

    return pair_of_steps(peer, our_scoring_model(peer.model), preference_loss, convert, shape)


def some_prompts() -> list[list[int]]:
    ids = torch.randint(PAD, (64, PROMPT), generator=torch.Generator().manual_seed(0))
    rows: list[list[int]] = ids.tolist()
    return rows


def trl_ppo(policy: Any, value: Any, reward: Any, folder: str) -> Step:
    """Make one update of TRL 1.12."""
    from trl.experimental.ppo import PPOConfig as PeerConfig  # noqa: PLC0415  # no other version has it
    from trl.experimental.ppo import PPOTrainer  # noqa: PLC0415

    arguments = PeerConfig(
        output_dir=folder, report_to="none", per_device_train_batch_size=BATCH, gradient_accumulation_steps=1,
        num_mini_batches=1, num_ppo_epochs=EPOCHS, total_episodes=BATCH, response_length=ANSWER,
        temperature=1.0, learning_rate=1e-5, lr_scheduler_type="constant", use_cpu=True, bf16=False,
        gradient_checkpointing=False, disable_tqdm=True, num_sample_generations=0, save_strategy="no",
        logging_strategy="no",
    )  # fmt: skip
    trainer = PPOTrainer(
        args=arguments,
        processing_class=tokenizer(),
        model=policy,
        ref_model=deepcopy(policy),
        reward_model=reward,
        value_model=value,
        train_dataset=datasets.Dataset.from_dict({"input_ids": some_prompts()}),
    )

    def update() -> float:
        with redirect_stdout(StringIO()):  # it prints its metrics
            trainer.train()
        return 0.0

    return update


def our_ppo(policy: Any, value: ValueModel, reward: RewardModel) -> PPOTrainer:
    config = PPOConfig(n_steps=10_000, batch_size=BATCH, max_new_tokens=ANSWER, lr=1e-5, n_epochs=EPOCHS)
    return PPOTrainer(
        policy=policy, value_model=value, reward=reward.score, reference_model=deepcopy(policy), config=config
    )


def ppo(pairs: int) -> list[Result]:
    """Time a whole update, with a value model of its own as TRL has it, and on the policy's trunk."""
    results = []
    for name, shares_trunk in (("a trunk for the values", False), ("one trunk for both", True)):
        with TemporaryDirectory() as folder:
            peer_policy = saved_model("small", folder)
            peer_policy.generation_config.eos_token_id = None  # answers of full length on both sides
            peer_value, peer_reward = scoring_model("small", folder), scoring_model("small", folder)
            policy, reward = from_hf(peer_policy), our_scoring_model(peer_reward)
            trunk = policy if shares_trunk else our_scoring_model(peer_value).backbone
            ours = our_ppo(policy, ValueModel(trunk), reward)
            ids = torch.tensor(some_prompts()[:BATCH])
            rollouts, scores = ours.generate(ids, None)
            with torch.no_grad():
                logits = peer_policy(rollouts.ids).logits[:, PROMPT - 1 : -1].log_softmax(dim=-1)
                theirs = logits.gather(2, rollouts.completions[..., None]).squeeze(-1)
                logprobs, _ = completion_logprobs(policy, rollouts)
                assert (theirs - rollouts.logprobs).abs().max() < 1e-4
                assert (theirs - logprobs).abs().max() < 1e-4
                assert (peer_reward(rollouts.ids).logits.squeeze(-1) - scores).abs().max() < 1e-4
            peer = trl_ppo(peer_policy, peer_value, peer_reward, folder)
            place = count()
            prompts = torch.tensor(some_prompts()).split(BATCH)
            results.append(
                compare(
                    f"PPO update, {name}",
                    lambda: ours.step(prompts[next(place) % len(prompts)]),  # noqa: B023  # called at once
                    peer,
                    pairs=pairs,
                    target=2.0,
                )
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--trl112", type=Path, help="a folder with TRL 1.12.0")
    parser.add_argument("--ppo", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print_header("torch", "transformers", "trl")
    if options.ppo:
        results = ppo(options.pairs)
    else:
        steps = reward_model("small")
        name = "reward model, small"
        results = [compare(name, steps["ours"], steps["peer"], pairs=options.pairs, target=1.07)]
    met = all(result.met for result in results)
    if options.trl112:  # a process cannot hold two versions
        print()
        command = [sys.executable, "-m", "benchmarks.reinforcement", "--ppo", "--pairs", str(options.pairs)]
        path = os.pathsep.join([str(options.trl112), os.environ.get("PYTHONPATH", "")])
        met &= subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode == 0
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
