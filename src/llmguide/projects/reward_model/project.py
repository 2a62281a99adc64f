r"""Project: a reward model trained on human comparisons, and an analysis of what it has learned.

The comparisons: which of two film review snippets do human raters find more positive? A small decoder is
pre-trained on such snippets, or a pretrained base gets LoRA adapters. Then the head is replaced by one row
that scores a text, and the model is trained with the Bradley-Terry loss $-\log \sigma(r_w - r_l)$. It is
tested on snippets of other reviews and, out of distribution, on tweets and product reviews, beside three
baselines: the longer text wins, a bag-of-words Bradley-Terry model, and a second panel of raters.

References: Hutto & Gilbert 2014 (the ratings); Ouyang et al. 2022, arXiv:2203.02155, section 3.5 (the model);
Singhal et al. 2023, arXiv:2310.03716 (length in rewards).

Leaves out: an ensemble of reward models, which would show where they are uncertain.
"""

import random
from pathlib import Path

import torch

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Windows
from llmguide.post_training.datasets import TextPair
from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.reward_model.data import Plan, texts_of, training_pairs
from llmguide.projects.reward_model.evaluation import analyze, measure, score_held_out
from llmguide.projects.reward_model.model import encode, open_reward_model, train_reward_model
from llmguide.projects.run import Run
from llmguide.projects.training import new_decoder, stage_config, train_stage
from llmguide.runs.folder import n_params, say
from llmguide.tokenization.tokenizer import Tokenizer

MIN_ACCURACY = 0.6  # threshold of the held-out accuracy, lower bound


def project(run: Run) -> None:
    """Train a reward model on human comparisons, and analyze what it rewards."""
    plan: Plan = run.plan
    pairs = training_pairs(plan.data, plan.n_pairs, run.seed)
    start, seed = plan.base or run.output / "language", run.seed if plan.base else None
    if plan.base is None:
        run.stage("language", lambda: _train_language_model(pairs, run))
    curve = run.stage("reward", lambda: train_reward_model(run, "reward", pairs, start=start, seed=seed))
    rewards = run.stage("rewards", lambda: score_held_out(run.output))
    tests = run.stage("tests", lambda: measure(run.output, run.seed, rewards))
    for name, test in tests.items():
        say(f"\n{name}: {test['n_pairs']:,} pairs of {test['n_texts']:,} texts")
        for system, accuracy in test["accuracy"].items():
            say(f"  {system:22} {accuracy['score']:.1%}  ({accuracy['low']:.1%} to {accuracy['high']:.1%})")
        gain = test["over_words"]
        say(f"  minus the bag of words {gain['score']:+.1%}  ({gain['low']:+.1%} to {gain['high']:+.1%})")
    analysis = run.stage("learned", lambda: analyze(run.output, run.seed, rewards))
    size = n_params(open_reward_model(run.output / "reward")[0].backbone)
    sizes = {"n_params": size, "n_texts": len(texts_of(pairs)), "n_pairs": len(pairs)}
    run.finish(sizes | {"tests": tests, "learned": analysis}, {"reward": curve})


def check(folder: Path) -> list[Criterion]:
    """Measure the reward model of a run again on comparisons of held-out texts."""
    return [
        above(
            f"accuracy on {name}, lower bound",
            test["accuracy"]["reward model"]["low"],
            0.5 if i else MIN_ACCURACY,
        )
        for i, (name, test) in enumerate(measure(folder, 0, score_held_out(folder)).items())
    ]


def _train_language_model(pairs: list[TextPair], run: Run) -> None:
    plan, texts = run.plan, texts_of(pairs)
    tokenizer = Tokenizer.train(texts, plan.vocab_size, special_tokens=[END_OF_TEXT])
    model = new_decoder(run, tokenizer.vocab_size)
    random.Random(run.seed).shuffle(texts)
    ids = torch.tensor([i for text in texts for i in encode(tokenizer, text)])
    say(f"{n_params(model):,} parameters; {len(texts):,} texts of {len(ids):,} tokens, {len(pairs):,} pairs")
    windows = Windows(ids, plan.context_length, seed=run.seed)
    config = stage_config(run, plan.language_steps, plan.language_rate)
    train_stage(run, "language", model, windows, config)
    run.save("language", model, tokenizer)
