"""Weights in and out: models of Hugging Face transformers, in memory or in a folder, to ours and back.

`from_hf` and `to_hf` convert a model in memory; `load_hf` reads a folder of safetensors files, or downloads
one by its name on the hub. Every tensor is checked by name and shape before anything is built, and all
problems are listed at once. `llmguide.models.huggingface.config` and `llmguide.models.huggingface.weights`
say what corresponds to what.
"""

import json
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from llmguide.arguments import check_type
from llmguide.config.model_config import ModelConfig
from llmguide.models.encoder import Encoder, MaskedLM
from llmguide.models.factory import build, require_as_built
from llmguide.models.gpt import GPT
from llmguide.models.huggingface.config import config_from_hf, config_to_hf
from llmguide.models.huggingface.hub import fetch_model, read_config, required
from llmguide.models.huggingface.weights import RULES, Rule
from llmguide.models.llama import Llama

# Tensors without a counterpart: masks and tables that can be computed, BERT's next-sentence head, and that
# one of its two names for the output bias which the model does not use.
REDUNDANT = re.compile(
    r"\.attn\.(masked_)?bias$|\.rotary_emb\.inv_freq$|\.position_ids$"
    r"|^cls\.seq_relationship\.|^cls\.predictions\.(decoder\.)?bias$"
)
TIED = ("lm_head.weight", "cls.predictions.decoder.weight")
BASES = {"gpt2": "transformer.", "bloom": "transformer.", "bert": "bert."}  # the others: "model."
EMBEDDINGS = {"gpt2": "wte", "bloom": "word_embeddings", "bert": "embeddings.word_embeddings"}

Convertible = GPT | Llama | Encoder | MaskedLM


def from_hf(hf_model: Any) -> Convertible:
    """Convert a model of transformers to ours, with a copy of its weights.

    Args:
        hf_model: A GPT-2, BLOOM, LLaMA, Mistral, Mixtral, Qwen2, Qwen3 or BERT model (with its language-model
            head; a model without one works if its head is tied, and a bare ``BertModel`` becomes an
            `Encoder`).

    Returns:
        The model that gives the same logits, in the same mode (training or evaluation), dtype and device;
        without dropout.

    Raises:
        ValueError: If the model has no counterpart here, or tensors are missing or unexpected.

    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> from llmguide import from_hf
    >>> hf_model = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=12, n_layer=1, n_head=3))
    >>> model = from_hf(hf_model)
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> torch.allclose(model.eval()(ids), hf_model.eval()(ids).logits, atol=1e-5)
    True
    """
    if isinstance(hf_model, str | Path) or isinstance(getattr(hf_model, "config", None), ModelConfig):
        raise TypeError(
            f"from_hf takes a model of transformers, not a {type(hf_model).__name__}; load() opens folders "
            "and names"
        )
    weights = {name: tensor.detach().clone() for name, tensor in hf_model.state_dict().items()}
    return _assemble(hf_model.config, weights).train(hf_model.training)


