"""Generation by SmolLM2-135M on a CPU: ``llmguide generate`` in 4 bits against transformers in bfloat16.

Run ``python -m benchmarks.packaged_generation [--pairs N] [--threads N]``. Each run is a process of its own,
which imports, loads, and decodes 128 tokens greedily; its seconds and its peak memory count.
"""

import argparse
import json
import subprocess
import sys
import time

from benchmarks.harness import Result, print_header

from llmguide.runs.packaged import unpacked

MODEL, PROMPT, N_TOKENS = "smollm2-135m-instruct", "The history of Rome begins", 128

OURS = f"""
import sys
import torch
from benchmarks.harness import peak_bytes
from llmguide.cli.main import main
torch.set_num_threads(int(sys.argv[1]))
main(["generate", "{MODEL}-q4", {PROMPT!r}, "--dtype", "bfloat16", "--device", "cpu", "--temperature", "0",
      "--max-new-tokens", "{N_TOKENS}"])
print("RESULT", peak_bytes())
"""
PEER = f"""
import sys
import torch
from benchmarks.harness import peak_bytes
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(int(sys.argv[1]))
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
model = AutoModelForCausalLM.from_pretrained(sys.argv[2], dtype=torch.bfloat16)
inputs = tokenizer({PROMPT!r}, return_tensors="pt")
ids = model.generate(**inputs, do_sample=False, min_new_tokens={N_TOKENS}, max_new_tokens={N_TOKENS})
print(tokenizer.decode(ids[0]))
print("RESULT", peak_bytes())
"""


def run(program: str, *arguments: str) -> tuple[float, int]:
    """Seconds and peak bytes of a process."""
    start = time.perf_counter()
    command = [sys.executable, "-c", program, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - start
    return seconds, json.loads(output.rpartition("RESULT")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    threads, folder = str(options.threads), str(unpacked(MODEL))
    run(OURS, threads)  # converts the weights to 4 bits once
    print_header("torch", "transformers")
    pairs = [(run(OURS, threads), run(PEER, threads, folder)) for _ in range(options.pairs)]
    name = f"{N_TOKENS} tokens"
    result = Result(name, [ours[0] for ours, _ in pairs], [peer[0] for _, peer in pairs], target=1.0)
    print(result)
    ours, peer = (max(pair[side][1] for pair in pairs) for side in (0, 1))
    print(
        f"{'peak memory in MiB (target: at most 0.333)':<48} {ours >> 20:9} {peer >> 20:9} {ours / peer:8.3f}"
    )
    sys.exit(0 if result.met and 3 * ours <= peer else 1)


if __name__ == "__main__":
    main()
