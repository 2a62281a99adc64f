"""Time and memory of fine-tuning and preference steps against TRL, in one process and interleaved.

Run ``python -m benchmarks.post_training [--pairs N]``. A step is forward, backward, clipping and fused
AdamW, on both sides with the same weights and batches; the losses are asserted equal first. TRL's is
`compute_loss` of its trainer, its metrics included, without the rest of the trainer.
"""

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

import datasets
import tokenizers
import torch
import transformers
import trl
from benchmarks.harness import Result, compare, peak_bytes, print_header
from torch import Tensor, nn

from llmguide.data.tokens.windows import Batch
from llmguide.models import from_hf
from llmguide.post_training.preferences.dpo import dpo_loss, make_reference_model, preference_objective
from llmguide.post_training.preferences.pairs import PreferenceBatch
from llmguide.training.losses import batch_loss
from llmguide.training.update_rules import clip_grad_norm_

SHAPES = {"small": 512, "V 50304": 50_304}  # vocabulary of a GPT-2 of 4 layers, 4 heads and width 256
STEPS = {"small": 8, "V 50304": 2}
EXAMPLES, BATCH = 64, 8
END = "<|endoftext|>"

Step = Callable[[], float]


def words(n_least: int, n_most: int, generator: random.Random) -> str:
    """Draw some of 200 words, each a token."""
    chosen = generator.choices(range(200), k=generator.randint(n_least, n_most))
    return "".join(f" w{i:03}" for i in chosen)


@cache
def columns() -> dict[str, list[str]]:
    """Prompts of 12 to 36 words, and two answers of 6 to 18."""
    generator = random.Random(0)
    return {
        "prompt": [words(12, 36, generator) for _ in range(EXAMPLES)],
        "chosen": [words(6, 18, generator) for _ in range(EXAMPLES)],
        "rejected": [words(6, 18, generator) for _ in range(EXAMPLES)],
    }


@cache
def tokenizer() -> Any:
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=511, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    model.train_from_iterator(columns()["prompt"], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token=END, eos_token=END, pad_token=END
    )


def saved_model(shape: str, folder: str) -> Any:
    """Make a GPT-2 that TRL accepts offline: one that was saved."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=4, n_head=4, n_embd=256, n_positions=128, vocab_size=SHAPES[shape], bos_token_id=0,
        eos_token_id=tokenizer().eos_token_id, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


def trl_trainer(make: Any, config: Any, shape: str, data: dict[str, list[str]], **options: Any) -> Any:
    """Build a trainer and hand it nothing but what the comparison needs."""
    with TemporaryDirectory() as folder:
        model = saved_model(shape, folder)
        arguments = config(
            output_dir=folder, report_to="none", per_device_train_batch_size=BATCH, use_cpu=True, bf16=False,
            gradient_checkpointing=False, disable_tqdm=True, **options,
        )  # fmt: skip
        return make(
            model=model,
            args=arguments,
            train_dataset=datasets.Dataset.from_dict(data),
            processing_class=tokenizer(),
        )


def stepper(
    model: nn.Module, loss_of: Callable[[Any], Tensor], batches: list[Any], steps: int, clip: Any
) -> Step:
    """Make a function that takes some training steps, each on the next batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    order = cycle(batches)

    def run() -> float:
        for _ in range(steps):
            loss = loss_of(next(order))
            loss.backward()
            clip(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return run


def pair_of_steps(
    peer: Any, ours: nn.Module, loss: Callable[[Any, Any], Any], convert: Any, shape: str
) -> dict[str, Step]:
    """Check that a trainer of TRL and our loss agree, and make both steps."""
    theirs = [peer._prepare_inputs(batch) for batch in peer.get_train_dataloader()]
    batches = [convert(batch) for batch in theirs]
    ours.train()
    for a, b in zip(batches[:2], theirs[:2], strict=True):
        difference = abs(loss(ours, a)[0].item() - peer.compute_loss(peer.model, dict(b)).item())
        assert difference < 1e-5, f"the losses differ by {difference}"
    n = STEPS[shape]
    return {
        "ours": stepper(ours, lambda batch: loss(ours, batch)[0], batches, n, clip_grad_norm_),
        "peer": stepper(
            peer.model,
            lambda batch: peer.compute_loss(peer.model, dict(batch)),
            theirs,
            n,
            nn.utils.clip_grad_norm_,
        ),
    }


def sft(shape: str) -> dict[str, Step]:
    data = {"prompt": columns()["prompt"], "completion": columns()["chosen"]}
    peer = trl_trainer(trl.SFTTrainer, trl.SFTConfig, shape, data)

    def convert(batch: dict[str, Tensor]) -> Batch:
        return Batch(batch["input_ids"][:, :-1], batch["labels"][:, 1:])

    return pair_of_steps(peer, from_hf(peer.model), batch_loss, convert, shape)


def dpo(shape: str, *, precomputed: bool) -> dict[str, Step]:
    """Both sides run the reference on every batch, or both know its log-probabilities."""
    peer = trl_trainer(trl.DPOTrainer, trl.DPOConfig, shape, columns(), precompute_ref_log_probs=precomputed)
    ours = from_hf(peer.model)

    def convert(batch: dict[str, Tensor]) -> PreferenceBatch:
        ids = batch["input_ids"]
        known = [batch[f"ref_{side}_logps"] for side in ("chosen", "rejected")] if precomputed else None
        return PreferenceBatch(
            ids,
            batch["attention_mask"].bool(),
            batch["completion_mask"].bool(),
            torch.zeros(len(ids) // 2),
            None if known is None else torch.cat(known),
        )

    objective = preference_objective(dpo_loss, None if precomputed else make_reference_model(ours))
    return pair_of_steps(peer, ours, objective, convert, shape)


COMPARISONS: dict[str, tuple[Callable[[str], dict[str, Step]], float]] = {
    "SFT": (sft, 1.15),
    "DPO, reference on every batch": (lambda shape: dpo(shape, precomputed=False), 1.15),
    "DPO, reference precomputed": (lambda shape: dpo(shape, precomputed=True), 1.15),
}


def peak_memory(name: str, shape: str, which: str) -> int:
    """Peak resident bytes of a fresh process that takes some steps; both are built there, one steps."""
    command = [sys.executable, "-m", "benchmarks.post_training", "--peak", name, shape, which]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", help="rows whose name contains this")
    parser.add_argument("--peak", nargs=3, metavar=("NAME", "SHAPE", "WHICH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if options.peak:
        name, shape, which = options.peak
        COMPARISONS[name][0](shape)[which]()
        print(peak_bytes())
        return
    print_header("torch", "transformers", "trl")
    results: list[Result] = []
    peaks = True
    for name, (make, target) in COMPARISONS.items():
        if options.only and options.only not in name:
            continue
        for shape in SHAPES:
            steps = make(shape)
            results.append(
                compare(f"{name}, {shape}", steps["ours"], steps["peer"], pairs=options.pairs, target=target)
            )
        if Path("/proc/self/status").exists():
            ours, peer = (peak_memory(name, "V 50304", which) for which in ("ours", "peer"))
            row = f"{name}: peak MiB, V 50304 (at most 1.00)"
            print(f"{row:<48} {ours / 2**20:9.0f} {peer / 2**20:9.0f} {ours / peer:8.2f}", flush=True)
            peaks = peaks and ours <= peer
    sys.exit(0 if peaks and all(result.met for result in results) else 1)


if __name__ == "__main__":
    main()
