r"""Project: reinforcement learning from human feedback, all of it: fine-tuning, reward model, PPO, judges.

A small decoder learns to go on from the first words of a film review snippet. A reward model learns from half
of the snippets, and one half of their raters, which of two is the more positive. PPO makes the policy please
it, at several prices of divergence,

$$\max_\pi\; \mathbb{E}_{y \sim \pi}\Big[r(x, y) - \beta \log \frac{\pi(y \mid x)}{\pi_0(y \mid x)}\Big]$$

and whether that was worth anything is left to judges that it did not follow, from near to far: a second
reward model, of the other snippets and the other raters; a Bradley-Terry model of words, of the same; and a
lexicon, whose words people rated one by one and which no model has read.

References: Ouyang et al. 2022, arXiv:2203.02155 (the pipeline); Stiennon et al. 2020, arXiv:2009.01325
(reward against divergence); Gao et al. 2022, arXiv:2210.10760 (gold and proxy); Hutto & Gilbert 2014 (ratings
and lexicon).

Leaves out: new comparisons of the policy's own answers, with which the reward model would be trained anew.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llmguide.data.corpora import in_validation
from llmguide.data.fetch import fetch_package
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.evaluation.metrics import win_rate
from llmguide.models import build
from llmguide.post_training.datasets import TextPair, comparisons
from llmguide.post_training.preferences.baselines import Scorer, accuracy_interval, bag_of_words
from llmguide.post_training.preferences.corpora import (
    HELD_OUT,
    divide,
    hh_pairs,
    rated_texts,
    sentiment_pairs,
)
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.rl.ppo import PPOConfig, PPOTrainer, ValueModel
from llmguide.post_training.rl.rollout import Rollout, completion_logprobs, rollout
from llmguide.post_training.rl.trainer import Metrics, Reward
from llmguide.post_training.sft import Conversations, completion
from llmguide.projects.reward_model import encode, open_judge, preferred, score, sides
from llmguide.projects.run import DIGITS, Criterion, Run, plan_of, require_finished, small_decoder, thinned
from llmguide.runs.folder import load_run, n_params, say
from llmguide.runs.post_training import Lines, loggers, resumable
from llmguide.runs.reward_heads import save_head
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss
from llmguide.training.train import train

NAME = "rlhf"
N_HELD_OUT = 2000  # pairs on which the reward models are measured
N_ASKED = 500  # prompts of the comparison of policies
BATCH = 50  # of them at a time
N_SHOWN = 4  # of their answers, for people to read
POINTS = 20  # of a curve: a record has many of them
BAR = 0.6  # the lower end of the reward model's accuracy must be above
VARIETY = 0.5  # of the fine-tuned model's different pairs of words, what must be left: no one phrase for all
STRANGE = 0.5  # nats a token by which answers may surprise the fine-tuned model more than its own do
JUDGES = {
    "reward": "reward model",
    "gold": "second reward model",
    "words": "model of words",
    "lexicon": "lexicon",
}


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    data: str | None = None  # hh, or JSON lines with prompt, chosen and rejected; None: rated film snippets
    n_pairs: int = 8_000  # for each of the two reward models, drawn from the rated texts
    prompt_words: int = 4  # of a snippet, from which the policy goes on
    max_new_tokens: int = 24  # of an answer
    vocab_size: int = 1024  # of the tokenizer
    n_layers: int = 2  # blocks, of policy and reward models
    d_model: int = 64  # width
    n_heads: int = 2  # attention heads
    context_length: int = 40  # tokens of prompt and answer, and of a text the last that a judge reads
    dropout: float = 0.1  # while there is something to learn by heart: not in PPO
    sft_steps: int = 320  # updates of the policy before PPO
    batch_size: int = 32  # texts, then pairs, of an update
    sft_rate: float = 3e-3  # the peak of the learning rate, of fine-tuning
    reward_rate: float = 2e-3  # of the reward models
    ppo_steps: int = 60  # rollouts
    n_answers: int = 48  # of a rollout
    ppo_rate: float = 1e-3  # of PPO
    kl_coefs: tuple[float, ...] = (0.1, 0.3, 0.03)  # prices of a nat; the first one's policy is checked

    def __post_init__(self) -> None:
        """Refuse what would show only after the reward models are trained."""
        for option, value in (("--n-pairs", self.n_pairs), ("--prompt-words", self.prompt_words)):
            if value < 1:
                raise ValueError(f"{option} {value} must be at least 1")
        if not self.kl_coefs or min(self.kl_coefs) < 0:
            raise ValueError(f"--kl-coefs {self.kl_coefs} must be one or more prices, of 0 or above")
        if self.max_new_tokens >= self.context_length:
            raise ValueError(
                f"--max-new-tokens {self.max_new_tokens} leaves no room for a prompt in --context-length "
                f"{self.context_length}"
            )


class Parts(NamedTuple):
    """Which texts each model may see.

    Attributes:
        written: Beginnings, which are the prompts of PPO, and how people went on, for fine-tuning.
        judged: Comparisons for the reward model.
        judged_by_others: Comparisons of other texts by other people, for the judges of the result.
        unseen: Comparisons of held-out texts.
        asked: Beginnings of held-out texts, no two from one review.
    """

    written: list[tuple[str, str]]
    judged: list[TextPair]
    judged_by_others: list[TextPair]
    unseen: list[TextPair]
    asked: list[str]


class Watched(PPOTrainer):
    """PPO that notes at each step what a judge whom it does not follow says of its answers.

    Args:
        gold: The judge.
        models: Of `PPOTrainer`, and its config.
    """

    def __init__(self, *, gold: Reward, **models: Any):
        super().__init__(**models)
        self.gold = gold
        self._found = 0.0

    def generate(
        self, prompts: Tensor, attention_mask: Tensor | None, n_completions: int = 1
    ) -> tuple[Rollout, Tensor]:
        """Generate completions, and score them with both reward models."""
        rollouts, scores = super().generate(prompts, attention_mask, n_completions)
        self._found = self.gold(rollouts).mean().item()
        return rollouts, scores

    def step(self, prompts: Tensor, attention_mask: Tensor | None = None) -> Metrics:
        """Take a step of PPO, and add ``gold`` to its metrics."""
        metrics = super().step(prompts, attention_mask)
        metrics["gold"] = self._found  # the history holds the same mapping
        return metrics


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Fine-tune a policy, learn a reward, follow it with PPO, and ask other judges.

    Args:
        plan: Comparisons, models and training.
        seed: Of pairs, weights, order and draws.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    data = parts(plan, seed)
    say(f"{len(data.written):,} texts, {len(data.judged):,} comparisons, and as many for the other judges")
    written = run.stage("sft", lambda: _learn_to_write(data, run))
    curves: dict[str, Any] = {"sft": written.pop("curve")}
    for name, pairs in (("reward", data.judged), ("gold", data.judged_by_others)):
        curves[name] = run.stage(name, partial(_learn_rewards, name, pairs, run))
    accuracy = run.stage("accuracy", lambda: accuracies(output, data))
    for name, right in accuracy.items():
        say(f"{JUDGES[name]}: right in {right['score']:.1%} of held-out pairs")
    for price in plan.kl_coefs:
        curves[policy_name(price)] = run.stage(policy_name(price), partial(_follow, price, data, run))
    found = run.stage("policies", lambda: measure(output, data, seed=seed))
    for name, policy in found["policies"].items():
        won = "  ".join(f"{judge} {wins['score']:.1%}" for judge, wins in policy["wins"].items())
        say(f"{name:10} {policy['kl']:5.1f} nats; wins against the start: {won or '-'}")
    run.finish(written | {"accuracy": accuracy} | found, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run anew: the reward model, and the first policy against the start."""
    require_finished(NAME, folder)
    plan = plan_of(Plan, folder)
    data = parts(plan, seed=0)
    right = accuracies(folder, data)["reward"]["low"]
    found = measure(folder, data, seed=1, only=plan.kl_coefs[:1])["policies"]
    start, policy = found["sft"], found[policy_name(plan.kl_coefs[0])]
    variety, strange = policy["variety"] / start["variety"], policy["surprise"] - start["surprise"]
    criteria = [Criterion("accuracy of the reward model, lower end", right, f"above {BAR}", right > BAR)]
    for judge, wins in policy["wins"].items():
        if judge != "reward":  # which it was trained on
            what = f"wins against the start by the {JUDGES[judge]}, lower end"
            criteria.append(Criterion(what, wins["low"], "above 0.5", wins["low"] > 0.5))
    what = "different pairs of words, share of the start's"
    criteria.append(Criterion(what, variety, f"at least {VARIETY}", variety >= VARIETY))
    what = "nats of surprise of a token to the start, above its own"
    return [*criteria, Criterion(what, strange, f"at most {STRANGE}", strange <= STRANGE)]


