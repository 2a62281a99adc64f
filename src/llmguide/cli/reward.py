"""``llmguide reward``: a reward model from human comparisons, or in the tiny world."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmguide.post_training.chat import Message
from llmguide.post_training.datasets import FORMATS, TextPair
from llmguide.post_training.preferences.baselines import preferred
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_evaluation import score_texts
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.sft import completion
from llmguide.runs.chat_model import Chat, merged, open_chat, save_trained
from llmguide.runs.comparisons import load_pairs, report_accuracy
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
from llmguide.runs.reward_heads import save_head
from llmguide.runs.toy import NEEDS_DATA, run_toy
from llmguide.training import distributed

DESCRIPTION = f"""\
Train a reward model on comparisons of two responses. Without arguments, it learns the noisy preferences of
the tiny world, starting from the policy of llmguide sft. --data vader: which of two texts human raters find
more positive; --data hh: Anthropic's HH-RLHF; or your own comparisons.
Held-out accuracy is reported with an interval, beside simple baselines. Repeat the command to resume a run.

{FORMATS}

Examples:
  llmguide reward
  llmguide reward --data vader --output runs/sentiment
  llmguide reward --data pairs.jsonl --model runs/chat --output runs/reward
  torchrun --nproc-per-node 2 -m llmguide reward --data vader --output runs/two"""

BATCH_SIZE = 32


def reward(
    *,
    comparisons: ComparisonData = COMPARISON_DATA,
    output: Path = Path("runs/reward"),
    source: ModelSource = MODEL_SOURCE,
    steps: Steps = STEPS,
    lora: Lora = LORA,
) -> None:
    """Train a reward model.

    Args:
        comparisons: Preference pairs to train on.
        output: Run folder.
        source: Model to start from. Texts longer than --max-length are truncated at their start, and counted.
        steps: Training options. Defaults: 1 epoch of batches of 32, learning rate 2e-5, with LoRA 5e-4, of a
            new model 1e-3; in the tiny world 200 steps of 64, learning rate 1e-3.
        lora: LoRA options.
    """
    if comparisons.data is None:
        given = (comparisons, replace(source, model=None), steps.epochs, lora)
        if given != (COMPARISON_DATA, MODEL_SOURCE, None, LORA):
            raise ValueError(NEEDS_DATA)
        run_toy("reward", output, steps, model=source.model)
        return
    distributed.init_process_group()
    train_pairs, held_out = load_pairs(comparisons, seed=steps.seed)
    options = vars(comparisons) | options_of(source, steps, lora, [*train_pairs, *held_out])
    device = start_run(output, **options)
    texts = (text for pair in train_pairs for text in pair[1:3])
    chat = open_chat(source, texts, seed=steps.seed, lora=lora)
    length = source.longest(chat.model)
    lora.apply_to(chat.model)
    reward_model = RewardModel(chat.model).to(device)
    if chat.model.head is not None:
        chat.model.head.requires_grad_(False)  # unused, so DDP would wait for its gradients
    pairs = [
        PreferencePair(
            completion([], _ids(chat, pair.prompt, pair.chosen)),
            completion([], _ids(chat, pair.prompt, pair.rejected)),
        )
        for pair in train_pairs
    ]
    if n_long := sum(len(text.ids) > length for pair in pairs for text in pair[:2]):
        say(f"truncated {n_long} of {2 * len(pairs)} texts at their start, to {length} tokens")
    rate = 1e-3 if source.model is None else 5e-4 if lora.lora_rank else 2e-5
    config = schedule(steps, n=len(pairs), epochs=1, batch_size=BATCH_SIZE, lr=rate)
    describe(chat.model, device, f"{config.n_steps:,} steps of {per_step(config)} of {len(pairs):,} pairs")
    data = PreferenceDataset(pairs, max_length=length, seed=steps.seed)
    logger = loggers(output, config, steps.wandb)
    train_run(output, reward_model, data, config, loss=preference_loss, logger=logger)
    save_trained(output, chat, chat.model, lora)
    if distributed.world().rank == 0:
        save_head(output, reward_model)
        final = RewardModel(merged(chat.model)).to(device)
        final.head.load_state_dict(reward_model.head.state_dict())
        score = _scores(final, chat, held_out, length)
        right = [preferred(score[a], score[b]) for a, b in _keys(held_out)]
        report_accuracy(output, "reward model", right, train_pairs, held_out)
    barrier()


COMMAND = reward


def _ids(chat: Chat, prompt: Sequence[Message], text: str) -> list[int]:
    """Encode a prompt and a response in full: a reward model reads the last tokens."""
    whole = chat.rendered(prompt, 1 << 60, response=text)
    [rendered] = drop_too_long([whole], "texts", 1 << 60)
    return rendered.ids


def _keys(pairs: Sequence[TextPair]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    keys = [str(pair.prompt) for pair in pairs]
    return [((key, pair.chosen), (key, pair.rejected)) for key, pair in zip(keys, pairs, strict=True)]


def _scores(
    reward_model: RewardModel, chat: Chat, pairs: Sequence[TextPair], length: int
) -> dict[tuple[str, str], float]:
    """Score each text once, even if it is in many pairs."""
    prompt_of = {key: pair.prompt for pair, both in zip(pairs, _keys(pairs), strict=True) for key in both}
    ids = [_ids(chat, prompt, key[1])[-length:] for key, prompt in prompt_of.items()]
    return dict(zip(prompt_of, score_texts(reward_model, ids), strict=True))
