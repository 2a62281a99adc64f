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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import correlation, fmean, stdev
from typing import Any

import torch

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Windows
from llmguide.post_training.datasets import TextPair, comparisons
from llmguide.post_training.preferences.baselines import accuracy_interval, bag_of_words, preferred
from llmguide.post_training.preferences.corpora import divide, hh_pairs, rated_texts, sentiment_pairs
from llmguide.post_training.preferences.pairs import LengthGroupedPairs, PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_evaluation import reliability, score_texts
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.sft import completion
from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.pretrained import ADAPTER_TRAINING, adapt, open_pretrained
from llmguide.projects.run import Run, plan_of
from llmguide.projects.training import loss_curve, new_decoder, stage_config, train_stage
from llmguide.runs.chat_model import merged
from llmguide.runs.comparisons import with_baselines
from llmguide.runs.folder import n_params, say
from llmguide.runs.reward_heads import save_head, with_head
from llmguide.tokenization.tokenizer import Tokenizer

N_HELD_OUT = 4000  # pairs of each test
BATCH_SIZE = 64  # texts scored at a time
MIN_ACCURACY = 0.6  # threshold of the held-out accuracy, lower bound


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    data: str | None = None  # hh, or JSON lines with prompt, chosen and rejected; None: rated film snippets
    n_pairs: int = 8_000  # pairs sampled from the rated texts
    vocab_size: int = 2048  # token ids of the tokenizer
    n_layers: int = 4  # blocks of the model
    d_model: int = 128  # width of the model
    n_heads: int = 4  # attention heads
    context_length: int = 64  # tokens of a text that are read, its last ones
    dropout: float = 0.1  # there are few texts, and each is in several pairs
    language_steps: int = 300  # optimizer steps of the language model
    batch_size: int = 32  # windows or pairs of an optimizer step
    language_rate: float = 3e-3  # peak learning rate of the language model
    reward_rate: float = 1e-3  # peak learning rate of the reward model
    base: str | None = None  # pretrained model to adapt, such as smollm2-135m-instruct; None: a small new one
    n_blocks: int = 12  # lowest blocks of the base that the reward model keeps
    lora_rank: int = 16  # rank of the adapters in the upper half of these blocks
    reward_steps: int | None = None  # optimizer steps of the reward model; None: one epoch
    n_edited: int = 4_000  # most held-out texts that are edited in the analysis

    def __post_init__(self) -> None:
        """Refuse what would fail only after minutes."""
        for name in ("n_pairs", "n_blocks", "lora_rank", "reward_steps", "n_edited"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value} must be at least 1")


def project(run: Run) -> None:
    """Train a reward model on human comparisons, and analyze what it rewards."""
    plan = run.plan
    pairs = training_pairs(plan.data, plan.n_pairs, run.seed)
    start, seed = plan.base, None if plan.base is None else run.seed
    if start is None:
        run.stage("language", lambda: _train_language_model(pairs, run))
        start = run.output / "language"
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
    sizes = {"n_params": size, "n_texts": len(_texts(pairs)), "n_pairs": len(pairs)}
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


def training_pairs(data: str | None, n: int, seed: int) -> list[TextPair]:
    """Read or sample the comparisons to train on."""
    if data is None:
        return sentiment_pairs("train", n, texts=rated_texts(["movies"]), seed=seed)
    return divide(hh_pairs() if data == "hh" else comparisons(data))[0]


def held_out_pairs(data: str | None) -> dict[str, list[TextPair]]:
    """Read or sample the comparisons to test on: held-out ones first, then those of other domains."""
    if data is not None:
        return {"held-out pairs": divide(hh_pairs() if data == "hh" else comparisons(data))[1]}
    tests = {
        "held-out films": ("movies", "validation"),
        "tweets": ("tweets", "train"),  # the model was trained on none of them
        "products": ("products", "train"),
    }
    return {
        name: sentiment_pairs(side, N_HELD_OUT, texts=rated_texts([source]))  # type: ignore[arg-type, list-item]
        for name, (source, side) in tests.items()
    }


