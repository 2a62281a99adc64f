"""Open a model by whatever a user calls it: `load` for the model, `open_model` with its tokenizer.

| what | opened as |
| --- | --- |
| run folder, or folder that `save` wrote | the model in it |
| checkpoint of a run, or its ``checkpoints`` folder | the model at that step (the newest intact one) |
| LoRA adapter, of PEFT or of a run | its base, with the adapter merged into the weights |
| folder of transformers | the model in it |
| packaged model, such as ``smollm2-135m-instruct`` | the model, downloaded once |
| the same in 4 bits, ``smollm2-135m-instruct-q4`` | the model, with weights stored in 4 bits |
| name on the hub, such as ``openai-community/gpt2`` | the model or adapter, downloaded once |
"""

import json
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from llmguide.config.model_config import ModelConfig
from llmguide.models import GPT, Encoder, Llama, build
from llmguide.models.huggingface.config import config_from_hf
from llmguide.models.huggingface.convert import load_hf
from llmguide.models.huggingface.hub import ADAPTER, fetch_config, fetch_model, read_config, required
from llmguide.models.saved import Model, config_from_dict, is_saved, load_saved
from llmguide.post_training.adapters.lora import adapter_names, merge_lora, remove_lora
from llmguide.post_training.adapters.peft_files import load_adapter
from llmguide.post_training.adapters.quantized_linear import dequantize_model
from llmguide.runs.folder import as_decoder
from llmguide.runs.options import LORA, Lora
from llmguide.runs.packaged import MODELS, is_packaged, unpacked
from llmguide.runs.transformers_folder import load_tokenizer
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training import checkpoint
from llmguide.training.trainable import load_trainable_state

CHECKPOINTS = "checkpoints"  # folder of a run
BACKBONE = "backbone."  # prefix of a decoder in checkpoints of reward models
POLICY = "policy."  # prefix of the policy in checkpoints of PPO, beside the value model


def load(path_or_name: str | Path, *, dtype: torch.dtype | None = None) -> Model | Encoder:
    """Load a trained model from a folder, a packaged model or the hub.

    Args:
        path_or_name: Folder that `save` or a run wrote, checkpoint of a run, folder of a LoRA adapter (merged
            into its base), folder of transformers, name of a packaged model such as
            ``smollm2-135m-instruct`` (``smollm2-135m-instruct-q4`` for 4-bit weights), or name on the hub
            such as ``openai-community/gpt2``. Models are downloaded once.
        dtype: Data type of the weights; None: that of the files.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        ModuleNotFoundError: An optional dependency is not installed; the message says which.
        ValueError: There is no such model, its files are damaged, or its architecture is not supported.

    >>> from tempfile import TemporaryDirectory
    >>> from llmguide import ModelConfig, build, load, save
    >>> config = ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3)
    >>> with TemporaryDirectory() as folder:
    ...     save(build(config), folder)
    ...     model = load(folder)
    >>> model.config.d_model, model.training
    (12, False)
    """
    place = locate(path_or_name)
    if is_adapter(place) or _is_checkpoint(place):
        return _open(place, dtype)[0]
    return load_saved(place, dtype=dtype) if is_saved(place) else load_hf(place, dtype=dtype)


def open_model(name: str | Path, *, dtype: torch.dtype | None = torch.float32) -> tuple[GPT | Llama, Any]:
    """Open a decoder with its tokenizer.

    Args:
        name: Path or name, as in `load`.
        dtype: Data type of the weights; None: that of the files.

    Returns:
        The model, in evaluation mode on the CPU, and its `Tokenizer` or tokenizer of transformers.

    Raises:
        ModuleNotFoundError: An optional dependency is not installed; the message says which.
        ValueError: There is no such model, it is damaged, it is not a decoder, or it has no tokenizer.

    >>> from tempfile import TemporaryDirectory
    >>> from llmguide import ModelConfig, Tokenizer, build, open_model, save
    >>> config = ModelConfig(vocab_size=257, context_length=8, n_layers=1, d_model=12, n_heads=3)
    >>> with TemporaryDirectory() as folder:
    ...     save(build(config), folder)
    ...     Tokenizer.train("a text", 257, special_tokens=["<|endoftext|>"]).save(f"{folder}/tokenizer.json")
    ...     model, tokenizer = open_model(folder)
    >>> model.config.vocab_size, tokenizer.decode(tokenizer.encode("text"))
    (257, 'text')
    """
    model, tokenizer = _open(locate(name), dtype)
    if tokenizer is None:
        raise ValueError(
            f"{name} has a model without a tokenizer, such as those of the tiny world; "
            "tokenizer.save writes one beside the model, as tokenizer.json"
        )
    return model, tokenizer


