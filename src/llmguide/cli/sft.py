"""``llmguide sft``: teach a model to answer, from conversations or in the tiny world."""

from collections.abc import Sequence
from pathlib import Path

import torch

from llmguide.models import GPT, Llama, build
from llmguide.models.saved import is_saved
from llmguide.post_training.chat import Message
from llmguide.post_training.datasets import conversations
from llmguide.post_training.rl.rollout import rollout
from llmguide.post_training.sft import Conversations
from llmguide.post_training.toy.methods import demonstrated, fine_tuning
from llmguide.post_training.toy.world import tiny_world
from llmguide.runs.folder import say
from llmguide.runs.post_training import (
    LORA,
    ORIGIN,
    STEPS,
    Chat,
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
    sides,
    wait,
    write_report,
)
from llmguide.runs.toy import (
    N_DEMONSTRATIONS,
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
from llmguide.training.losses import batch_loss
from llmguide.training.step import evaluate
from llmguide.training.train import train

DESCRIPTION = """\
Supervised fine-tuning. With no arguments, a model of eight words learns from demonstrations in the tiny
world, where everything is known exactly; --data trains on conversations of your own, one JSON object a line,
with messages, or with prompt and completion. The same command goes on where it stopped.

Examples:
  llmguide sft
  llmguide sft --data talks.jsonl --model runs/pretrain --output runs/chat
  llmguide sft --data talks.jsonl --model Qwen/Qwen2.5-0.5B --lora-rank 16 --output runs/qwen
  torchrun --nproc-per-node 2 -m llmguide sft --data talks.jsonl --output runs/two"""

EPOCHS, BATCH_SIZE = 3, 16
WORLD = "--model, --lora-rank and --packed are for data of your own: give --data, or drop them"


def sft(
    *,
    data: Path | None = None,
    output: Path = Path("runs/sft"),
    held_out: float = 0.05,
    packed: bool = False,
    origin: Origin = ORIGIN,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Fine-tune a model on answers.

    Args:
        data: Conversations, JSON lines; the tiny world, unless given.
        output: Folder of the run.
        held_out: Share of the conversations that is evaluated on.
        packed: Put several conversations into a row.
        origin: The model.
        steps: The training.
        lora: Adapters.
    """
    if data is None:
        if origin.model or packed or lora.lora_rank:
            raise ValueError(WORLD)
        with one_thread():
            _in_tiny_world(output, steps)
        return
    begin(
        output,
        data=data,
        model=origin.model,
        packed=packed,
        vocab_size=origin.vocab_size,
        context_length=origin.context_length,
        held_out=held_out,
        seed=steps.seed,
        shape=vars(origin.shape),
        lora=vars(lora),
    )
    talks = conversations(data)
    learned, unseen = sides([(talk[0]["content"], talk) for talk in talks], held_out)
    texts = (message["content"] for talk in learned for message in talk)
    chat = open_chat(origin, texts, seed=steps.seed)
    lora.into(chat.model)
    length = origin.context_length
    fine_tune(chat, learned, unseen, output, steps=steps, lora=lora, packed=packed, context_length=length)
    say(f"\nstart from it:  --model {output}")


COMMAND = sft


def fine_tune(
    chat: Chat,
    learned: Sequence[Sequence[Message]],
    unseen: Sequence[Sequence[Message]],
    output: Path,
    *,
    steps: Steps,
    lora: Lora,
    packed: bool = False,
    context_length: int,
) -> None:
    """Teach a model conversations, in place, evaluate it on others, and write it to the folder."""
    device = distributed.init_process_group()
    chat.model.to(device)
    length = min(context_length, chat.model.config.context_length)

    def examples(talks: Sequence[Sequence[Message]]) -> Conversations:
        # one more than the context: the last token is a target and no input
        rows = kept([chat.rendered(talk, length + 1) for talk in talks], "conversations", length + 1)
        return Conversations(rows, pack_to=length if packed else None, seed=steps.seed)

    seen, held_out = examples(learned), examples(unseen) if unseen else None
    rate = 1e-3 if lora.lora_rank else 5e-4
    config = schedule(steps, n=len(seen), epochs=EPOCHS, batch_size=BATCH_SIZE, lr=rate)
    describe(chat, device, f"{config.n_steps:,} steps of {config.batch_size} of {len(seen):,} rows")
    before = None if held_out is None else evaluate(chat.model, held_out, loss=batch_loss)
    with resumable(output):
        result = train(
            chat.model,
            seen,
            config,
            validation=held_out,
            folder=output / "checkpoints",
            loss=batch_loss,
            logger=loggers(output),
        )
    finish(output, chat, chat.model, lora)
    after = result.history[-1].val_loss
    if distributed.world().rank == 0:
        write_report(output, {"loss": result.loss, "held_out": after, "held_out_before": before})
    if held_out is not None:
        say(f"loss of a token, {len(unseen)} held-out conversations: {before:.3f}, then {after:.3f}")
        say(_shown(chat, unseen[0]))
    wait()


def tiny_policy(model: str | None, output: Path, *, seed: int) -> GPT | Llama:
    """Open the policy that other methods start from in the tiny world; make it, if it is not there."""
    folder = output.parent / "sft" if model is None else Path(model)
    if model is None and not is_saved(folder):
        say(f"{folder} holds no policy to start from yet; llmguide sft makes it first\n")
        _in_tiny_world(folder, Steps(seed=seed))
        say("")
    return load_policy(folder)


def _in_tiny_world(output: Path, steps: Steps) -> None:
    device = begin(output, world="tiny", seed=steps.seed)
    world = tiny_world()
    torch.manual_seed(steps.seed)
    policy = build(world.config).to(device)
    untrained = logprobs_of(policy, world)
    data = demonstrated(world, N_DEMONSTRATIONS, torch.Generator().manual_seed(steps.seed))
    config = paced(steps.on(fine_tuning(N_STEPS)))
    say(f"the tiny world: {config.n_steps} steps of {config.batch_size} of {len(data):,} demonstrations")
    with resumable(output):
        train(
            policy,
            data,
            config,
            folder=output / "checkpoints",
            loss=batch_loss,
            logger=loggers(output),
        )
    if distributed.world().rank == 0:
        assert isinstance(policy, GPT | Llama)
        save_policy(output, policy, seed=steps.seed)
    logprobs = logprobs_of(policy, world)
    rows = [
        standing(name, found, untrained, world)
        for name, found in (("untrained", untrained), ("fine-tuned", logprobs))
    ]
    report(output, "divergence from the untrained policy, and true reward", rows, logprobs, world)
    wait()


def _shown(chat: Chat, talk: Sequence[Message]) -> str:
    """Let the model answer the first question of a held-out conversation."""
    asked = next((i for i, message in enumerate(talk) if message["role"] == "assistant"), 0)
    prompt = chat.prompt(talk[:asked]) if asked else []
    room = min(60, chat.model.config.context_length - len(prompt) + 1)
    if not prompt or room < 1:
        return ""
    device = next(chat.model.parameters()).device
    ids = torch.tensor([prompt], device=device)
    torch.manual_seed(0)
    rollouts = rollout(chat.model.eval(), ids, room, temperature=0.7, eos_id=chat.end_id)
    return f"\nuser: {talk[asked - 1]['content'][:200]}\nassistant: {chat.decode(rollouts.completion(0))}"
