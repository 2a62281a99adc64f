"""Exercises of adapters: low-rank layers, their size, and merging them."""

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.differentiation import with_gradient
from llmguide.post_training.adapters.lora_layer import add_low_rank


def _lora(x: Tensor, W: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    return add_low_rank(F.linear(x, W), x, A, B, alpha / len(A))


def _low_rank(x: Tensor, W: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor:
    return x @ W.T + scale * (x @ A.T) @ B.T


def _n_params(shapes: list[tuple[int, int]], rank: int) -> int:
    return sum(rank * (d_in + d_out) for d_in, d_out in shapes)


Matrices = dict[str, Tensor]


def merge(
    weights: Matrices,
    adapter: Matrices,
    config: dict[str, Any],
    *,
    root: bool | None = None,
    transpose: bool = True,
    one_rank: bool = False,
    only_adapted: bool = False,
    sign: int = 1,
) -> Matrices:
    """Merge an adapter into the weights of a model, with switches for the mistakes."""
    merged = {}
    ranks = {name.removesuffix(".A"): len(matrix) for name, matrix in adapter.items() if name.endswith(".A")}
    for name, weight in weights.items():
        if name not in ranks:
            if not only_adapted:
                merged[name] = weight
            continue
        rank = next(iter(ranks.values())) if one_rank else ranks[name]
        stabilized = config["rank_stabilized"] if root is None else root
        scale = sign * config["alpha"] / (rank**0.5 if stabilized else rank)
        update = scale * adapter[f"{name}.B"] @ adapter[f"{name}.A"]
        merged[name] = weight + (update.T if transpose and name in config["transposed"] else update)
    return merged


def _merge_probes() -> list[Arguments]:
    names = ("q", "k", "v", "up")
    weights = {name: noise(50 + i, 4, 4) for i, name in enumerate(names)}
    adapter = {
        "q.A": noise(55, 2, 4),
        "q.B": noise(56, 4, 2),
        "up.A": noise(57, 3, 4),
        "up.B": noise(58, 4, 3),
    }
    plain = {"alpha": 4.0, "rank_stabilized": False, "transposed": []}
    return [
        (weights, adapter, plain),
        (weights, adapter, {**plain, "rank_stabilized": True, "transposed": ["up", "k"]}),
    ]


EXERCISES = (
    Exercise(
        "lora",
        "lora(x, W, A, B, alpha): a linear layer W (out, in) with an adapter A (r, in), B (out, r) whose "
        "scale is alpha / r. No bias. Gradients must be able to flow back to x, A and B.",
        _lora,
        lambda: [
            (noise(17, 3, 6), noise(18, 5, 6), noise(19, 2, 6), noise(20, 5, 2), 8.0),
            (noise(23, 2, 4), noise(24, 3, 4), noise(25, 2, 4), noise(26, 3, 2), 5.0),
        ],
        (
            Mistake(
                "scale forgotten",
                "the product of the adapter is added as it is",
                "Multiply by alpha / r.",
                lambda x, W, A, B, alpha: _low_rank(x, W, A, B, 1.0),
            ),
            Mistake(
                "alpha not divided by r",
                "the scale is alpha",
                "Divide by r, so that the update does not grow with the rank.",
                _low_rank,
            ),
            Mistake(
                "divided by the root of r",
                "the scale is alpha / sqrt(r) (this is rsLoRA)",
                "The original divides by r.",
                lambda x, W, A, B, alpha: _low_rank(x, W, A, B, alpha / len(A) ** 0.5),
            ),
            Mistake(
                "scale rounded down",
                "alpha / r is rounded down to a whole number",
                "The scale can be a fraction: divide with /, not with //.",
                lambda x, W, A, B, alpha: _low_rank(x, W, A, B, alpha // len(A)),
            ),
            Mistake(
                "divided by the number of inputs",
                "alpha is divided by the number of inputs",
                "A is (r, in): its rank is the number of its rows.",
                lambda x, W, A, B, alpha: _low_rank(x, W, A, B, alpha / A.shape[1]),
            ),
            Mistake(
                "divided by the number of outputs",
                "alpha is divided by the number of outputs",
                "B is (out, r): its rank is the number of its columns.",
                lambda x, W, A, B, alpha: _low_rank(x, W, A, B, alpha / len(B)),
            ),
            Mistake(
                "no gradient",
                "the output is right, but no gradient reaches A, B or x",
                "A and B are what LoRA trains, and adapters of earlier layers get their gradients through x. "
                "Use neither detach() nor torch.no_grad().",
                lambda x, W, A, B, alpha: _lora(x, W, A.detach(), B.detach(), alpha),
            ),
            Mistake(
                "frozen layer forgotten",
                "only the adapter is applied",
                "The adapter adds to the frozen weights: x W^T + ...",
                lambda x, W, A, B, alpha: _low_rank(x, 0 * W, A, B, alpha / len(A)),
            ),
            Mistake(
                "frozen layer scaled as well",
                "the scale multiplies the sum",
                "Only the adapter's part is scaled.",
                lambda x, W, A, B, alpha: alpha / len(A) * _low_rank(x, W, A, B, 1.0),
            ),
        ),
        (
            "The output is that of the frozen layer plus that of the adapter.",
            "Compute two thin products instead of one with B A.",
            "x @ W.T + alpha / r * (x @ A.T) @ B.T, where r is the number of rows of A.",
        ),
        level="warm-up",
        minutes=5,
        observe=with_gradient(_lora, 0, 2, 3),
    ),
    Exercise(
        "lora-params",
        "lora_params(shapes, rank): the number of trainable parameters of LoRA on linear layers, each "
        "given as (d_in, d_out).",
        _n_params,
        lambda: [([(4096, 4096), (4096, 1024)], 16), ([(768, 3072), (3072, 768), (5, 7)], 8)],
        (
            Mistake(
                "the frozen weights counted",
                "the weights of the layers are counted, and not the adapters",
                "They are frozen. A has r rows of d_in numbers, B has d_out rows of r.",
                lambda shapes, rank: sum(d_in * d_out for d_in, d_out in shapes),
            ),
            Mistake(
                "one matrix of two",
                "only A is counted",
                "B has r d_out numbers more.",
                lambda shapes, rank: sum(rank * d_in for d_in, _ in shapes),
            ),
            Mistake(
                "product of the two",
                "the numbers of the product B A are counted, times the rank",
                "The product is never stored. Count its two thin factors.",
                lambda shapes, rank: sum(rank * d_in * d_out for d_in, d_out in shapes),
            ),
            Mistake(
                "frozen weights added",
                "the weights of the layers are counted too",
                "Count only what is trained.",
                lambda shapes, rank: _n_params(shapes, rank) + sum(i * o for i, o in shapes),
            ),
        ),
        (
            "What is trained: the layer, or its adapter?",
            "How many numbers has A, of shape (r, d_in)? And B, of shape (d_out, r)?",
            "Add up rank * (d_in + d_out) over the layers.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "merge",
        "merge(weights, adapter, config) merges a LoRA adapter into the weights of a model, so that "
        "inference costs nothing extra. `weights` is a dict from the names of linear layers to their "
        "matrices, of shape (outputs, inputs). For some of these names, `adapter` has the matrices name + "
        "'.A' (rank, inputs) and name + '.B' (outputs, rank); the ranks differ between layers. `config` is a "
        "dict. 'alpha': a float. 'rank_stabilized': whether the update is scaled as in rank-stabilized LoRA "
        "(rsLoRA) or as in LoRA. 'transposed': the names of layers whose matrix in `weights` is stored as "
        "(inputs, outputs), as in GPT-2's checkpoint; the matrices of their adapters are not transposed. "
        "Return a dict with all layers. Do not change the given matrices.",
        merge,
        _merge_probes,
        (
            Mistake(
                "scale of LoRA",
                "'rank_stabilized' is ignored: alpha is divided by the rank",
                "rsLoRA divides by the square root of the rank.",
                partial(merge, root=False),
            ),
            Mistake(
                "scale of rsLoRA",
                "'rank_stabilized' is ignored: alpha is divided by the square root of the rank",
                "LoRA divides by the rank.",
                partial(merge, root=True),
            ),
            Mistake(
                "update not transposed",
                "the update is added as (outputs, inputs) to a matrix that is stored as (inputs, outputs)",
                "If a matrix is square, the wrong orientation raises no error. Transpose the update.",
                partial(merge, transpose=False),
            ),
            Mistake(
                "rank of the first layer",
                "the scale of the first layer is used for all",
                "The ranks differ. Take the rank from the shape of each A.",
                partial(merge, one_rank=True),
            ),
            Mistake(
                "layers without an adapter dropped",
                "the result has only the layers with an adapter",
                "The model needs all its layers.",
                partial(merge, only_adapted=True),
            ),
            Mistake(
                "subtracted",
                "the update is subtracted",
                "That would unmerge an adapter that is merged already.",
                partial(merge, sign=-1),
            ),
        ),
        (
            "Go through the names of `weights`, and test for each whether it has an adapter.",
            "The update of a layer is a scale times the product of its two matrices. Which order of the "
            "product gives (outputs, inputs)?",
            "The scale is alpha / rank for LoRA and alpha / sqrt(rank) for rsLoRA. Build a new matrix with "
            "weight + update, since += would change the given one.",
        ),
        level="medium",
        minutes=15,
        after="Merging is exact except for rounding. In bfloat16 or 4 bits, rounding can swallow a small "
        "update, so merge in float32 and test the merged model.",
    ),
)
