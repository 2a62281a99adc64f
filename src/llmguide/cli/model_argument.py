"""The model that `llmguide estimate` is given on the command line."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import tyro

from llmguide.config.model_config import Activation, ModelConfig, Norm, Positions
from llmguide.config.presets import PRESETS
from llmguide.data.fetch import PACKAGES

Number = Annotated[int | None, tyro.conf.arg(metavar="N")]


@dataclass(frozen=True)
class Model:
    """A preset, a model by its path or name, or a shape given by flags."""

    preset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")] = ""  # such as llama-3-8b
    n_layers: Number = None  # blocks
    d_model: Number = None  # width
    n_heads: Number = None  # query heads
    vocab_size: Number = None  # vocabulary size of the tokenizer
    context_length: int = 1024  # longest input, in tokens
    n_kv_heads: Number = None  # key and value heads; default: as many as query heads
    d_ff: Number = None  # width of the feed-forward layer; default: 4 times the model's
    positions: Positions = "learned"
    norm: Norm = "layernorm"
    activation: Activation = "gelu"
    bias: bool = True  # biases of linear layers
    tie_embeddings: bool = True  # one matrix for token embeddings and output head
    n_experts: int = 0  # experts per layer; 0: dense
    n_experts_per_token: int = 0

    def config(self) -> ModelConfig:
        """Return the configuration of the preset or model, or of the shape given by flags."""
        shape = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name != "preset" and getattr(self, name) is not None
        }
        changed = [name for name in shape if shape[name] != self.__dataclass_fields__[name].default]
        if self.preset and changed:
            raise ValueError(f"{self.preset} has a fixed shape; drop {_options(changed)}")
        if self.preset:
            return _preset(self.preset)
        if missing := [n for n in ("n_layers", "d_model", "n_heads", "vocab_size") if n not in shape]:
            raise ValueError(f"give a preset, such as gpt2, or a shape; {_options(missing)} are missing")
        return ModelConfig(**shape)

    @property
    def name(self) -> str:
        """Name of the model in titles."""
        return self.preset or f"{self.n_layers} layers of width {self.d_model}"


def _preset(name: str) -> ModelConfig:
    if name in PRESETS:
        return PRESETS[name]
    if "/" in name or Path(name).exists() or name.removesuffix("-q4") in PACKAGES:
        from llmguide.runs.resolve import config_of  # noqa: PLC0415  # imports torch

        return config_of(name)
    close = get_close_matches(name.lower(), PRESETS, n=3, cutoff=0.4)
    meant = f"did you mean {', '.join(close)}? " if close else ""
    raise ValueError(
        f"there is no preset or folder {name!r}; {meant}run llmguide estimate presets for a list, or give "
        "owner/model for a model of the hub"
    )


def _options(names: list[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
