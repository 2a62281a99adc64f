r"""Project: reinforcement learning from human feedback, from fine-tuning to evaluation.

A small decoder, or a pretrained base with LoRA, is fine-tuned to complete film review snippets from their
first words. A reward model learns from half of the snippets, and half of their raters, which of two is the
more positive. PPO trains the policy to maximize its reward, with several KL coefficients,

$$\max_\pi\; \mathbb{E}_{y \sim \pi}\Big[r(x, y) - \beta \log \frac{\pi(y \mid x)}{\pi_0(y \mid x)}\Big]$$

and the result is compared with the fine-tuned policy and with the best of four of its completions, by raters
that PPO was not trained on, from near to far: a second reward model, trained on the other snippets and the
other raters; a bag-of-words Bradley-Terry model of the same data; and a lexicon whose words people rated one
by one, which no model has read.

References: Ouyang et al. 2022, arXiv:2203.02155 (the pipeline); Stiennon et al. 2020, arXiv:2009.01325
(reward against divergence); Gao et al. 2022, arXiv:2210.10760 (gold and proxy reward models); Hutto & Gilbert
2014 (ratings and lexicon).

Leaves out: new comparisons of the policy's own completions, to retrain the reward model on.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.post_training.datasets import TextPair
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.projects.acceptance import Criterion, above, at_least, at_most
from llmguide.projects.ppo import ppo_curves, ppo_stage, scored_at_end
from llmguide.projects.pretrained import ADAPTER_TRAINING, adapt, open_pretrained
from llmguide.projects.reward_model.model import open_reward_model, train_reward_model
from llmguide.projects.rlhf.data import Plan, Splits, splits
from llmguide.projects.rlhf.evaluation import (
    accuracies,
    measure,
    measure_best_of_n,
    policy_name,
    prompt_ids,
)
from llmguide.projects.run import Run, plan_of
from llmguide.projects.training import loss_curve, new_decoder, stage_config, train_stage
from llmguide.runs.chat_model import merged
from llmguide.runs.folder import n_params, say
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.losses import batch_loss

MIN_ACCURACY = 0.6  # threshold of the reward model's accuracy, lower bound
MIN_DISTINCT = 0.5  # distinct-2 of the policy, as a fraction of the SFT policy's: not one phrase for all
MAX_NLL_RISE = 0.5  # nats per token under the SFT policy, above the SFT policy's own completions
RATERS = {
    "reward": "reward model",
    "gold": "second reward model",
    "words": "bag-of-words model",
    "lexicon": "lexicon",
}


def project(run: Run) -> None:
    """Fine-tune a policy, train a reward model, train the policy with PPO, and score it with other raters."""
    plan = run.plan
    data = splits(plan, run.seed)
    say(f"{len(data.demonstrations):,} texts, {len(data.comparisons):,} comparisons for each reward model")
    sft = run.stage("sft", lambda: _fine_tune(data, run))
    curves: dict[str, Any] = {"sft": sft.pop("curve")}
    for name, pairs in (("reward", data.comparisons), ("gold", data.other_comparisons)):
        curves[name] = run.stage(name, partial(_train_reward_model, name, pairs, run))
    accuracy = run.stage("accuracy", lambda: accuracies(run.output, data))
    for name, right in accuracy.items():
        say(f"{RATERS[name]}: right on {right['score']:.1%} of held-out pairs")
    for kl_coef in plan.kl_coefs:
        curves[policy_name(kl_coef)] = run.stage(policy_name(kl_coef), partial(_ppo, kl_coef, data, run))
    results = run.stage("policies", lambda: measure(run.output, data, seed=run.seed))
    for name, policy in results["policies"].items():
        wins = "  ".join(f"{rater} {rate['score']:.1%}" for rater, rate in policy["wins"].items())
        say(f"{name:10} KL {policy['kl']:5.1f} nats; win rate against the SFT policy: {wins or '-'}")
    best = run.stage("best_of_n", lambda: measure_best_of_n(run.output, data, seed=run.seed))
    wins = "  ".join(f"{rater} {rate['score']:.1%}" for rater, rate in best["ppo_wins"].items())
    say(f"win rate of {policy_name(plan.kl_coefs[0])} against the best of {best['n']} by SFT: {wins}")
    run.finish(sft | {"accuracy": accuracy} | results | {"best_of_n": best}, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the reward model of a run again, and its first policy against the SFT policy."""
    plan = plan_of(Plan, folder)
    data = splits(plan, seed=0)
    right = accuracies(folder, data)["reward"]["low"]
    policies = measure(folder, data, seed=1, only=plan.kl_coefs[:1])["policies"]
    sft, policy = policies["sft"], policies[policy_name(plan.kl_coefs[0])]
    rise = policy["surprise"] - sft["surprise"]
    return [
        above("accuracy of the reward model, lower bound", right, MIN_ACCURACY),
        *(
            above(f"win rate by the {RATERS[rater]}, lower bound", wins["low"], 0.5)
            for rater, wins in policy["wins"].items()
            if rater != "reward"  # which PPO was trained on
        ),
        diverse(policy["variety"], sft["variety"]),
        at_most("NLL per token under the SFT policy, above its own", rise, MAX_NLL_RISE),
    ]