def parts(plan: Plan, seed: int) -> Parts:
    """Read the comparisons, and divide them so that no judge of the result has seen what PPO follows."""
    if plan.data is not None:
        seen, unseen = divide(hh_pairs() if plan.data == "hh" else comparisons(plan.data))
        half: tuple[list[TextPair], list[TextPair]] = ([], [])
        for pair in seen:
            half[for_others(pair.units[0])].append(pair)
        prompts = sorted({_prompt(pair) for pair in unseen})
        return Parts([(_prompt(pair), pair.chosen) for pair in seen], *half, unseen, prompts)
    texts = rated_texts(["movies"])
    own = [text for text in texts if not for_others(text.group)]
    # without the first rating, the panel that decides is the other half of the raters
    others = [text._replace(ratings=text.ratings[1:]) for text in texts if for_others(text.group)]
    written: list[tuple[str, str]] = []
    asked: dict[str, str] = {}
    for text in texts:
        beginning, rest = cut(text.text, plan.prompt_words)
        if rest and in_validation(text.group, HELD_OUT):
            asked.setdefault(text.group, beginning)
        elif rest:
            written.append((beginning, rest))
    return Parts(
        written,
        sentiment_pairs("train", plan.n_pairs, texts=own, seed=seed),
        sentiment_pairs("train", plan.n_pairs, texts=others, seed=seed),
        sentiment_pairs("validation", N_HELD_OUT, texts=texts),
        list(asked.values()),
    )


