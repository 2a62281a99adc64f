"""``llmguide export``: write a model and its tokenizer for transformers, llama.cpp or PEFT."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from llmguide.files import replacing
from llmguide.models.huggingface.hub import ADAPTER
from llmguide.runs.adapter_folder import export_adapter
from llmguide.runs.gguf_file import save_gguf
from llmguide.runs.packaged import HUB
from llmguide.runs.resolve import open_model
from llmguide.runs.reward_heads import refuse_reward_model
from llmguide.runs.transformers_folder import as_transformers_tokenizer, save_transformers

DESCRIPTION = """\
Write a model with its tokenizer, chat template and stop tokens: a folder for transformers, which vLLM and TGI
read as well, one GGUF file for llama.cpp and Ollama, or the LoRA adapter of a run by itself for PEFT. Needs
llmguide[hf], and llmguide[packaged] for GGUF.

Examples:
  llmguide export runs/pretrain exported
  llmguide export runs/sft sft.gguf --format gguf
  llmguide export runs/lora adapter --format peft
  llmguide export smollm2-135m-instruct smollm2"""


def export(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUTPUT")],
    *,
    format: Literal["transformers", "gguf", "peft"] = "transformers",  # noqa: A002  # name of the option
) -> None:
    """Write a model in the format of another program.

    Args:
        model: Run, checkpoint, LoRA adapter, folder of transformers, packaged model, or name on the hub.
        output: New folder to write; for gguf, a new file.
        format: Format to write. An adapter is merged into its base, except for peft.
    """
    if output.exists():
        raise ValueError(f"{output} exists already; name a new folder or file")
    if format == "gguf" and output.suffix != ".gguf":
        raise ValueError(f"{output}: llama.cpp opens files whose names end with .gguf; name such a file")
    refuse_reward_model(model)
    output.parent.mkdir(parents=True, exist_ok=True)
    if format == "peft":
        base = export_adapter(model, output)
        print(f"{output}: peft.AutoPeftModelForCausalLM.from_pretrained({str(output)!r}) opens it on {base}")
        if base in HUB.values():
            print("it was trained on a copy of that model in 4 bits, so its outputs differ a little there")
        if Path(base).exists():
            print(f"on another machine, set base_model_name_or_path in {ADAPTER} to a copy of {base}")
        return
    decoder, own = open_model(model, dtype=None)
    tokenizer = as_transformers_tokenizer(own)
    if format == "gguf":
        save_gguf(output, decoder, tokenizer)
        print(f"{output}: llama-cli -m {output} opens it")
        return
    with replacing(output) as unfinished:
        save_transformers(unfinished, decoder, tokenizer)
    print(f"{output}: transformers.AutoModelForCausalLM.from_pretrained({str(output)!r}) opens it")


COMMAND = export
