"""``llmguide dpo``: direct preference optimization on comparisons, or in the tiny world."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmguide.data.tokens.packing import in_epochs
from llmguide.post_training.datasets import FORMATS, TextPair
from llmguide.post_training.preferences.dpo import dpo_loss, evaluate_preferences, preference_objective
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.runs.chat_model import Chat, open_chat, save_trained
from llmguide.runs.comparisons import load_pairs, report_accuracy
from llmguide.runs.fine_tune import fine_tune
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import barrier, describe, drop_too_long, loggers, start_run, train_run
from llmguide.runs.options import (
    COMPARISON_DATA,
    LORA,
    MODEL_SOURCE,
    STEPS,
    ComparisonData,
    Lora,
    ModelSource,
    Steps,
    options_of,
    per_step,
    schedule,
)
from llmguide.runs.toy import NEEDS_DATA, run_toy
from llmguide.training import distributed

DESCRIPTION = f"""\
Direct preference optimization. Without arguments, the policy of llmguide sft is trained on 2,000 pairs of the
tiny world, and evaluated exactly. --data vader, hh, or your own comparisons, as in llmguide reward. Without
--model, a small GPT is fine-tuned on the chosen responses first. Repeat the command to resume a run.

{FORMATS}

Examples:
  llmguide dpo
  llmguide dpo --beta 0.5 --output runs/dpo-careful
  llmguide dpo --data pairs.jsonl --model runs/chat --lora-rank 16 --output runs/preferred
  torchrun --nproc-per-node 2 -m llmguide dpo --data vader --output runs/two"""

BATCH_SIZE = 32


def dpo(
    *,
    comparisons: ComparisonData = COMPARISON_DATA,
    output: Path = Path("runs/dpo"),
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    source: ModelSource = MODEL_SOURCE,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Train a policy on preferences.

    Args:
        comparisons: Preference pairs to train on.
        output: Run folder.
        beta: KL coefficient, above 0; smaller values let the policy move further from the reference model.
        label_smoothing: Probability that a label is flipped, from 0 to below 0.5.
        source: Initial policy, which is the reference model too. Prompts longer than --max-length lose their
            oldest turns; pairs whose last turn does not fit are skipped; both are counted.
        steps: Training options. Defaults: 1 epoch of batches of 32, learning rate 5e-6, 2e-4 with LoRA or a
            new model; in the tiny world 200 steps of 64, learning rate 1e-3.
        lora: LoRA options.
    """
    options: dict[str, Any] = {"beta": beta, "label_smoothing": label_smoothing}
    if comparisons.data is None:
        given = (comparisons, replace(source, model=None), steps.epochs, lora)
        if given != (COMPARISON_DATA, MODEL_SOURCE, None, LORA):
            raise ValueError(NEEDS_DATA)
        run_toy("dpo", output, steps, model=source.model, **options)
        return
    loss = partial(dpo_loss, beta=beta, label_smoothing=label_smoothing)
    loss(*torch.zeros(4, 1))  # raises the errors of its options
    distributed.init_process_group()
    seen, unseen = load_pairs(comparisons, seed=steps.seed)
    options |= vars(comparisons) | options_of(source, steps, lora, [*seen, *unseen])
    device = start_run(output, **options)
    start = source
    if source.model is None:
        start = ModelSource(str(output / "sft"))
        if not (output / "sft" / "report.json").exists():  # written last
            say("no --model to start from: a small GPT is fine-tuned on the chosen completions first\n")
            _fine_tune_first(output / "sft", seen, unseen, source, seed=steps.seed)
            say("")
    chat = open_chat(start, [], seed=steps.seed, lora=lora)
    chat.model.to(device)
    length = source.longest(chat.model)
    pairs = PreferenceDataset(
        drop_too_long([_pair(chat, pair, length) for pair in seen], "pairs", length), seed=steps.seed
    )
    encoded = [(pair, _pair(chat, pair, length)) for pair in unseen]
    unseen = [pair for pair, ids in encoded if ids is not None]
    held_out = PreferenceDataset(drop_too_long([ids for _, ids in encoded], "pairs", length))
    chat.report_truncated("responses", length)
    lora.apply_to(chat.model)  # new adapters change nothing, but the reference model is quantized, too
    say("computing the log-probabilities of all responses under the reference model")
    with torch.autocast(device.type, torch.bfloat16, enabled=steps.precision == "bfloat16"):
        pairs, held_out = (
            side.with_reference(chat.model, batch_size=BATCH_SIZE) for side in (pairs, held_out)
        )
    rate = 2e-4 if source.model is None or lora.lora_rank else 5e-6
    config = schedule(steps, n=len(pairs), epochs=1, batch_size=BATCH_SIZE, lr=rate)
    describe(chat.model, device, f"{config.n_steps:,} steps of {per_step(config)} of {len(pairs):,} pairs")
    chat.save_tokenizer(output)
    logger, objective = loggers(output, config, steps.wandb), preference_objective(loss)
    train_run(output, chat.model, pairs, config, loss=objective, logger=logger)
    save_trained(output, chat, chat.model, lora)
    if distributed.world().rank == 0:
        report_accuracy(output, "implicit reward", _right(chat.model, held_out, loss), seen, unseen)
    barrier()


COMMAND = dpo


def _fine_tune_first(
    output: Path, seen: Sequence[TextPair], unseen: Sequence[TextPair], source: ModelSource, *, seed: int
) -> None:
    """Fine-tune a new model on the chosen responses: DPO needs a policy that can generate them."""
    unique = [
        # a text that is in many pairs is used once
        list({(str(pair.prompt), pair.chosen): pair for pair in side}.values())
        for side in (seen, unseen)
    ]
    train_side, held_out = (
        [[*pair.prompt, {"role": "assistant", "content": pair.chosen}] for pair in side] for side in unique
    )
    texts = (message["content"] for messages in train_side for message in messages)
    chat = open_chat(source, texts, seed=seed)
    length = source.longest(chat.model)
    fine_tune(chat, train_side, held_out, output, steps=Steps(seed=seed), lora=Lora(), context_length=length)


def _pair(chat: Chat, pair: TextPair, length: int) -> PreferencePair | None:
    chosen, rejected = (chat.rendered(pair.prompt, length + 1, response=text) for text in pair[1:3])
    return None if chosen is None or rejected is None else PreferencePair(chosen, rejected)


def _right(policy: Any, pairs: PreferenceDataset, loss: Any) -> list[float]:
    """Return whether the implicit reward prefers the chosen response, for each pair in the original order."""
    scores = evaluate_preferences(policy, pairs, loss, batch_size=BATCH_SIZE)
    order = torch.from_numpy(in_epochs(0, len(pairs), len(pairs), pairs.seed))
    right = torch.empty(len(pairs))
    right[order] = (scores.margins > 0).float().cpu() + (scores.margins == 0).float().cpu() / 2
    return right.tolist()
