r"""Project: a reward model that learns from people's comparisons, and an account of what it has learned.

The comparisons: of two film review snippets, which did people find more positive? A small decoder first
learns to write such snippets; then its head is replaced by one row that scores a text, and the Bradley-Terry
loss $-\log \sigma(r_w - r_l)$ is lowered. It is measured on snippets of other reviews, and, as a test out of
its distribution, on tweets and product reviews, beside three bars: the longer text wins, a Bradley-Terry
model of words, and people themselves.

References: Hutto & Gilbert 2014 (the ratings); Ouyang et al. 2022, arXiv:2203.02155, section 3.5 (the model);
Singhal et al. 2023, arXiv:2310.03716 (length in rewards).

Leaves out: several judges; an ensemble would say where it is unsure.
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
from llmguide.models import build
from llmguide.post_training.datasets import TextPair, comparisons
from llmguide.post_training.preferences.baselines import accuracy_interval, bag_of_words, verdicts
from llmguide.post_training.preferences.corpora import divide, hh_pairs, rated_texts, sentiment_pairs
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_evaluation import reliability
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.sft import completion
from llmguide.projects.run import Criterion, Run, plan_of, require_finished, small_decoder, thinned
from llmguide.runs.folder import load_run, n_params, say
from llmguide.runs.post_training import loggers, resumable
from llmguide.runs.reward_heads import save_head, with_head
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.train import train

NAME = "reward-model"
N_HELD_OUT = 4000  # pairs of each test
BATCH = 64  # texts scored at a time
BAR = 0.6  # the lower end of the accuracy's interval must be above


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    data: str | None = None  # hh, or JSON lines with prompt, chosen and rejected; None: rated film snippets
    n_pairs: int = 8_000  # drawn from the rated texts
    vocab_size: int = 2048  # of the tokenizer
    n_layers: int = 4  # blocks
    d_model: int = 128  # width
    n_heads: int = 4  # attention heads
    context_length: int = 64  # tokens of a text that are read, its last ones
    dropout: float = 0.1  # the texts are few, and each is in several pairs
    language_steps: int = 300  # updates of the language model that it starts from
    batch_size: int = 32  # windows, then pairs, of an update
    language_rate: float = 3e-3  # the peak of the learning rate, of the language model
    reward_rate: float = 1e-3  # and of the reward model

    def __post_init__(self) -> None:
        """Refuse what holds nothing to learn from."""
        if self.n_pairs < 1:
            raise ValueError(f"--n-pairs {self.n_pairs} must be at least 1")


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Train a reward model on comparisons, and look into it.

    Args:
        plan: Comparisons, model and training.
        seed: Of pairs, weights and order.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    pairs = training_pairs(plan.data, plan.n_pairs, seed)
    language = run.stage("language", lambda: _learn_language(pairs, run))
    rewards = run.stage("reward", lambda: _learn_rewards(pairs, run))
    tests = run.stage("tests", lambda: measure(output, seed))
    for name, test in tests.items():
        say(f"\n{name}: {test['n_pairs']:,} pairs of {test['n_texts']:,} texts")
        for judge, found in test["accuracy"].items():
            say(f"  {judge:22} {found['score']:.1%}  ({found['low']:.1%} to {found['high']:.1%})")
    learned = run.stage("learned", lambda: look_into(output, seed))
    run.finish(language | {"n_pairs": len(pairs), "tests": tests, "learned": learned}, rewards)


def check(folder: Path) -> list[Criterion]:
    """Measure the reward model of a run anew on comparisons of texts that it has not seen."""
    require_finished(NAME, folder)
    criteria = []
    for i, (name, test) in enumerate(measure(folder, seed=0).items()):
        low, bar = test["accuracy"]["reward model"]["low"], 0.5 if i else BAR
        what = f"accuracy on {name}, lower end of its 95% interval"
        criteria.append(Criterion(what, low, f"above {bar}", low > bar))
    return criteria


def training_pairs(data: str | None, n: int, seed: int) -> list[TextPair]:
    """Read or draw the comparisons to learn from."""
    if data is None:
        return sentiment_pairs("train", n, texts=rated_texts(["movies"]), seed=seed)
    return divide(hh_pairs() if data == "hh" else comparisons(data))[0]


def held_out_pairs(data: str | None) -> dict[str, list[TextPair]]:
    """Read or draw the comparisons to test on: held-out ones first, then those of other kinds."""
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


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Measure a saved reward model beside its bars, on each kind of comparison that it has not seen."""
    plan = plan_of(Plan, folder)
    judge, tokenizer = open_judge(folder / "reward")
    words = bag_of_words(training_pairs(plan.data, plan.n_pairs, seed))
    found = {}
    for name, pairs in held_out_pairs(plan.data).items():
        reward = score(judge, tokenizer, _texts(pairs))
        found[name] = _accuracies(pairs, reward, words)
    return found