def to_hf(model: Convertible) -> Any:
    """Convert our model to one of transformers, with a copy of its weights.

    Its ``save_pretrained(folder)`` writes a folder that `load` and other programs, such as vLLM, read. The
    trainers of transformers and TRL take it, also with an adapter of PEFT: it is called with ``input_ids``
    and ``labels``, which it shifts itself. `from_hf` converts the result back.

    Args:
        model: A decoder, `Encoder` or `MaskedLM`.

    Returns:
        The model of transformers that gives the same logits, in the same mode, dtype and device.

    Raises:
        ValueError: If no family of transformers has this combination of choices, or if the model has other
            tensors than its config describes, as after `apply_lora`.

    >>> from llmguide import PRESETS, build, to_hf
    >>> config = PRESETS["gpt2"].replace(vocab_size=11, n_layers=1, d_model=12)
    >>> hf_model = to_hf(build(config))
    >>> type(hf_model).__name__
    'GPT2LMHeadModel'
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> output = hf_model(input_ids=ids, labels=ids)  # as in transformers.Trainer(hf_model, ...)
    >>> output.logits.shape, output.loss.shape
    (torch.Size([1, 3, 11]), torch.Size([]))
    """
    check_type("model", model, Convertible, "to_hf takes a model that build, load or from_hf makes")
    require_as_built(model)
    transformers = required("transformers", "to_hf")

    hf_config = config_to_hf(model.config)
    if isinstance(model, Encoder):
        hf_model = transformers.BertModel(hf_config, add_pooling_layer=model.config.pooler)
    elif isinstance(model, MaskedLM):
        if model.config.pooler:
            raise ValueError(
                "transformers has no masked-LM head beside a pooler; convert model.encoder, or drop it"
            )
        hf_model = transformers.BertForMaskedLM(hf_config)
    else:
        hf_model = transformers.AutoModelForCausalLM.from_config(hf_config)

    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    theirs = hf_model.state_dict()
    base = "bert." if isinstance(model, Encoder) else ""  # a bare BertModel leaves it out
    names = {base + name for name in theirs}
    with torch.no_grad():
        for rule in _rules(hf_config.model_type, model.config, names, state):
            theirs[rule.theirs.removeprefix(base)].copy_(
                rule.layout.join([state[name] for name in rule.ours], model.config)
            )
    example = next(model.parameters())
    return hf_model.to(device=example.device, dtype=example.dtype).train(model.training)


def load_hf(folder_or_name: str | Path, *, dtype: torch.dtype | None = None) -> Convertible:
    """Load a model of transformers from a folder of safetensors files, or from the hub.

    Files are mapped into memory and checked before use: tensors are not copied and only read from disk when
    first used, but for a GPT-2's queries, keys and values, which are parts of rows there. Its other matrices
    lie transposed in memory, as in the file. Needs ``llmguide[hf]``.

    Args:
        folder_or_name: A folder with ``config.json`` and ``*.safetensors``, or a name on the hub such as
            ``openai-community/gpt2``, which is downloaded once.
        dtype: Data type of the weights; None keeps that of the files.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        ValueError: If there is neither such a folder nor such a model on the hub, a file is missing or
            truncated, tensors are missing, unexpected, of the wrong shape or no floats (all are listed), or
            of several dtypes where none is asked for, or the model has no counterpart here.
    """
    folder = Path(folder_or_name)
    if not folder.is_dir():
        folder = fetch_model(str(folder_or_name))
    hf_config = read_config(folder)
    model = _assemble(hf_config, _read(folder))
    found = sorted({str(parameter.dtype) for parameter in model.parameters()})
    if dtype is None and len(found) > 1:
        raise ValueError(f"{folder} holds {' and '.join(found)}, which cannot be multiplied; pass dtype")
    return model.to(dtype).eval()


