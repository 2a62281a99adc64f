"""Train a reward model as a stage of a run, open it, and score texts with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.post_training.datasets import TextPair
from llmguide.post_training.preferences.pairs import LengthGroupedPairs, PreferenceDataset, PreferencePair
from llmguide.post_training.preferences.reward_evaluation import score_texts
from llmguide.post_training.preferences.reward_model import RewardModel, preference_loss
from llmguide.post_training.sft import completion
from llmguide.projects.pretrained import ADAPTER_TRAINING, adapt, open_pretrained
from llmguide.projects.reward_model.data import sides
from llmguide.projects.run import Run
from llmguide.projects.training import loss_curve, stage_config, train_stage
from llmguide.runs.chat_model import merged
from llmguide.runs.reward_heads import save_head, with_head

BATCH_SIZE = 64  # texts scored at a time


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


def score(reward_model: RewardModel, tokenizer: Any, texts: Sequence[str]) -> dict[str, float]:
    """Return the reward of each text by itself."""
    length = reward_model.backbone.config.context_length
    unique = list(dict.fromkeys(texts))
    ids = [encode(tokenizer, text)[-length:] for text in unique]
    return dict(zip(unique, score_texts(reward_model, ids, batch_size=BATCH_SIZE), strict=True))


def encode(tokenizer: Any, text: str) -> list[int]:
    """Encode a text, with the end token at which it is scored."""
    return [*tokenizer.encode(text), tokenizer.special_tokens[END_OF_TEXT]]
