"""Reward heads: the vector that turns the model of a run folder into a reward model, saved beside it."""

from pathlib import Path
from typing import Any

from llmguide.models.saved import read_tensors, write_tensors
from llmguide.post_training.preferences.reward_model import RewardModel

HEAD = "reward_head.safetensors"


def save_head(folder: Path, reward_model: RewardModel) -> None:
    """Save the head of a reward model beside its model."""
    weight = reward_model.head.weight.detach().cpu().contiguous()
    write_tensors(folder / HEAD, {"weight": weight})


def refuse_reward_model(name: str) -> None:
    """Raise ValueError if a path is that of the run of a reward model, or of the adapter in it."""
    place = Path(name).expanduser().resolve()
    if any((folder / HEAD).exists() for folder in (place, place.parent)):
        raise ValueError(
            f"{name} is a reward model: its head ({HEAD}) can be neither exported nor used to generate text; "
            "name the model that it was trained from, or use it as --reward-model of llmguide ppo"
        )


def with_head(folder: Path, backbone: Any) -> RewardModel:
    """Make a reward model from a loaded model and the head in its folder.

    Raises:
        ValueError: The folder has no reward head, or a damaged one.
    """
    if not (folder / HEAD).exists():
        raise ValueError(f"{folder} has no reward model; create one with llmguide reward")
    reward_model = RewardModel(backbone)
    try:
        reward_model.head.load_state_dict(read_tensors(folder / HEAD))
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{folder} has a damaged reward model: {error}") from error
    return reward_model.eval()