def _read(folder: Path) -> dict[str, Tensor]:
    """Map the tensors of all files of a folder into memory."""
    safetensors = import_module("safetensors")
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():  # other files hold adapters, or copies of the weights
        names = ["model.safetensors"]
    elif index.exists():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted({str(name) for name in weight_map.values()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{index} is damaged ({error}); download it again") from error
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    missing = [name for name in names if not (folder / name).exists()]
    if missing or not names:
        raise ValueError(f"{folder} lacks {', '.join(missing) or 'a *.safetensors file'}; download it again")

    weights: dict[str, Tensor] = {}
    for name in names:
        try:
            weights |= import_module("safetensors.torch").load_file(folder / name)
        except (OSError, safetensors.SafetensorError) as error:
            size = (folder / name).stat().st_size
            raise ValueError(
                f"{folder / name} ({size:,} bytes) is truncated or damaged ({error}); download it again"
            ) from error
    return weights


def _assemble(hf_config: Any, weights: dict[str, Tensor]) -> Convertible:
    """Build our model around tensors of transformers."""
    family = hf_config.model_type
    config = config_from_hf(hf_config)
    weights = _canonical(family, weights)
    config = replace(
        config,
        pooler="bert.pooler.dense.weight" in weights,
        tie_embeddings=config.tie_embeddings and not _has_own_head(family, weights),
    )
    is_bare = family == "bert" and not any(name.startswith("cls.predictions.") for name in weights)
    with torch.device("meta"), _Undrawn():
        model = cast("Convertible", Encoder(config) if is_bare else build(config))

    expected = model.state_dict()
    rules = _rules(family, config, set(weights), expected)
    state: dict[str, Tensor] = {}
    problems = _strangers(rules, weights, tied=config.tie_embeddings)
    for rule in rules:
        parts = _split(rule, weights.get(rule.theirs), config)
        if [part.shape for part in parts] != [expected[name].shape for name in rule.ours]:
            shape = tuple(rule.layout.join([expected[name] for name in rule.ours], config).shape)
            found = weights.get(rule.theirs)
            problems.append(
                f"missing: {rule.theirs} {shape}"
                if found is None
                else f"wrong shape: {rule.theirs} {tuple(found.shape)} instead of {shape}"
            )
        problems += [
            f"no floats of 16 bits or more: {rule.theirs} of {part.dtype}"
            for part in parts[:1]
            if part.dtype.itemsize < 2 or not part.is_floating_point()
        ]
        state |= zip(rule.ours, parts, strict=False)
    if problems:
        raise ValueError(
            "the tensors do not fit the model that the config describes:\n  " + "\n  ".join(sorted(problems))
        )
    model.load_state_dict(state, assign=True)
    return model


def _has_own_head(family: str, weights: dict[str, Tensor]) -> bool:
    """Return whether there is an untied head; as in transformers, the tensors decide, not the config."""
    name = BASES.get(family, "model.") + EMBEDDINGS.get(family, "embed_tokens") + ".weight"
    heads = [weights[head] for head in TIED if head in weights]
    return name in weights and any(not torch.equal(head, weights[name].to(head.dtype)) for head in heads)


class _Undrawn(TorchFunctionMode):
    """Draw no weights that are overwritten at once; on the meta device that takes torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _canonical(family: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names they have in a model with its head: old and bare checkpoints use others."""
    base = BASES.get(family, "model.")
    is_bare = not any(name.startswith(base) for name in weights)

    def rename(name: str) -> str:
        name = re.sub(
            r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
        )
        return base + name if is_bare and not name.startswith(("lm_head.", "cls.")) else name

    return {rename(name): tensor for name, tensor in weights.items()}


def _rules(family: str, config: ModelConfig, names: set[str], ours: dict[str, Tensor]) -> list[Rule]:
    """Return the rules for the tensors that our model has: a LLaMA has no biases, a tied model no head."""
    rules = [rule for rule in RULES[family](config, names) if rule.ours[0] in ours]
    uncovered = ours.keys() - {name for rule in rules for name in rule.ours}
    assert not uncovered, f"no rule of {family} covers {sorted(uncovered)}"
    return rules


def _strangers(rules: list[Rule], weights: dict[str, Tensor], *, tied: bool) -> list[str]:
    """List the tensors that no rule reads and that are not known to be redundant."""
    known = {rule.theirs for rule in rules} | set(TIED if tied else ())
    return [
        f"unexpected: {name} {tuple(tensor.shape)}"
        for name, tensor in weights.items()
        if name not in known and not REDUNDANT.search(name)
    ]


def _split(rule: Rule, tensor: Tensor | None, config: ModelConfig) -> list[Tensor]:
    """Cut a tensor of theirs into ours; an empty list if it is missing or cannot be cut so."""
    if tensor is None:
        return []
    try:
        return rule.layout.split(tensor, config)
    except RuntimeError:
        return []