def for_others(unit: str) -> bool:
    """Whether a text, or a conversation, is for the judges of the result and not for the reward model."""
    return in_validation(f"others {unit}", 0.5)


def cut(text: str, n_words: int) -> tuple[str, str]:
    """Cut a text behind its first words.

    >>> cut("A film that is not without charm.", 4)
    ('A film that is', ' not without charm.')
    """
    words = text.split(" ")
    rest = " ".join(words[n_words:])
    return " ".join(words[:n_words]), f" {rest}" if rest else ""


def lexicon() -> Scorer:
    """Score a text by people's ratings of its words: their mean over its different words, 0 for the unrated.

    The lexicon of Hutto and Gilbert: some 7,500 words, each rated from -4 to 4 by ten people.
    """
    path = next(fetch_package("vader-lexicon").rglob("vader_lexicon.txt"))
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    rated = {row[0]: float(row[1]) for row in rows}

    def valence(text: str) -> float:
        words = set(re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower()))
        return fmean([rated.get(word, 0.0) for word in words] or [0.0])

    return valence


def accuracies(folder: Path, data: Parts) -> dict[str, Any]:
    """Measure both reward models on comparisons of held-out texts."""
    found = {}
    for name in ("reward", "gold"):
        judge, tokenizer = open_judge(folder / name)
        reward = score(judge, tokenizer, sorted({text for pair in data.unseen for text in sides(pair)}))
        right = [preferred(*(reward[text] for text in sides(pair))) for pair in data.unseen]
        found[name] = accuracy_interval(right, [pair.units for pair in data.unseen])._asdict()
    return found