def score_held_out(folder: Path) -> dict[str, dict[str, float]]:
    """Return the rewards of a saved reward model for the texts of every held-out test."""
    reward_model, tokenizer = open_reward_model(folder / "reward")
    tests = held_out_pairs(plan_of(Plan, folder).data)
    return {name: score(reward_model, tokenizer, _texts(pairs)) for name, pairs in tests.items()}


def measure(folder: Path, seed: int, rewards: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Measure the accuracy of a reward model and its baselines on every held-out test.

    Args:
        folder: Run folder.
        seed: Seed of the pairs that the run was trained on, for the baseline of words.
        rewards: Rewards of the texts of every test, from `score_held_out`.
    """
    plan = plan_of(Plan, folder)
    words = bag_of_words(training_pairs(plan.data, plan.n_pairs, seed))
    return {
        name: _accuracies(pairs, rewards[name], words) for name, pairs in held_out_pairs(plan.data).items()
    }


def analyze(folder: Path, seed: int, rewards_of: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Measure the calibration of a saved reward model on the first test, and what its rewards depend on."""
    plan = plan_of(Plan, folder)
    reward_model, tokenizer = open_reward_model(folder / "reward")
    name, pairs = next(iter(held_out_pairs(plan.data).items()))
    texts, reward = _texts(pairs), rewards_of[name]
    edited = texts if len(texts) <= plan.n_edited else sorted(random.Random(0).sample(texts, plan.n_edited))
    words = bag_of_words(training_pairs(plan.data, plan.n_pairs, seed))
    chosen, rejected = (torch.tensor([reward[sides(pair)[i]] for pair in pairs]) for i in (0, 1))
    error, bins = reliability(chosen, rejected)
    rewards = [reward[text] for text in texts]
    return {
        "calibration": {"error": error, "bins": [part._asdict() for part in bins]},
        "spread": stdev(rewards),
        "with_length": correlation(rewards, [float(len(text)) for text in texts]),
        "with_words": correlation(rewards, [words(text) for text in texts]),
        "edits": edits(reward_model, tokenizer, {text: reward[text] for text in edited}),
    }


def score(reward_model: RewardModel, tokenizer: Any, texts: Sequence[str]) -> dict[str, float]:
    """Return the reward of each text by itself."""
    length = reward_model.backbone.config.context_length
    unique = list(dict.fromkeys(texts))
    ids = [encode(tokenizer, text)[-length:] for text in unique]
    return dict(zip(unique, score_texts(reward_model, ids, batch_size=BATCH_SIZE), strict=True))


def edits(reward_model: RewardModel, tokenizer: Any, reward: dict[str, float]) -> dict[str, dict[str, float]]:
    """Change the style of texts but not their meaning, or the order of words, and measure the new rewards.

    Returns:
        For each edit the mean change of the reward, the fraction of texts whose reward rises, and the
        correlation of the rewards before and after.
    """
    rng = random.Random(0)
    edit_functions: dict[str, Callable[[str], str]] = {
        "with an exclamation mark": lambda text: text.rstrip(" .!") + "!",
        "in lower case": str.lower,
        "said twice": lambda text: f"{text} {text}",
        "words shuffled": lambda text: " ".join(rng.sample(text.split(), len(text.split()))),
    }
    results = {}
    for name, edit in edit_functions.items():
        edited = {text: edit(text) for text in reward}
        rewards = score(reward_model, tokenizer, sorted(set(edited.values())))
        before, after = list(reward.values()), [rewards[edited[text]] for text in reward]
        change = [b - a for a, b in zip(before, after, strict=True)]
        results[name] = {
            "change": fmean(change),
            "rises": fmean([c > 0 for c in change]),
            "correlation": correlation(before, after),
        }
    return results


def train_reward_model(
    run: Run, name: str, pairs: Sequence[TextPair], *, start: str | Path, seed: int | None = None
) -> dict[str, list[float]]:
    """Train a reward model as a stage of a run, for at most one epoch, since pairs share their texts.

    Args:
        run: Run whose plan has ``batch_size``, ``context_length``, ``reward_rate``, ``reward_steps``,
            ``base``, ``n_blocks`` and ``lora_rank``.
        name: Name of the stage, and of the folder that the reward model is written to.
        pairs: Preference pairs to train on.
        start: Folder or name of the model whose head is replaced.
        seed: Seed of the new head and the adapters; None: the random state is left as it is.

    Returns:
        The loss curve.
    """
    plan = run.plan
    backbone, tokenizer = open_pretrained(start)
    if seed is not None:
        torch.manual_seed(seed)
    if plan.base is not None:
        adapt(backbone, plan.lora_rank, n_blocks=plan.n_blocks)
    reward_model = RewardModel(backbone)
    ids = [[encode(tokenizer, text) for text in sides(pair)] for pair in pairs]
    compared = [PreferencePair(completion([], chosen), completion([], rejected)) for chosen, rejected in ids]
    kind = PreferenceDataset if plan.base is None else LengthGroupedPairs
    data = kind(compared, max_length=plan.context_length, seed=run.seed)
    n_steps = plan.reward_steps or max(1, len(pairs) // plan.batch_size)
    config = stage_config(run, n_steps, plan.reward_rate, **({} if plan.base is None else ADAPTER_TRAINING))
    result = train_stage(run, name, reward_model, data, config, loss=preference_loss)
    run.save(name, merged(backbone), tokenizer)
    save_head(run.output / name, reward_model)
    return loss_curve(result.history)


def open_reward_model(folder: Path) -> tuple[RewardModel, Any]:
    """Open a saved reward model and its tokenizer."""
    backbone, tokenizer = open_pretrained(folder)
    return with_head(folder, backbone), tokenizer


def sides(pair: TextPair) -> tuple[str, str]:
    """Write the chosen and the rejected text, each after the prompt if there is one."""
    prompt = "".join(f"{message['role']}: {message['content']}\n" for message in pair.prompt)
    return prompt + pair.chosen, prompt + pair.rejected


def encode(tokenizer: Any, text: str) -> list[int]:
    """Encode a text, with the end token at which it is scored."""
    return [*tokenizer.encode(text), tokenizer.special_tokens[END_OF_TEXT]]


def _accuracies(pairs: list[TextPair], reward: dict[str, float], words: Any) -> dict[str, Any]:
    right = [preferred(*(reward[text] for text in sides(pair))) for pair in pairs]
    systems = with_baselines(pairs, words, "reward model", right)
    units = [pair.units for pair in pairs]
    by_words = systems["words (Bradley-Terry)"]
    gains = [ours - theirs for ours, theirs in zip(right, by_words, strict=True)]
    return {
        "n_pairs": len(pairs),
        "n_texts": len({unit for both in units for unit in both}),
        "accuracy": {
            system: accuracy_interval(values, units)._asdict() for system, values in systems.items()
        },
        "over_words": accuracy_interval(gains, units)._asdict(),  # of the same pairs
    }


def _train_language_model(pairs: list[TextPair], run: Run) -> None:
    plan, texts = run.plan, _texts(pairs)
    tokenizer = Tokenizer.train(texts, plan.vocab_size, special_tokens=[END_OF_TEXT])
    model = new_decoder(run, tokenizer.vocab_size)
    random.Random(run.seed).shuffle(texts)
    ids = torch.tensor([i for text in texts for i in encode(tokenizer, text)])
    say(f"{n_params(model):,} parameters; {len(texts):,} texts of {len(ids):,} tokens, {len(pairs):,} pairs")
    windows = Windows(ids, plan.context_length, seed=run.seed)
    config = stage_config(run, plan.language_steps, plan.language_rate)
    train_stage(run, "language", model, windows, config)
    run.save("language", model, tokenizer)


def _texts(pairs: list[TextPair]) -> list[str]:
    return sorted({text for pair in pairs for text in sides(pair)})
