"""``llmguide reward``: a reward model, from people's comparisons or in the tiny world."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from llmguide.cli.sft import WORLD, tiny_policy
from llmguide.data.fetch import PACKAGES
from llmguide.evaluation.metrics import wilson_interval
from llmguide.models.saved import is_saved
from llmguide.post_training.chat import Message
from llmguide.post_training.datasets import TextPair, comparisons
from llmguide.post_training.preferences.baselines import accuracy_interval, bag_of_words, verdicts
from llmguide.post_training.preferences.corpora import divide, hh_pairs, sentiment_pairs
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.sft import completion
from llmguide.post_training.toy.methods import preference_data, preference_learning, score_completions
from llmguide.post_training.toy.world import optimum, preferences, tiny_world
from llmguide.runs.folder import say
from llmguide.runs.post_training import (
    COMPARED,
    LORA,
    ORIGIN,
    STEPS,
    Chat,
    Compared,
    Lora,
    Origin,
    Steps,
    begin,
    describe,
    finish,
    kept,
    loggers,
    merged,
    open_chat,
    resumable,
    schedule,
    wait,
    write_report,
)
from llmguide.runs.reward_heads import save_head, with_head
from llmguide.runs.tables import Columns, Table, share, show
from llmguide.runs.toy import (
    N_PAIRS,
    N_STEPS,
    load_policy,
    logprobs_of,
    one_thread,
    paced,
    report,
    save_policy,
    standing,
)
from llmguide.training import distributed
from llmguide.training.train import train

DESCRIPTION = """\
Train a reward model on comparisons of two answers. With no arguments, it learns a judge of the tiny world,
from the policy of llmguide sft. --data vader: which of two texts people found more positive; --data hh:
Anthropic's HH-RLHF; or a file of JSON lines with prompt, chosen and rejected. Held-out accuracy comes with an
interval, and beside simple baselines. The same command goes on where it stopped.

Examples:
  llmguide reward
  llmguide reward --data vader --output runs/sentiment
  llmguide reward --data pairs.jsonl --model runs/chat --output runs/judge
  torchrun --nproc-per-node 2 -m llmguide reward --data vader --output runs/two"""

BATCH_SIZE = 32
BETAS = (1.0, 0.5, 0.25, 0.1)  # of the policies that follow the tiny world's reward model


def reward(
    *,
    compared: Compared = COMPARED,
    output: Path = Path("runs/reward"),
    origin: Origin = ORIGIN,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Train a reward model.

    Args:
        compared: The data.
        output: Folder of the run.
        origin: The model, which reads the last tokens of a text that is too long.
        steps: The training.
        lora: Adapters.
    """
    if compared.data is None:
        if lora.lora_rank:
            raise ValueError(WORLD)
        with one_thread():
            _in_tiny_world(output, origin.model, steps)
        return
    device = begin(output, **choices_of(compared, origin, steps, lora))
    seen, unseen = load_pairs(compared, seed=steps.seed)
    texts = (text for pair in seen for text in pair[1:3])
    chat = open_chat(origin, texts, seed=steps.seed)
    length = min(origin.context_length, chat.model.config.context_length)
    lora.into(chat.model)
    judge = RewardModel(chat.model).to(device)
    if chat.model.head is not None:
        chat.model.head.requires_grad_(False)  # not used, which DDP would wait for
    pairs = [
        PreferencePair(
            completion([], _ids(chat, pair.prompt, pair.chosen)),
            completion([], _ids(chat, pair.prompt, pair.rejected)),
        )
        for pair in seen
    ]
    rate = 1e-3 if origin.model is None else 5e-4 if lora.lora_rank else 2e-5
    config = schedule(steps, n=len(pairs), epochs=1, batch_size=BATCH_SIZE, lr=rate)
    describe(chat, device, f"{config.n_steps:,} steps of {config.batch_size} of {len(pairs):,} pairs")
    with resumable(output):
        train(
            judge,
            PreferenceDataset(pairs, max_length=length, seed=steps.seed),
            config,
            folder=output / "checkpoints",
            loss=preference_loss,
            logger=loggers(output),
        )
    finish(output, chat, chat.model, lora)
    if distributed.world().rank == 0:
        save_head(output, judge)
        final = RewardModel(merged(chat.model)).to(device)
        final.head.load_state_dict(judge.head.state_dict())
        score = _scores(final, chat, unseen, length)
        right = [_verdict(score[a], score[b]) for a, b in _keys(unseen)]
        show_accuracy(output, "reward model", right, seen, unseen)
    wait()


