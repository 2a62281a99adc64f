"""``llmguide sft``: supervised fine-tuning on conversations, or in the tiny world."""

from pathlib import Path

from llmguide.post_training.datasets import FORMATS, conversations, first_turn
from llmguide.runs.chat_model import open_chat
from llmguide.runs.fine_tune import fine_tune
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import start_run, train_val_split
from llmguide.runs.options import LORA, MODEL_SOURCE, STEPS, Lora, ModelSource, Steps, options_of
from llmguide.runs.toy import NEEDS_DATA, run_toy
from llmguide.training import distributed

DESCRIPTION = f"""\
Supervised fine-tuning. Without arguments, a model with a vocabulary of eight words is trained on
demonstrations in the tiny world, where everything is known exactly. --data trains on your own conversations.
Repeat the command to resume a run.

{FORMATS}

Examples:
  llmguide sft
  llmguide sft --data talks.jsonl --model runs/pretrain --output runs/chat
  llmguide sft --data talks.jsonl --model Qwen/Qwen2.5-0.5B --lora-rank 16 --output runs/qwen
  llmguide sft --data talks.jsonl --model Qwen/Qwen2.5-7B --lora-rank 16 --quantize nf4 --precision bf16
  torchrun --nproc-per-node 2 -m llmguide sft --data talks.jsonl --output runs/two"""

HELD_OUT = 0.05


def sft(
    *,
    data: Path | None = None,
    output: Path = Path("runs/sft"),
    held_out: float = HELD_OUT,
    packed: bool = False,
    source: ModelSource = MODEL_SOURCE,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Fine-tune a model on responses.

    Args:
        data: Conversations, in one of the formats above; default: the tiny world.
        output: Run folder.
        held_out: Fraction of the conversations that is held out, from 0 to below 1.
        packed: Pack several conversations into a row.
        source: Model to start from. Conversations longer than --max-length lose their oldest turns, or are
            skipped if the last turns do not fit; both are counted.
        steps: Training options. Defaults: 3 epochs of batches of 16, learning rate 5e-4, with LoRA 1e-3; in
            the tiny world 200 steps of 64, learning rate 5e-3.
        lora: LoRA options.
    """
    if data is None:
        given = (held_out, packed, source, steps.epochs, lora)
        if given != (HELD_OUT, False, MODEL_SOURCE, None, LORA):
            raise ValueError(NEEDS_DATA)
        run_toy("sft", output, steps)
        return
    distributed.init_process_group()
    talks = conversations(data, report=say)
    named = [(first_turn(messages), messages) for messages in talks]
    train_side, validation = train_val_split(named, held_out, "conversations")
    options = options_of(source, steps, lora, talks)
    start_run(output, data=data, packed=packed, held_out=held_out, **options)
    texts = (message["content"] for messages in train_side for message in messages)
    chat = open_chat(source, texts, seed=steps.seed, lora=lora)
    lora.apply_to(chat.model)
    fine_tune(
        chat,
        train_side,
        validation,
        output,
        steps=steps,
        lora=lora,
        packed=packed,
        context_length=source.longest(chat.model),
    )
    say(f"\nstart from it:  --model {output}")


COMMAND = sft
