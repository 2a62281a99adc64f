"""Time and memory of a training step against Hugging Face GPT-2 and nanoGPT, in one process and interleaved.

Run ``python -m benchmarks.training [--nanogpt DIR] [--pairs N]``. Without a checkout of nanoGPT its place is
taken by a plain GPT-2 of the same shape. A step is forward, backward, clipping and AdamW; ours uses torch's
fused AdamW, the peers what their own scripts use on a CPU, AdamW as it comes. The whole loops are compared
as well: reading, training, logging and evaluating. Where `llmguide.nn._linear` has no faster library to turn
to, the float32 steps wait for the same matrix products as the peers' and miss their targets.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.harness import Result, compare, peak_bytes, print_header
from benchmarks.peers import BATCH, config, nanogpt
from benchmarks.training_loop import loops
from torch import Tensor, nn

from llmguide.models import build, to_hf
from llmguide.training.losses import linear_cross_entropy, next_token_loss

STEPS = {"small": 20, "big": 2, "big, V 50304": 1}


def trainer(
    model: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    ids: Tensor,
    steps: int,
    *,
    fused: bool,
    bf16: bool = False,
) -> Callable[[], float]:
    """Make a function that takes some training steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=fused)

    def train() -> float:
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = loss_of(ids)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return train


def losses(size: str, folder: Path | None) -> dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Ours and the peers with the same weights."""
    torch.manual_seed(0)
    ours = build(config(size))
    ours_tanh = build(config(size, activation="gelu_tanh"))
    ours_tanh.load_state_dict(ours.state_dict())
    hf, nano = to_hf(ours_tanh), nanogpt(ours, folder)

    def hf_loss(ids: Tensor) -> Any:
        targets = ids[:, 1:].contiguous()
        return hf(ids[:, :-1], labels=targets, shift_labels=targets).loss

    return {
        "ours": (ours, lambda ids: next_token_loss(ours, ids)),
        "ours, tanh": (ours_tanh, lambda ids: next_token_loss(ours_tanh, ids)),
        "hf": (hf, hf_loss),
        "nano": (nano, lambda ids: nano(ids[:, :-1], ids[:, 1:].contiguous())[1]),
    }


def data(size: str) -> Tensor:
    shape = BATCH[size], config(size).context_length + 1
    return torch.randint(config(size).vocab_size, shape, generator=torch.Generator().manual_seed(1))


def has_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and any(
        flag in info.read_text(encoding="utf-8") for flag in ("avx512_bf16", "amx_bf16")
    )


def steps(size: str, folder: Path | None, pairs: int) -> list[Result]:
    """Time whole steps of one size."""
    ids, n = data(size), STEPS[size]
    made = losses(size, folder)
    for a, b in (("ours", "nano"), ("ours, tanh", "hf")):
        difference = abs(made[a][1](ids).item() - made[b][1](ids).item())
        assert difference < 1e-5, f"{a} and {b} differ by {difference} in the loss"
    run = {name: trainer(*pair, ids, n, fused=name.startswith("ours")) for name, pair in made.items()}
    targets = {"small": (1.1, 1.4), "big": (1.05, 1.25)}.get(size, (1.0, None))
    name = "nanoGPT" if folder else "plain GPT-2"
    results = [
        compare(f"{size}: step vs {name}", run["ours"], run["nano"], pairs=pairs, target=targets[0]),
        compare(
            f"{size}: step vs Hugging Face", run["ours, tanh"], run["hf"], pairs=pairs, target=targets[1]
        ),
    ]
    if has_bf16():
        ours = trainer(*made["ours"], ids, n, fused=True, bf16=True)
        target = {"big": 1.7}.get(size)
        results.append(
            compare(
                f"{size}: bfloat16 step vs {name} as shipped", ours, run["nano"], pairs=pairs, target=target
            )
        )
    if size in ("small", "big"):
        results += loops(size, made, name, pairs)
    return results


def head(pairs: int) -> Result:
    """Time the output head and its loss alone, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2048, 384, generator=generator).requires_grad_()
    weight = (torch.randn(50_304, 384, generator=generator) * 0.02).requires_grad_()
    targets = torch.randint(50_304, (2048,), generator=generator)

    def chunked() -> None:
        linear_cross_entropy(hidden, weight, targets).backward()
        hidden.grad = weight.grad = None

    def plain() -> None:
        F.cross_entropy(hidden @ weight.T, targets).backward()
        hidden.grad = weight.grad = None

    return compare("head and loss, V 50304, vs plain", chunked, plain, pairs=pairs, target=0.95)


def peak_memory(which: str, folder: Path | None) -> int:
    """Peak resident bytes of a fresh process that takes two steps at V = 50,304."""
    options = ["--nanogpt", str(folder)] if folder else []
    command = [sys.executable, "-m", "benchmarks.training", "--peak", which, *options]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(which: str, folder: Path | None) -> None:
    """Take two steps of one model, alone in this process, and print its peak."""
    torch.manual_seed(0)
    size = "big, V 50304"
    ours = build(config(size))
    if which == "ours":
        model: Any = ours
        loss_of = partial(next_token_loss, ours)
    else:
        model = nanogpt(ours, folder)

        def loss_of(ids: Tensor) -> Tensor:
            return model(ids[:, :-1], ids[:, 1:].contiguous())[1]

    trainer(model, loss_of, data(size), 2, fused=which == "ours")()
    print(peak_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--size", choices=STEPS, help="only this one")
    parser.add_argument("--peak", choices=["ours", "nano"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.peak:
        print_peak(options.peak, options.nanogpt)
        return
    print_header("torch", "transformers")
    results = [head(options.pairs)]
    for size in [options.size] if options.size else STEPS:
        results += steps(size, options.nanogpt, options.pairs)
    ours, peer = (peak_memory(which, options.nanogpt) for which in ("ours", "nano"))
    name = "peak memory in MiB, V 50304 (target: at most 0.55)"
    print(f"{name:<48} {ours / 2**20:9.0f} {peer / 2**20:9.0f} {ours / peer:8.2f}")
    sys.exit(0 if all(result.met for result in results) and ours <= 0.55 * peer else 1)


if __name__ == "__main__":
    main()
