"""Time and memory of loading a folder of safetensors files, against Hugging Face transformers.

Run ``python -m benchmarks.loading [--pairs N]``. Loading includes one forward pass over a token, so that a
tensor which is mapped and not yet read costs what it costs when it is used. The models are random, of about
0.12 billion parameters, in a temporary folder.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from benchmarks.harness import Result, compare, peak_bytes, print_header
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.models import build, to_hf
from llmguide.models.huggingface.convert import load_hf

CONFIGS = {
    "GPT-2": PRESETS["gpt2"],
    "LLaMA": ModelConfig(
        vocab_size=32_000, context_length=2048, n_layers=12, d_model=768, n_heads=12, d_ff=2048,
        positions="rope", norm="rmsnorm", activation="swiglu", bias=False, tie_embeddings=False,
    ),
}  # fmt: skip
IDS = torch.tensor([[1]])


@torch.inference_mode()
def ours(folder: Path) -> Tensor:
    return load_hf(folder)(IDS)


@torch.inference_mode()
def peer(folder: Path) -> Tensor:
    logits: Tensor = AutoModelForCausalLM.from_pretrained(folder)(IDS).logits
    return logits


def peak_memory(which: str, folder: Path) -> int:
    """Peak resident bytes of a fresh process that loads the folder."""
    command = [sys.executable, "-m", "benchmarks.loading", "--peak", which, str(folder)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare_loading(name: str, config: ModelConfig, pairs: int) -> list[Result]:
    with TemporaryDirectory() as folder:
        path = Path(folder)
        to_hf(build(config)).save_pretrained(path)
        torch.testing.assert_close(ours(path), peer(path), atol=1e-4, rtol=0)
        time = compare(f"{name}: load", lambda: ours(path), lambda: peer(path), pairs=pairs, target=1.0)
        memory = [[float(peak_memory(which, path))] for which in ("ours", "peer")]
        result = Result(f"{name}: peak bytes of the process", *memory, target=1.0)
        print(result)
        return [time, result]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--peak", nargs=2, metavar=("WHICH", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    disable_progress_bar()
    if options.peak:
        which, folder = options.peak
        {"ours": ours, "peer": peer}[which](Path(folder))
        print(peak_bytes())
        return
    print_header("torch", "transformers", "safetensors")
    results = [
        result for name, config in CONFIGS.items() for result in compare_loading(name, config, options.pairs)
    ]
    sys.exit(0 if all(result.met for result in results) else 1)


if __name__ == "__main__":
    main()