def look_into(folder: Path, seed: int) -> dict[str, Any]:
    """See what a saved reward model is sure of, and what moves it."""
    plan = plan_of(Plan, folder)
    judge, tokenizer = open_judge(folder / "reward")
    pairs = next(iter(held_out_pairs(plan.data).values()))
    texts = _texts(pairs)
    reward = score(judge, tokenizer, texts)
    words = bag_of_words(training_pairs(plan.data, plan.n_pairs, seed))
    chosen, rejected = (torch.tensor([reward[sides(pair)[i]] for pair in pairs]) for i in (0, 1))
    error, bins = reliability(chosen, rejected)
    rewards = [reward[text] for text in texts]
    return {
        "calibration": {"error": error, "bins": [part._asdict() for part in bins]},
        "spread": stdev(rewards),
        "with_length": correlation(rewards, [float(len(text)) for text in texts]),
        "with_words": correlation(rewards, [words(text) for text in texts]),
        "edits": edits(judge, tokenizer, reward),
    }


def score(judge: RewardModel, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, float]:
    """Score each text by itself."""
    length = judge.backbone.config.context_length
    ids = {text: encode(tokenizer, text)[-length:] for text in texts}
    order = sorted(ids, key=lambda text: len(ids[text]))  # texts of a batch are of about one length
    found: dict[str, float] = {}
    for first in range(0, len(order), BATCH):
        part = order[first : first + BATCH]
        rows = [torch.tensor(ids[text]) for text in part]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        with torch.no_grad():
            found |= zip(part, judge(padded, attention_mask=mask).tolist(), strict=True)
    return found


def edits(judge: RewardModel, tokenizer: Tokenizer, reward: dict[str, float]) -> dict[str, dict[str, float]]:
    """Change the style of texts and not their sense, or the order of words, and see how the reward moves.

    Args:
        judge: The model.
        tokenizer: Of the model.
        reward: Of the texts as they are.

    Returns:
        For each edit the mean change, the share of texts whose reward rises, and how far the rewards before
        and after go together.
    """
    draw = random.Random(0)
    made: dict[str, Callable[[str], str]] = {
        "with an exclamation mark": lambda text: text.rstrip(" .!") + "!",
        "in lower case": str.lower,
        "said twice": lambda text: f"{text} {text}",
        "words shuffled": lambda text: " ".join(draw.sample(text.split(), len(text.split()))),
    }
    found = {}
    for name, edit in made.items():
        after = {text: edit(text) for text in reward}
        scored = score(judge, tokenizer, sorted(set(after.values())))
        before, now = list(reward.values()), [scored[after[text]] for text in reward]
        change = [b - a for a, b in zip(before, now, strict=True)]
        found[name] = {
            "change": fmean(change),
            "rises": fmean([c > 0 for c in change]),
            "correlation": correlation(before, now),
        }
    return found