def measure(folder: Path, data: Parts, *, seed: int, only: Sequence[float] | None = None) -> dict[str, Any]:
    """Let the start and the policies of a run answer held-out prompts, and all judges compare the answers.

    Args:
        folder: Of the run.
        data: Its texts.
        seed: Of the draws.
        only: Prices of the policies that are measured; None: all.

    Returns:
        Of each policy its divergence from the start in nats, mean scores and, for all but the start, the
        share of prompts whose answer each judge finds better than the start's; and answers to read.
    """
    plan = plan_of(Plan, folder)
    start, tokenizer = load_run(folder / "sft")
    judges = _judges(folder, data)
    asked = data.asked[:N_ASKED]
    prompts = [_prompt_ids(tokenizer, text, plan) for text in asked]
    names = ["sft", *map(policy_name, plan.kl_coefs if only is None else only)]
    policies: dict[str, Any] = {}
    scores: dict[str, dict[str, list[float]]] = {}
    shown: list[dict[str, str]] = [{"prompt": text} for text in asked[:N_SHOWN]]
    for i, name in enumerate(names):
        policy, _ = load_run(folder / name)
        answers, found = _answers(policy, start, tokenizer, prompts, plan, seed=1000 * seed + i)
        texts = [text + answer for text, answer in zip(asked, answers, strict=True)]
        scores[name] = {judge: scored(texts) for judge, scored in judges.items()}
        wins = {
            judge: _wins(scores[name][judge], scores["sft"][judge])._asdict() for judge in judges if i > 0
        }
        means = {judge: fmean(values) for judge, values in scores[name].items()}
        policies[name] = {**found, "variety": variety(answers), "scores": means, "wins": wins}
        for row, answer in zip(shown, answers, strict=False):
            row[name] = answer
    spread = {judge: torch.tensor(values).std().item() for judge, values in scores["sft"].items()}
    return {"n_asked": len(asked), "policies": policies, "spread": spread, "answers": shown}


def draw(
    policy: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, eos_id: int, seed: int
) -> Iterator[Rollout]:
    """Draw an answer to each prompt, in their order, some at a time."""
    generator = torch.Generator().manual_seed(seed)
    for first in range(0, len(prompts), BATCH):
        part = [torch.tensor(ids) for ids in prompts[first : first + BATCH]]
        ids, mask = (
            pad_sequence(rows, batch_first=True, padding_side="left")
            for rows in (part, [torch.ones_like(row, dtype=torch.bool) for row in part])
        )
        yield rollout(policy, ids, max_new_tokens, attention_mask=mask, eos_id=eos_id, generator=generator)


def judged(judge: RewardModel, end: int) -> Reward:
    """Let a judge score answers, those that were cut at the limit as if they ended there: it knows no others.

    Args:
        judge: Has learned from whole texts.
        end: The token that ends them, which takes the place of the last one of an answer that was cut.
    """

    def score_of(answers: Rollout) -> Tensor:
        ids = answers.ids.clone()
        ids[~answers.ended, -1] = end
        return judge.score(answers._replace(ids=ids))

    return score_of


def variety(answers: Sequence[str]) -> float:
    """Share of the pairs of neighboring words of all answers that are different ones.

    >>> variety(["a b a b", "a b"])  # ab, ba, ab, ab
    0.5
    """
    found = [pair for answer in answers for pair in pairwise(answer.lower().split())]
    return len(set(found)) / max(1, len(found))


def policy_name(kl_coef: float) -> str:
    """Name of a policy, and of its folder.

    >>> policy_name(0.05)
    'ppo-0.05'
    """
    return f"ppo-{kl_coef:g}"


