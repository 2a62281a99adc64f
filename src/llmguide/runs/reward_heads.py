"""The head that makes a reward model of the model in a run folder: one vector, saved beside it."""

from importlib import import_module
from pathlib import Path
from typing import Any

from llmguide.models.saved import write_tensors
from llmguide.post_training.preferences.reward_model import RewardModel

HEAD = "reward_head.safetensors"


def save_head(folder: Path, judge: RewardModel) -> None:
    """Write the row that makes a reward model of the model in a folder."""
    weight = judge.head.weight.detach().cpu().contiguous()
    write_tensors(folder / HEAD, {"weight": weight})


def with_head(folder: Path, backbone: Any) -> RewardModel:
    """Make the reward model of a folder, whose model has been opened.

    Raises:
        ValueError: The folder holds no reward model, or a damaged one.
    """
    if not (folder / HEAD).exists():
        raise ValueError(f"{folder} holds no reward model; llmguide reward makes one")
    judge = RewardModel(backbone)
    damage = import_module("safetensors").SafetensorError
    try:
        judge.head.load_state_dict(import_module("safetensors.torch").load_file(folder / HEAD))
    except (OSError, RuntimeError, damage) as error:
        raise ValueError(f"{folder} holds a damaged reward model: {error}") from error
    return judge.eval()
