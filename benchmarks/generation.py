"""Time of generation against Hugging Face, and against running the whole text again for each token.

Run ``python -m benchmarks.generation [--nanogpt DIR] [--pairs N] [--new N]``. Without a checkout of nanoGPT
its place is taken by a plain GPT-2 of the same shape, which has no cache either.
"""

import argparse
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.harness import Result, compare, print_header
from benchmarks.peers import config, nanogpt
from torch import Tensor

from llmguide.generation.generate import generate
from llmguide.models import GPT, build, to_hf


def against_hf(pairs: int, n: int) -> list[Result]:
    torch.manual_seed(0)
    model = build(config("big", activation="gelu_tanh")).eval()
    half = deepcopy(model).bfloat16()
    hf, hf_half = to_hf(model), to_hf(model).bfloat16()
    results = []
    for rows, fp32, bf16 in ((1, 1.75, 2.0), (8, 1.6, 1.75)):
        ids = torch.randint(65, (rows, 16))

        def theirs(peer: Any = hf, ids: Tensor = ids, **options: object) -> Tensor:
            options = {"do_sample": True, "temperature": 0.8, "top_k": 50, **options}
            mask = torch.ones_like(ids)  # without it, id 0 in a prompt would count as padding
            return peer.generate(ids, attention_mask=mask, max_new_tokens=n, pad_token_id=0, **options)

        def ours(model: GPT = model, ids: Tensor = ids) -> Tensor:
            return generate(model, ids, n, temperature=0.8, top_k=50)

        greedy = theirs(do_sample=False, temperature=None, top_k=None)
        assert torch.equal(generate(model, ids, n, temperature=0), greedy), "the greedy texts differ"
        with torch.no_grad():
            error = (half(greedy).float() - model(greedy)).abs().max()
        assert error < 0.05, f"bfloat16 moves the logits by {error}"
        name = f"{rows} x (16 + {n}) tokens"
        results += [
            compare(f"{name}, fp32 vs HF fp32", ours, theirs, pairs=pairs, target=fp32),
            compare(f"{name}, bf16 vs HF fp32", partial(ours, half), theirs, pairs=pairs, target=bf16),
            compare(f"{name}, bf16 vs HF bf16", partial(ours, half), partial(theirs, hf_half), pairs=pairs),
        ]
    return results


def against_nanogpt(pairs: int, n: int, folder: Path | None) -> list[Result]:
    torch.manual_seed(0)
    model = build(config("big")).eval()
    peer = nanogpt(model, folder).eval()
    results = []
    for rows, target in ((1, 7.0), (8, 18.0)):
        ids = torch.randint(65, (rows, 16))
        assert torch.equal(generate(model, ids, n, top_k=1), peer.generate(ids, n, top_k=1)), (
            "the texts differ"
        )

        def ours(ids: Tensor = ids) -> Tensor:
            return generate(model, ids, n, temperature=0.8, top_k=50)

        def theirs(ids: Tensor = ids) -> Tensor:
            return peer.generate(ids, n, temperature=0.8, top_k=50)

        name = "nanoGPT" if folder else "plain GPT-2"
        results.append(
            compare(
                f"{rows} x (16 + {n}) tokens vs {name}, no cache", ours, theirs, pairs=pairs, target=target
            )
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--new", type=int, default=200, help="tokens to generate")
    options = parser.parse_args()
    torch.set_num_threads(2)
    print_header("torch", "transformers")
    results = against_hf(options.pairs, options.new)
    results += against_nanogpt(options.pairs, options.new, options.nanogpt)
    sys.exit(0 if all(result.met for result in results) else 1)


if __name__ == "__main__":
    main()