COMMAND = reward


def choices_of(compared: Compared, origin: Origin, steps: Steps, lora: Lora) -> dict[str, Any]:
    """What a run on comparisons may not change in the middle."""
    return {
        **vars(compared),
        "model": origin.model,
        "vocab_size": origin.vocab_size,
        "context_length": origin.context_length,
        "shape": vars(origin.shape),
        "seed": steps.seed,
        "lora": vars(lora),
    }


def load_pairs(compared: Compared, *, seed: int) -> tuple[list[TextPair], list[TextPair]]:
    """Read comparisons for training and, of other texts or conversations, for evaluation."""
    data, n_pairs, held_out = compared.data, compared.n_pairs, compared.held_out
    assert data is not None
    if data == "vader":
        say(f"{PACKAGES['vader-ratings'].attribution}; license: {PACKAGES['vader-ratings'].license}")
        seen = sentiment_pairs("train", n_pairs, held_out=held_out, seed=seed)
        return seen, sentiment_pairs("validation", max(1, n_pairs // 2), held_out=held_out, seed=seed)
    seen, unseen = divide(hh_pairs() if data == "hh" else comparisons(data), held_out=held_out)
    if not seen or not unseen:
        raise ValueError(
            f"{data} gives {len(seen)} pairs for training and {len(unseen)} held out, divided by their first "
            f"message with --held-out {held_out}; give more pairs"
        )
    return seen, unseen


def show_accuracy(
    output: Path, name: str, right: Sequence[float], seen: Sequence[TextPair], unseen: Sequence[TextPair]
) -> None:
    """Print and keep held-out accuracy, beside what it must beat and what people reach."""
    verdict_of = {
        "longer wins": verdicts(unseen, len),
        "words (Bradley-Terry)": verdicts(unseen, bag_of_words(seen)),
    }
    verdict_of[name] = list(right)
    people = [pair.seconded for pair in unseen]
    if not any(math.isnan(value) for value in people):
        verdict_of["people, a second panel"] = people
    units = [pair.units for pair in unseen]
    found = {who: accuracy_interval(given, units) for who, given in verdict_of.items()}
    rows = [{"judge": who, **interval._asdict()} for who, interval in found.items()]
    naive = wilson_interval(sum(right), len(right))
    n_units = len({unit for pair in units for unit in pair})
    notes = [
        f"{len(unseen):,} held-out pairs of {n_units:,} texts or conversations, none of them trained on; 95% "
        "intervals by drawing those again.",
        f"As if pairs were independent, the {name}'s would be {naive.low:.1%} to {naive.high:.1%}.",
    ]
    columns: Columns = {"judge": str, "score": share, "low": share, "high": share}
    show(Table("held-out accuracy", columns, rows, notes), as_json=False)
    write_report(output, {"accuracy": rows, "n_pairs": len(unseen), "n_units": n_units})
    say(f"\nsee the curves:  tensorboard --logdir {output / 'logs'}")


class Learned(NamedTuple):
    """The tiny world's policy to start from, its log-probabilities, and the reward that was learned."""

    policy: Any
    reference: Tensor
    rewards: Tensor


def tiny_rewards(model: str | None, reward_model: Path | None, output: Path, *, seed: int) -> Learned:
    """Open the reward model of the tiny world, and the policy; make what is not there.

    Returns:
        Rewards are 0 on average under the policy, for each prompt.
    """
    folder = output.parent / "reward" if reward_model is None else reward_model
    policy = tiny_policy(model, output, seed=seed)
    if reward_model is None and not is_saved(folder):
        say(f"{folder} holds no reward model yet; llmguide reward makes it first\n")
        _in_tiny_world(folder, model, Steps(seed=seed))
        say("")
    world = tiny_world()
    reference = logprobs_of(policy, world)
    judge = with_head(folder, load_policy(folder))
    return Learned(policy, reference, _centered(score_completions(judge, world), reference))


def _in_tiny_world(output: Path, model: str | None, steps: Steps) -> None:
    device = begin(output, world="tiny", model=model, seed=steps.seed)
    world = tiny_world()
    policy = tiny_policy(model, output, seed=steps.seed)
    reference = logprobs_of(policy, world)
    pairs, unseen = (
        preferences(world, world.gold, reference, N_PAIRS, torch.Generator().manual_seed(steps.seed + i))
        for i in (1, 2)
    )
    torch.manual_seed(steps.seed)
    judge = RewardModel(policy).to(device)
    config = paced(steps.on(preference_learning(N_STEPS)))
    say(f"the tiny world: {config.n_steps} steps of {config.batch_size} of {N_PAIRS:,} pairs")
    with resumable(output):
        train(
            judge,
            preference_data(world, pairs),
            config,
            folder=output / "checkpoints",
            loss=preference_loss,
            logger=loggers(output),
        )
    judge.cpu()
    if distributed.world().rank == 0:
        save_policy(output, policy, seed=steps.seed)
        save_head(output, judge)
    learned = _centered(score_completions(judge, world), reference)
    accuracy = {
        name: _agreement(table, unseen) for name, table in (("learned", learned), ("gold", world.gold))
    }
    say(
        f"held-out accuracy {accuracy['learned']:.1%} of {N_PAIRS:,} pairs; the true reward itself has "
        f"{accuracy['gold']:.1%}, since the judge is noisy"
    )
    best = [optimum(reference, learned, beta) for beta in BETAS]
    rows = [
        standing(f"best for it, beta {beta:g}", logprobs, reference, world, learned)
        for beta, logprobs in zip(BETAS, best, strict=True)
    ]
    title = "policies that follow the reward model as far as it pays"
    report(output, title, rows, best[-1], world, accuracy=accuracy)
    wait()


def _agreement(table: Float[Tensor, "P N"], pairs: Any) -> float:
    chosen, rejected = (table[pairs.prompts, side] for side in (pairs.chosen, pairs.rejected))
    return ((chosen > rejected).double() + (chosen == rejected).double() / 2).mean().item()


def _centered(rewards: Float[Tensor, "P N"], reference: Float[Tensor, "P N"]) -> Float[Tensor, "P N"]:
    return rewards - (reference.exp() * rewards).sum(dim=1, keepdim=True)


def _ids(chat: Chat, prompt: Sequence[Message], text: str) -> list[int]:
    """Write a prompt and an answer as ids, whole: a reward model reads the last ones."""
    found = chat.rendered([*prompt, {"role": "assistant", "content": text}], 1 << 60)
    [rendered] = kept([found], "texts", 1 << 60)
    return rendered.ids


def _keys(pairs: Sequence[TextPair]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    keys = [str(pair.prompt) for pair in pairs]
    return [((key, pair.chosen), (key, pair.rejected)) for key, pair in zip(keys, pairs, strict=True)]


@torch.no_grad()
def _scores(
    judge: RewardModel, chat: Chat, pairs: Sequence[TextPair], length: int
) -> dict[tuple[str, str], float]:
    """Score each text once, however many pairs it is in."""
    prompt_of = {key: pair.prompt for pair, both in zip(pairs, _keys(pairs), strict=True) for key in both}
    ids = {key: _ids(chat, prompt, key[1])[-length:] for key, prompt in prompt_of.items()}
    order = sorted(ids, key=lambda key: len(ids[key]))  # texts of a batch are of about one length
    device = next(judge.parameters()).device
    found: dict[tuple[str, str], float] = {}
    judge.eval()
    for first in range(0, len(order), BATCH_SIZE):
        keys = order[first : first + BATCH_SIZE]
        rows = [torch.tensor(ids[key]) for key in keys]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        seen = torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        rewards = judge(padded.to(device), attention_mask=seen.to(device)).tolist()
        found |= dict(zip(keys, rewards, strict=True))
    return found


def _verdict(chosen: float, rejected: float) -> float:
    return 0.5 if chosen == rejected else float(chosen > rejected)
