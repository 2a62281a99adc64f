"""Supervised fine-tuning of a chat model in a run folder."""

from collections.abc import Sequence
from pathlib import Path

import torch

from llmguide.post_training.chat import Message
from llmguide.post_training.rl.rollout import rollout
from llmguide.post_training.sft import SFTDataset
from llmguide.runs.chat_model import Chat, save_trained
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import barrier, describe, drop_too_long, loggers, train_run, write_report
from llmguide.runs.options import Lora, Steps, per_step, schedule
from llmguide.training import distributed
from llmguide.training.losses import batch_loss
from llmguide.training.step import evaluate

EPOCHS, BATCH_SIZE = 3, 16


def fine_tune(
    chat: Chat,
    conversations: Sequence[Sequence[Message]],
    held_out: Sequence[Sequence[Message]],
    output: Path,
    *,
    steps: Steps,
    lora: Lora,
    packed: bool = False,
    context_length: int,
) -> None:
    """Fine-tune a model on conversations in place, evaluate it on held-out ones, and save it.

    Args:
        chat: Model with its tokenizer and template.
        conversations: Conversations to train on.
        held_out: Conversations to evaluate on, or none.
        output: Run folder.
        steps: Training options.
        lora: LoRA options; the adapters are in the model already.
        packed: Pack several conversations into a row.
        context_length: Most tokens of a conversation.
    """
    device = distributed.init_process_group()
    chat.model.to(device)
    length = min(context_length, chat.model.config.context_length)

    def examples(side: Sequence[Sequence[Message]]) -> SFTDataset:
        # one more than the context, because the last token is only a target
        rendered = [chat.rendered(messages, length + 1) for messages in side]
        rows = drop_too_long(rendered, "conversations", length)
        chat.report_truncated("conversations", length)
        return SFTDataset(rows, pack_to=length if packed else None, seed=steps.seed)

    data, validation = examples(conversations), examples(held_out) if held_out else None
    rate = 1e-3 if lora.lora_rank else 5e-4
    config = schedule(steps, n=len(data), epochs=EPOCHS, batch_size=BATCH_SIZE, lr=rate)
    describe(chat.model, device, f"{config.n_steps:,} steps of {per_step(config)} of {len(data):,} rows")
    before = (
        None
        if validation is None
        else evaluate(chat.model, validation, loss=batch_loss, precision=config.precision)
    )
    chat.save_tokenizer(output)
    options = {"validation": validation, "loss": batch_loss, "logger": loggers(output, config, steps.wandb)}
    result = train_run(output, chat.model, data, config, **options)
    save_trained(output, chat, chat.model, lora)
    after = result.history[-1].val_loss
    if distributed.world().rank == 0:
        write_report(output, {"loss": result.loss, "held_out": after, "held_out_before": before})
    if validation is not None:
        say(f"loss per token, {len(held_out)} held-out conversations: {before:.3f} before, {after:.3f} after")
        say(_sample(chat, held_out[0]))
    barrier()


def _sample(chat: Chat, messages: Sequence[Message]) -> str:
    """Sample a response to the first user turn of a held-out conversation."""
    n_turns = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), 0)
    prompt = chat.prompt(messages[:n_turns]) if n_turns else []
    room = min(60, chat.model.config.context_length - len(prompt) + 1)
    if not prompt or room < 1:
        return ""
    device = next(chat.model.parameters()).device
    ids = torch.tensor([prompt], device=device)
    torch.manual_seed(0)
    completions = rollout(chat.model.eval(), ids, room, temperature=0.7, eos_id=chat.end_ids)
    question, reply = messages[n_turns - 1]["content"][:200], chat.decode(completions.completion(0))
    return f"\nuser: {question}\nassistant: {reply}"
