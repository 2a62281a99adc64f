"""Export a LoRA adapter for PEFT, together with its base model if PEFT could not open that."""

import json
import shutil
from pathlib import Path

from llmguide.files import replacing, write_json
from llmguide.models.huggingface.hub import ADAPTER
from llmguide.models.saved import is_saved
from llmguide.post_training.adapters.peft_files import WEIGHTS
from llmguide.runs.packaged import hub_name
from llmguide.runs.resolve import base_name, is_adapter, locate, open_base, open_model
from llmguide.runs.transformers_folder import as_transformers_tokenizer, save_transformers


def export_adapter(name: str, folder: Path) -> str:
    """Write the adapter of a run, or one in a folder, so that PEFT opens it with its base.

    PEFT opens a base that is a folder of transformers or on the hub. Others are written to ``base`` in the
    folder: a run of llmguide, an adapter merged into its base, and a model that got tokens for its chat. A
    packaged model is named as on the hub, where its weights are not rounded to 4 bits.

    Args:
        name: Run folder or adapter, as in `llmguide.runs.resolve.load`.
        folder: New folder to write.

    Returns:
        Path or name of the base model.

    Raises:
        ValueError: There is no adapter.
    """
    place = locate(name)
    if not is_adapter(place):
        place = place / "adapter"
    if not is_adapter(place):
        raise ValueError(
            f"{name} has no adapter, which --lora-rank trains; leave out --format to export the model"
        )
    base = base_name(place)
    model, own = open_base(place, dtype=None)
    tokenizer = as_transformers_tokenizer(own)
    source = locate(base)
    is_enough = source.is_dir() and not (is_saved(source) or is_adapter(source))
    is_enough = is_enough and open_model(source, dtype=None)[0].config == model.config
    base = hub_name(source) or base
    with replacing(folder) as unfinished:
        unfinished.mkdir()
        if not is_enough:
            save_transformers(unfinished / "base", model, tokenizer)
            base = str(folder.resolve() / "base")
        config = json.loads((place / ADAPTER).read_text(encoding="utf-8"))
        write_json(unfinished / ADAPTER, config | {"base_model_name_or_path": base})
        shutil.copy(place / WEIGHTS, unfinished)
        tokenizer.save_pretrained(unfinished)
    return base