def curve_of(history: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, Any]:
    """Make the curves of a run of PPO small: means over stretches of steps.

    >>> curve_of([{"reward": 1.0}, {"reward": 2.0}], ["reward"])
    {'step': [1, 2], 'reward': [1.0, 2.0]}
    """
    size = -(-len(history) // POINTS)
    stretches = [history[first : first + size] for first in range(0, len(history), size)]
    steps = [min(size * (i + 1), len(history)) for i in range(len(stretches))]
    means = {name: [round(fmean(one[name] for one in part), DIGITS) for part in stretches] for name in names}
    return {"step": steps, **means}


def _learn_to_write(data: Parts, run: Run) -> dict[str, Any]:
    plan = run.plan
    read = [beginning + rest for beginning, rest in data.written]
    tokenizer = Tokenizer.train(read, plan.vocab_size, special_tokens=[END_OF_TEXT])
    torch.manual_seed(run.seed)
    sizes = {"n_layers": plan.n_layers, "d_model": plan.d_model, "n_heads": plan.n_heads}
    config = small_decoder(tokenizer.vocab_size, plan.context_length, **sizes, dropout=plan.dropout)
    policy: Any = build(config).to(run.device)
    say(f"{n_params(policy):,} parameters each, in policy and judges")
    end = tokenizer.special_tokens[END_OF_TEXT]
    examples = [
        completion(
            _prompt_ids(tokenizer, beginning, plan),
            [*tokenizer.encode(rest), end][: plan.max_new_tokens],
        )
        for beginning, rest in data.written
    ]
    texts = Conversations(examples, seed=run.seed)
    settings = _settings(run, plan.sft_steps, plan.sft_rate)
    result = _train(policy, texts, settings, run, "sft", loss=batch_loss)
    run.keep("sft", policy, tokenizer)
    return {"n_params": n_params(policy), "n_texts": len(data.written), "curve": thinned(result.history)}


def _learn_rewards(name: str, pairs: list[TextPair], run: Run) -> dict[str, Any]:
    """Make a reward model of the fine-tuned one: another head, and comparisons."""
    backbone, tokenizer = load_run(run.output / "sft")
    torch.manual_seed(run.seed if name == "reward" else run.seed + 1000)
    judge = RewardModel(backbone).to(run.device)
    ids = [[encode(tokenizer, text) for text in sides(pair)] for pair in pairs]
    compared = [PreferencePair(completion([], chosen), completion([], rejected)) for chosen, rejected in ids]
    data = PreferenceDataset(compared, max_length=run.plan.context_length, seed=run.seed)
    settings = _settings(run, max(1, len(pairs) // run.plan.batch_size), run.plan.reward_rate)
    result = _train(judge, data, settings, run, name, loss=preference_loss)
    run.keep(name, backbone, tokenizer)
    save_head(run.output / name, judge)
    return thinned(result.history)


def _follow(kl_coef: float, data: Parts, run: Run) -> dict[str, Any]:
    """Train a copy of the fine-tuned policy with PPO on the reward model."""
    plan, name = run.plan, policy_name(kl_coef)
    start, tokenizer = load_run(run.output / "sft")
    judge, gold = (open_judge(run.output / which)[0].to(run.device) for which in ("reward", "gold"))
    policy: Any = deepcopy(start).to(run.device)
    end = tokenizer.special_tokens[END_OF_TEXT]
    torch.manual_seed(run.seed)
    ppo = Watched(
        policy=policy,
        value_model=ValueModel(policy).to(run.device),
        reward=judged(judge, end),
        reference_model=start.to(run.device),
        gold=judged(gold, end),
        config=PPOConfig(
            n_steps=plan.ppo_steps,
            batch_size=plan.n_answers,
            max_new_tokens=plan.max_new_tokens,
            eos_id=end,
            lr=plan.ppo_rate,
            n_epochs=2,
            n_minibatches=2,
            kl_coef=kl_coef,
            value_clip=float("inf"),
            checkpoint_every=max(1, plan.ppo_steps // 8),
            seed=run.seed,
        ),
    )
    prompts = [_prompt_ids(tokenizer, beginning, plan) for beginning, _ in data.written]
    say(f"PPO, {kl_coef:g} a nat: {plan.ppo_steps} rollouts of {plan.n_answers} answers")
    with resumable(run.output):
        history = ppo.train(
            prompts,
            folder=run.output / "checkpoints" / name,
            logger=loggers(run.output / "logs" / name, Lines(plan.ppo_steps)),
        )
    run.keep(name, policy, tokenizer)
    is_first = kl_coef == plan.kl_coefs[0]
    return curve_of(history, list(history[0]) if is_first else ["reward", "gold", "kl", "entropy"])


def _settings(run: Run, n_steps: int, rate: float) -> TrainConfig:
    return TrainConfig(
        n_steps=n_steps,
        context_length=run.plan.context_length,
        batch_size=run.plan.batch_size,
        lr=rate,
        optimizer="muon",
        log_every=max(1, n_steps // 10),
        checkpoint_every=max(1, n_steps // 5),
        seed=run.seed,
    )


def _train(model: Any, data: Any, settings: TrainConfig, run: Run, name: str, **options: Any) -> Any:
    with resumable(run.output):
        folder = run.output / "checkpoints" / name
        return train(
            model, data, settings, folder=folder, logger=loggers(run.output / "logs" / name), **options
        )


def _judges(folder: Path, data: Parts) -> dict[str, Callable[[list[str]], list[float]]]:
    """Make all judges: those that are models from the folder, the others anew from the data."""

    def by_model(name: str) -> Callable[[list[str]], list[float]]:
        judge, tokenizer = open_judge(folder / name)

        def scored(texts: list[str]) -> list[float]:
            found = score(judge, tokenizer, sorted(set(texts)))
            return [found[text] for text in texts]

        return scored

    def by_words(scorer: Scorer) -> Callable[[list[str]], list[float]]:
        return lambda texts: [scorer(text) for text in texts]

    judges = {name: by_model(name) for name in ("reward", "gold")}
    judges["words"] = by_words(bag_of_words(data.judged_by_others))
    if plan_of(Plan, folder).data is None:
        judges["lexicon"] = by_words(lexicon())
    return judges


def _answers(
    policy: Any, start: Any, tokenizer: Tokenizer, prompts: list[list[int]], plan: Plan, *, seed: int
) -> tuple[list[str], dict[str, float]]:
    """Draw an answer to each prompt, and see how far the policy has gone."""
    end, texts = tokenizer.special_tokens[END_OF_TEXT], []
    kl, surprise, length, ended = [], [], [], []
    for answers in draw(policy, prompts, plan.max_new_tokens, eos_id=end, seed=seed):
        with torch.no_grad():
            before = completion_logprobs(start, answers)[0]
        kl += (answers.logprobs - before).sum(dim=1).tolist()
        surprise += (-before.sum(dim=1) / answers.mask.sum(dim=1)).tolist()
        length += answers.mask.sum(dim=1).tolist()
        ended += answers.ended.tolist()
        rows = range(len(answers.ids))
        texts += [tokenizer.decode([i for i in answers.completion(row) if i != end]) for row in rows]
    means = {"kl": fmean(kl), "surprise": fmean(surprise), "length": fmean(length), "ended": fmean(ended)}
    return texts, means


def _prompt(pair: TextPair) -> str:
    return "".join(f"{message['role']}: {message['content']}\n" for message in pair.prompt)


def _prompt_ids(tokenizer: Tokenizer, text: str, plan: Plan) -> list[int]:
    """Turn a prompt into ids: the last ones, if an answer of full length would not fit behind all."""
    return tokenizer.encode(text)[-(plan.context_length - plan.max_new_tokens) :]


def _wins(after: list[float], before: list[float]) -> Any:
    wins = sum(a > b for a, b in zip(after, before, strict=True))
    losses = sum(a < b for a, b in zip(after, before, strict=True))
    return win_rate(wins, losses, len(after) - wins - losses)
