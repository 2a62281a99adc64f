"""``llmguide dpo``: learn from preferences without a reward model, from comparisons or in the tiny world."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmguide.cli.reward import choices_of, load_pairs, show_accuracy
from llmguide.cli.sft import WORLD, fine_tune, tiny_policy
from llmguide.data.tokens.packing import in_epochs
from llmguide.models.saved import is_saved
from llmguide.post_training.datasets import TextPair
from llmguide.post_training.preferences.dpo import dpo_loss, evaluate_preferences, preference_objective
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.toy.methods import preference_data, preference_learning
from llmguide.post_training.toy.world import preferences, tiny_world
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
    open_chat,
    resumable,
    schedule,
    wait,
)
from llmguide.runs.toy import (
    N_PAIRS,
    N_STEPS,
    Exact,
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
Direct preference optimization. With no arguments, the policy of llmguide sft learns from 2,000 pairs of the
tiny world, and is measured exactly. --data vader, hh, or a file of JSON lines with prompt, chosen and
rejected: as in llmguide reward. Without --model, a small GPT is fine-tuned on the chosen answers first. The
same command goes on where it stopped.

Examples:
  llmguide dpo
  llmguide dpo --beta 0.5 --output runs/dpo-careful
  llmguide dpo --data pairs.jsonl --model runs/chat --lora-rank 16 --output runs/preferred
  torchrun --nproc-per-node 2 -m llmguide dpo --data vader --output runs/two"""

BATCH_SIZE = 32


def dpo(
    *,
    compared: Compared = COMPARED,
    output: Path = Path("runs/dpo"),
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    origin: Origin = ORIGIN,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Train a policy on preferences.

    Args:
        compared: The data.
        output: Folder of the run.
        beta: Weight of the divergence from the start; smaller values let the policy go further.
        label_smoothing: Probability that a label is the wrong way round.
        origin: The policy, which is to stay near where it starts.
        steps: The training.
        lora: Adapters.
    """
    loss = partial(dpo_loss, beta=beta, label_smoothing=label_smoothing)
    if compared.data is None:
        if lora.lora_rank:
            raise ValueError(WORLD)
        with one_thread():
            _in_tiny_world(output, origin.model, steps, loss, beta=beta)
        return
    choices = choices_of(compared, origin, steps, lora)
    device = begin(output, beta=beta, label_smoothing=label_smoothing, **choices)
    seen, unseen = load_pairs(compared, seed=steps.seed)
    start = origin
    if origin.model is None:
        start = Origin(str(output / "sft"))
        if not is_saved(output / "sft"):
            say("no --model to start from: a small GPT is fine-tuned on the chosen answers first\n")
            _fine_tune_first(output / "sft", seen, unseen, origin, seed=steps.seed)
            say("")
    chat = open_chat(start, [], seed=steps.seed)
    chat.model.to(device)
    length = min(origin.context_length, chat.model.config.context_length)
    pairs = PreferenceDataset(
        kept([_pair(chat, pair, length) for pair in seen], "pairs", length + 1), seed=steps.seed
    )
    judged = [(pair, _pair(chat, pair, length)) for pair in unseen]
    unseen = [pair for pair, found in judged if found is not None]
    held = PreferenceDataset(kept([found for _, found in judged], "pairs", length + 1))
    say("the start's own log-probabilities of all answers come first")
    pairs, held = (side.with_reference(chat.model, batch_size=BATCH_SIZE) for side in (pairs, held))
    lora.into(chat.model)
    rate = 2e-4 if origin.model is None or lora.lora_rank else 5e-6
    config = schedule(steps, n=len(pairs), epochs=1, batch_size=BATCH_SIZE, lr=rate)
    describe(chat, device, f"{config.n_steps:,} steps of {config.batch_size} of {len(pairs):,} pairs")
    with resumable(output):
        train(
            chat.model,
            pairs,
            config,
            folder=output / "checkpoints",
            loss=preference_objective(loss),
            logger=loggers(output),
        )
    finish(output, chat, chat.model, lora)
    if distributed.world().rank == 0:
        show_accuracy(output, "implicit reward", _right(chat.model, held, loss), seen, unseen)
    wait()


COMMAND = dpo


def _fine_tune_first(
    output: Path, seen: Sequence[TextPair], unseen: Sequence[TextPair], origin: Origin, *, seed: int
) -> None:
    """Teach a new model the chosen answers: a policy that writes none of them has nothing to prefer."""
    talks = [
        # a text in many pairs is one to learn from
        list({(str(pair.prompt), pair.chosen): pair for pair in side}.values())
        for side in (seen, unseen)
    ]
    learned, held = (
        [[*pair.prompt, {"role": "assistant", "content": pair.chosen}] for pair in side] for side in talks
    )
    texts = (message["content"] for talk in learned for message in talk)
    chat = open_chat(origin, texts, seed=seed)
    length = origin.context_length
    fine_tune(chat, learned, held, output, steps=Steps(seed=seed), lora=Lora(), context_length=length)


def _pair(chat: Chat, pair: TextPair, length: int) -> PreferencePair | None:
    chosen, rejected = (
        chat.rendered([*pair.prompt, {"role": "assistant", "content": text}], length + 1, last_turn_only=True)
        for text in pair[1:3]
    )
    return None if chosen is None or rejected is None else PreferencePair(chosen, rejected)


def _right(policy: Any, pairs: PreferenceDataset, loss: Any) -> list[float]:
    """Whether the policy has moved towards the chosen answer, for each pair in its own order."""
    found = evaluate_preferences(policy, pairs, loss, batch_size=BATCH_SIZE)
    order = torch.from_numpy(in_epochs(0, len(pairs), len(pairs), pairs.seed))
    right = torch.empty(len(pairs))
    right[order] = (found.margins > 0).float().cpu() + (found.margins == 0).float().cpu() / 2
    return right.tolist()


def _in_tiny_world(output: Path, model: str | None, steps: Steps, loss: Any, *, beta: float) -> None:
    device = begin(output, world="tiny", model=model, seed=steps.seed, beta=beta)
    world = tiny_world()
    policy: Any = tiny_policy(model, output, seed=steps.seed)
    reference = logprobs_of(policy, world)
    drawn, unseen = (
        preferences(world, world.gold, reference, N_PAIRS, torch.Generator().manual_seed(steps.seed + i))
        for i in (1, 2)
    )
    pairs, held = (
        preference_data(world, judged).with_reference(policy, batch_size=256) for judged in (drawn, unseen)
    )
    policy.to(device)
    config = paced(steps.on(preference_learning(N_STEPS)))
    say(f"the tiny world: {config.n_steps} steps of {config.batch_size} of {N_PAIRS:,} pairs")
    with resumable(output):
        train(
            policy,
            pairs,
            config,
            folder=output / "checkpoints",
            loss=preference_objective(loss),
            logger=Exact(loggers(output), policy, reference, world, n_steps=config.n_steps),
        )
    if distributed.world().rank == 0:
        save_policy(output, policy, seed=steps.seed)
    logprobs = logprobs_of(policy, world)
    rows = [
        standing(name, found, reference, world)
        for name, found in (("start", reference), (f"DPO, beta {beta:g}", logprobs))
    ]
    accuracy = evaluate_preferences(policy, held, loss, batch_size=256).accuracy
    say(f"held-out accuracy of the implicit reward: {accuracy:.1%} of {N_PAIRS:,} pairs")
    report(output, "divergence from the start, and true reward", rows, logprobs, world, accuracy=accuracy)
    wait()
