"""LoRA fine-tuning of SmolLM2-135M: ``llmguide sft`` against TRL's SFTTrainer with PEFT, time and memory.

Run ``python -m benchmarks.fine_tuning [--pairs N]``. Both sides run in processes of their own, with the same
conversations, adapters, batches and learning rate, in float32 on the CPU. The time is that of ten steps,
after two to warm up and without loading; the memory is the peak of the whole process.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Result, print_header

from llmguide.runs.packaged import unpacked

MODEL = "smollm2-135m-instruct"
N_STEPS, WARMUP, BATCH_SIZE, MAX_LENGTH, RANK = 12, 2, 4, 256, 16
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]

OURS = f"""
import json, sys
from pathlib import Path
from benchmarks.harness import peak_bytes
from llmguide.cli.main import main
data, folder = sys.argv[1:]
main(["sft", "--data", data, "--model", {MODEL!r}, "--output", folder, "--held-out", "0",
      "--lora-rank", "{RANK}", "--n-steps", "{N_STEPS}", "--batch-size", "{BATCH_SIZE}",
      "--max-length", "{MAX_LENGTH}", "--lr", "1e-4"])
steps = [json.loads(line) for line in Path(folder, "metrics.jsonl").open()]
print("RESULT", json.dumps([[step["time"] for step in steps], peak_bytes(), steps[0]["loss"]]))
"""
PEER = f"""
import json, sys, time
from benchmarks.harness import peak_bytes
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer
data, folder, model = sys.argv[1:]
class Clock(TrainerCallback):
    times = []
    def on_step_end(self, *_, **__):
        self.times.append(time.time())
trainer = SFTTrainer(
    AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
    args=SFTConfig(
        folder, per_device_train_batch_size={BATCH_SIZE}, max_steps={N_STEPS}, max_length={MAX_LENGTH},
        learning_rate=1e-4, use_cpu=True, bf16=False, gradient_checkpointing=False, logging_steps=1,
        save_strategy="no", report_to="none", disable_tqdm=True, dataset_num_proc=None,
    ),
    train_dataset=load_dataset("json", data_files=data, split="train", cache_dir=folder),
    processing_class=AutoTokenizer.from_pretrained(model),
    peft_config=LoraConfig(r={RANK}, lora_alpha={2 * RANK}, target_modules={TARGETS}, task_type="CAUSAL_LM"),
    callbacks=[Clock()],
)
trainer.train()
loss = trainer.state.log_history[0]["loss"]
print("RESULT", json.dumps([Clock.times, peak_bytes(), loss]))
"""


def write_conversations(path: Path) -> None:
    """Write conversations of equal length, about the largest that fits."""
    answer = " ".join(["The model predicts one token after the other."] * 20)
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Explain a language model in version {number:03d}."}],
            "completion": [{"role": "assistant", "content": answer}],
        }
        for number in range(N_STEPS * BATCH_SIZE)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(program: str, *arguments: str) -> tuple[float, int, float]:
    """Seconds of the steps after the first ones, peak bytes, and the loss of the first step."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    times, peak, loss = json.loads(lines[0].removeprefix("RESULT "))
    return times[-1] - times[WARMUP - 1], peak, loss


def main() -> int:
    """Run the pairs; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fine_tuning", description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    pairs = parser.parse_args().pairs
    model = str(unpacked(MODEL))
    print_header("torch", "trl", "peft", "transformers")
    ours, peer = [], []
    with TemporaryDirectory() as folder:
        data = Path(folder, "rows.jsonl")
        write_conversations(data)
        for number in range(pairs):
            ours.append(run(OURS, str(data), f"{folder}/ours-{number}"))
            peer.append(run(PEER, str(data), f"{folder}/peer-{number}", model))
            assert abs(ours[-1][2] - peer[-1][2]) < 0.02, "not the same loss at the first step"
    n = f"{N_STEPS - WARMUP} steps of {BATCH_SIZE} x {MAX_LENGTH}"
    results = [
        Result(f"{MODEL}, LoRA, {n}", [x[0] for x in ours], [x[0] for x in peer], 1.0),
        Result(f"{MODEL}, LoRA, peak GB", [x[1] / 1e9 for x in ours], [x[1] / 1e9 for x in peer], 1.0),
    ]
    for result in results:
        print(result)
    return 0 if all(result.met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