def config_of(name: str | Path) -> ModelConfig:
    """Return the configuration of a model, of which only ``config.json`` is read or fetched where it has one.

    Args:
        name: Path or name, as in `load`, or the path of a ``config.json``.

    Raises:
        ModuleNotFoundError: An optional dependency is not installed; the message says which.
        ValueError: There is no such model, it is damaged, or its architecture is not supported.
    """
    place = locate(Path(name).parent if Path(name).name == "config.json" else name, config_only=True)
    if is_adapter(place):
        return config_of(base_name(place))
    if _is_checkpoint(place):
        return _open(place, None)[0].config
    if is_saved(place):
        return config_from_dict(json.loads((place / "config.json").read_text(encoding="utf-8"))["config"])
    return config_from_hf(read_config(place))


def locate(name: str | Path, *, config_only: bool = False) -> Path:
    """Return the folder or checkpoint of a model, downloaded if it is packaged or on the hub.

    Args:
        name: Path or name, as in `load`.
        config_only: Whether to fetch no more than the config from the hub.

    Raises:
        ModuleNotFoundError: An optional dependency is not installed; the message says which.
        ValueError: There is no such model.
    """
    if is_packaged(str(name)):
        return unpacked(str(name))
    path = Path(name).expanduser()
    if path.is_file() and not _is_checkpoint(path):
        raise ValueError(f"{name} is a file; give the folder of a model, or a checkpoint of a run")
    if path.is_dir() and not _is_checkpoint(path):
        return _in_folder(path)
    if not path.exists():
        siblings = sorted(each.name for each in path.parent.iterdir()) if path.parent.is_dir() else []
        is_path = path.is_absolute() or str(name).startswith((".", "~")) or len(path.parts) > 2
        if is_path or (len(path.parts) == 2 and siblings):
            close = get_close_matches(path.name, siblings, n=1)
            meant = f"; did you mean {path.with_name(close[0])}?" if close else ""
            raise ValueError(f"{name} does not exist{meant}")
        if len(path.parts) == 1 and (close := get_close_matches(path.name.lower(), MODELS, n=1)):
            raise ValueError(f"there is no model {name}; did you mean {close[0]}?")
        return (fetch_config if config_only else fetch_model)(str(name))
    return path


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds a LoRA adapter."""
    return (folder / ADAPTER).is_file()


def base_name(adapter: Path) -> str:
    """Return the name or path of the base model of an adapter.

    Raises:
        ValueError: The adapter does not name its base, or its configuration is damaged.
    """
    try:
        base = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{adapter / ADAPTER} is damaged ({error!r}); copy the adapter again") from error
    if not base:
        raise ValueError(
            f"{adapter / ADAPTER} names no base model; set base_model_name_or_path in it to the model that "
            "the adapter was trained on"
        )
    return str(base)


def open_base(adapter: Path, *, dtype: torch.dtype | None) -> tuple[GPT | Llama, Any]:
    """Open the base model of an adapter, with the tokens that were added to its tokenizer.

    Raises:
        ValueError: The adapter does not name its base, or the base cannot be opened.
    """
    base = base_name(adapter)
    try:
        model, tokenizer = _open(locate(base), dtype)
    except ValueError as error:
        raise ValueError(
            f"the base model that {adapter / ADAPTER} names could not be opened: {error}"
        ) from error
    return _with_tokenizer(model, load_tokenizer(adapter) or tokenizer)


def place_or_name(name: str) -> str:
    """Return the absolute path of a model on this machine, or the name of one on the hub.

    >>> place_or_name("openai-community/gpt2")
    'openai-community/gpt2'
    """
    is_here = is_packaged(name) or Path(name).expanduser().exists()
    return str(locate(name).resolve()) if is_here else name


def resize_vocab(model: GPT | Llama, vocab_size: int) -> GPT | Llama:
    """Add token ids to a model; their embeddings start as the mean of the others (Hewitt 2021).

    https://nlp.stanford.edu/~johnhew/vocab-expansion.html

    >>> from llmguide.config.model_config import ModelConfig
    >>> model = build(ModelConfig(vocab_size=3, context_length=4, n_layers=1, d_model=4, n_heads=2))
    >>> weight = resize_vocab(model, 4).tokens.weight
    >>> torch.allclose(weight[3], weight[:3].mean(0)), resize_vocab(model, 3) is model
    (True, True)
    """
    n_new = vocab_size - model.config.vocab_size
    if n_new <= 0:
        return model
    state = model.state_dict()
    for name in ("tokens.weight", "head.weight"):
        if name in state:
            mean = state[name].mean(dim=0, keepdim=True)
            state[name] = torch.cat([state[name], mean.expand(n_new, -1)])
    wider = as_decoder(build(replace(model.config, vocab_size=vocab_size)))
    wider.to(model.tokens.weight.dtype).load_state_dict(state)
    return wider.train(model.training)


def _in_folder(folder: Path) -> Path:
    """Return what a folder holds: the model in it, or the newest checkpoint in ``checkpoints``."""
    if (folder / "config.json").exists() or is_adapter(folder):
        return folder
    is_run = folder.name != CHECKPOINTS
    newest = checkpoint.newest_intact(folder / CHECKPOINTS if is_run else folder)
    if newest is None:
        raise ValueError(
            f"{folder} has no finished model, adapter or checkpoint; run the command that writes it again"
        )
    if is_run:
        raise ValueError(
            f"{folder} has no finished model; repeat the command that writes it, or name its newest "
            f"checkpoint, {newest}"
        )
    return newest


def _is_checkpoint(path: Path) -> bool:
    return path.exists() and checkpoint.has_name(path)


def _open(place: Path, dtype: torch.dtype | None) -> tuple[GPT | Llama, Any]:
    """Open a decoder, and its tokenizer if there is one."""
    if _is_checkpoint(place):
        return _open_checkpoint(place, dtype)
    if is_adapter(place):
        model, tokenizer = open_base(place, dtype=dtype)
        load_adapter(model, place)
        return _without_adapters(model), tokenizer
    if is_saved(place):
        return as_decoder(load_saved(place, dtype=dtype)), load_tokenizer(place)
    model = as_decoder(load_hf(place, dtype=dtype))
    return model, required("transformers", place).AutoTokenizer.from_pretrained(place)


def _open_checkpoint(path: Path, dtype: torch.dtype | None) -> tuple[GPT | Llama, Any]:
    """Open the model of a checkpoint, in the architecture that the run started from."""
    folder = path.parent.parent
    state = checkpoint.load(path)
    weights = state["model"]
    if any(name.startswith(BACKBONE) for name in weights):
        raise ValueError(
            f"{path} is a reward model, which generates no text; name the model that it was trained from"
        )
    if any(name.startswith(POLICY) for name in weights):
        weights = {name.removeprefix(POLICY): w for name, w in weights.items() if name.startswith(POLICY)}
    run = folder / "run.json"
    options = json.loads(run.read_text(encoding="utf-8")) if run.exists() else {}
    saved = vars(LORA) | options.get("lora", {})
    lora = Lora(**saved | {"lora_targets": tuple(saved["lora_targets"])})
    if state.get("model_config") and not lora.lora_rank:
        model, tokenizer = as_decoder(build(config_from_dict(state["model_config"]))), None
    elif options.get("model"):
        model, tokenizer = _open(locate(options["model"]), torch.float32)  # as in training
    else:
        raise ValueError(f"{path} does not say which model it continues from; name the run, {folder}")
    model, tokenizer = _with_tokenizer(model, load_tokenizer(folder) or tokenizer)
    lora.apply_to(model)
    load_trainable_state(model, weights, of=path)
    return _without_adapters(model).to(dtype), tokenizer


def _with_tokenizer(model: GPT | Llama, tokenizer: Any) -> tuple[GPT | Llama, Any]:
    """Give a model embeddings for the tokens that a chat template added to its tokenizer."""
    if tokenizer is None:
        return model, None
    size = tokenizer.vocab_size if isinstance(tokenizer, Tokenizer) else len(tokenizer)
    return resize_vocab(model, size), tokenizer


def _without_adapters(model: GPT | Llama) -> GPT | Llama:
    if adapter_names(model):
        remove_lora(merge_lora(dequantize_model(model)))
    return model.eval()