def diverse(policy: float, sft: float) -> Criterion:
    """Require that the distinct-2 of a policy is at least half of the SFT policy's."""
    fraction = policy / sft if sft else 0.0
    return at_least("distinct-2, as a fraction of the SFT policy's", fraction, MIN_DISTINCT)


def _fine_tune(data: Splits, run: Run) -> dict[str, Any]:
    plan = run.plan
    policy, tokenizer = _new_policy(data, run)
    say(f"{n_params(policy):,} parameters each, in policy and reward models")
    end_id = tokenizer.special_tokens[END_OF_TEXT]
    examples = [
        completion(
            prompt_ids(tokenizer, prompt, plan),
            [*tokenizer.encode(rest), end_id][: plan.max_new_tokens],
        )
        for prompt, rest in data.demonstrations
    ]
    changes = {} if plan.base is None else ADAPTER_TRAINING
    config = stage_config(run, plan.sft_steps, plan.sft_rate, **changes)
    examples_data = SFTDataset(examples, seed=run.seed)
    result = train_stage(run, "sft", policy, examples_data, config, loss=batch_loss)
    policy = merged(policy)
    run.save("sft", policy, tokenizer)
    return {
        "n_params": n_params(policy),
        "n_texts": len(data.demonstrations),
        "curve": loss_curve(result.history),
    }


def _new_policy(data: Splits, run: Run) -> tuple[Any, Any]:
    """Open the base with new adapters, or build a small decoder with its own tokenizer."""
    plan = run.plan
    if plan.base is not None:
        policy, tokenizer = open_pretrained(plan.base)
        torch.manual_seed(run.seed)
        adapt(policy, plan.lora_rank)
        return policy, tokenizer
    texts = [prompt + rest for prompt, rest in data.demonstrations]
    tokenizer = Tokenizer.train(texts, plan.vocab_size, special_tokens=[END_OF_TEXT])
    return new_decoder(run, tokenizer.vocab_size), tokenizer


def _train_reward_model(name: str, pairs: Sequence[TextPair], run: Run) -> dict[str, Any]:
    """Turn the SFT policy into a reward model: replace the head, and train on comparisons."""
    seed = run.seed if name == "reward" else run.seed + 1000
    return train_reward_model(run, name, pairs, start=run.output / "sft", seed=seed)


def _ppo(kl_coef: float, data: Splits, run: Run) -> dict[str, Any]:
    """Train a copy of the SFT policy with PPO on the reward model."""
    plan, name = run.plan, policy_name(kl_coef)
    policy, tokenizer = open_pretrained(run.output / "sft")
    if plan.base is not None:
        torch.manual_seed(run.seed)
        adapt(policy, plan.lora_rank)
    end_id = tokenizer.special_tokens[END_OF_TEXT]
    reward, true_reward = (
        scored_at_end(open_reward_model(run.output / which)[0].to(run.device), end_id)
        for which in ("reward", "gold")
    )
    history = ppo_stage(
        run,
        name,
        policy,
        reward,
        [prompt_ids(tokenizer, prompt, plan) for prompt, _ in data.demonstrations],
        true_reward=true_reward,
        n_steps=plan.ppo_steps,
        batch_size=plan.n_answers,
        max_new_tokens=plan.max_new_tokens,
        eos_id=end_id,
        lr=plan.ppo_rate,
        n_epochs=2,
        n_minibatches=2,
        kl_coef=kl_coef,
    )
    run.save(name, merged(policy), tokenizer)
    is_first = kl_coef == plan.kl_coefs[0]
    return ppo_curves(history, list(history[0]) if is_first else ["reward", "gold", "kl", "entropy"])