def _accuracies(pairs: list[TextPair], reward: dict[str, float], words: Any) -> dict[str, Any]:
    found = {
        "longer wins": verdicts(pairs, len),
        "words (Bradley-Terry)": verdicts(pairs, words),
        "reward model": [preferred(*(reward[text] for text in sides(pair))) for pair in pairs],
    }
    if not any(pair.seconded != pair.seconded for pair in pairs):  # NaN: nobody else was asked
        found["people, a second panel"] = [pair.seconded for pair in pairs]
    units = [pair.units for pair in pairs]
    return {
        "n_pairs": len(pairs),
        "n_texts": len({unit for both in units for unit in both}),
        "accuracy": {judge: accuracy_interval(right, units)._asdict() for judge, right in found.items()},
    }


def _learn_language(pairs: list[TextPair], run: Run) -> dict[str, Any]:
    plan, texts = run.plan, _texts(pairs)
    tokenizer = Tokenizer.train(texts, plan.vocab_size, special_tokens=[END_OF_TEXT])
    torch.manual_seed(run.seed)
    sizes = {"n_layers": plan.n_layers, "d_model": plan.d_model, "n_heads": plan.n_heads}
    config = small_decoder(tokenizer.vocab_size, plan.context_length, **sizes, dropout=plan.dropout)
    model: Any = build(config).to(run.device)
    random.Random(run.seed).shuffle(texts)
    ids = torch.tensor([i for text in texts for i in encode(tokenizer, text)])
    say(f"{n_params(model):,} parameters; {len(texts):,} texts of {len(ids):,} tokens, {len(pairs):,} pairs")
    settings = _settings(run, plan.language_steps, plan.language_rate)
    _train(model, Windows(ids, plan.context_length, seed=run.seed), settings, run, "language")
    run.keep("language", model, tokenizer)
    return {"n_params": n_params(model), "n_texts": len(texts)}


def _learn_rewards(pairs: list[TextPair], run: Run) -> dict[str, Any]:
    backbone, tokenizer = load_run(run.output / "language")
    judge = RewardModel(backbone).to(run.device)
    ids = [[encode(tokenizer, text) for text in sides(pair)] for pair in pairs]
    compared = [PreferencePair(completion([], chosen), completion([], rejected)) for chosen, rejected in ids]
    data = PreferenceDataset(compared, max_length=run.plan.context_length, seed=run.seed)
    n_steps = max(1, len(pairs) // run.plan.batch_size)  # one epoch: pairs share their texts
    settings = _settings(run, n_steps, run.plan.reward_rate)
    result = _train(judge, data, settings, run, "reward", loss=preference_loss)
    run.keep("reward", backbone, tokenizer)
    save_head(run.output / "reward", judge)
    return {"reward": thinned(result.history)}


def _settings(run: Run, n_steps: int, rate: float) -> TrainConfig:
    return TrainConfig(
        n_steps=n_steps,
        context_length=run.plan.context_length,
        batch_size=run.plan.batch_size,
        lr=rate,
        optimizer="muon",
        log_every=max(1, n_steps // 20),
        checkpoint_every=max(1, n_steps // 10),
        seed=run.seed,
    )


def _train(model: Any, data: Any, settings: TrainConfig, run: Run, name: str, **options: Any) -> Any:
    with resumable(run.output):
        folder = run.output / "checkpoints" / name
        return train(model, data, settings, folder=folder, logger=loggers(run.output / name), **options)


def open_judge(folder: Path) -> tuple[RewardModel, Tokenizer]:
    """Open a saved reward model."""
    backbone, tokenizer = load_run(folder)
    return with_head(folder, backbone), tokenizer


def _texts(pairs: list[TextPair]) -> list[str]:
    return sorted({text for pair in pairs for text in sides(pair)})


def sides(pair: TextPair) -> tuple[str, str]:
    """Write both answers with the prompt before them, if there is one."""
    before = "".join(f"{message['role']}: {message['content']}\n" for message in pair.prompt)
    return before + pair.chosen, before + pair.rejected


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Turn a text into ids; the token at its end is the one at which it is scored."""
    return [*tokenizer.encode(text), tokenizer.special_tokens[END_OF_TEXT]]


def preferred(chosen: float, rejected: float) -> float:
    """Say whether the chosen text has the higher reward: 1, 0, or 0.5 if both have the same."""
    return 0.5 if chosen == rejected else float(chosen > rejected)
