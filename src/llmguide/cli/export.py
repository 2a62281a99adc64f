"""``llmguide export``: write a model and its tokenizer in the format of transformers."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import tyro

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.files import put
from llmguide.models.saved import is_saved
from llmguide.post_training.chat import END, START
from llmguide.runs.chat_model import CHATML
from llmguide.runs.folder import load_run
from llmguide.runs.packaged import open_transformers
from llmguide.runs.transformers_folder import save_transformers
from llmguide.tokenization.huggingface import to_hf_tokenizer

DESCRIPTION = """\
Write a model with its tokenizer, chat template and stop tokens in the format of transformers, which vLLM, TGI
and llama.cpp's converter read as well. Needs llmguide[hf].

Examples:
  llmguide export runs/pretrain exported
  llmguide export runs/sft exported
  llmguide export smollm2-135m-instruct smollm2"""


def export(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")],
) -> None:
    """Write a model for transformers.

    Args:
        model: Run folder, folder of transformers, packaged model, or name on the hub.
        folder: New folder to write.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists already; name a new folder")
    if is_saved(Path(model)):
        decoder, own = load_run(model)
        is_chat = {START, END} <= own.special_tokens.keys()
        tokenizer = to_hf_tokenizer(
            own,
            bos=END_OF_TEXT if END_OF_TEXT in own.special_tokens else None,
            eos=END if is_chat else END_OF_TEXT,
        )
        if is_chat:
            tokenizer.chat_template = CHATML
    else:
        decoder, tokenizer = open_transformers(model, dtype=None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        written = Path(temporary, "written")
        save_transformers(written, decoder, tokenizer)
        put(written, folder)
    print(f"{folder}: transformers.AutoModelForCausalLM.from_pretrained({str(folder)!r}) opens it")


COMMAND = export
