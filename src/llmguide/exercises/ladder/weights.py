"""The GPT of the ladder as a dict of tensors, and a text to train it on.

A model is ``{"tokens": (V, D), "positions": (T, D), "layers": [...], "norm": (D,)}``. Each layer is a dict of
``norm_1`` and ``norm_2`` (D,), ``q``, ``k``, ``v`` and ``o`` (D, D), ``up`` (4D, D) and ``down`` (D, 4D).
Matrices have the layout of ``torch.nn.Linear``: outputs by inputs.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, generator

Weights = dict[str, Any]

TEXT = """\
Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in \
Liberty, and dedicated to the proposition that all men are created equal.

Now we are engaged in a great civil war, testing whether that nation, or any nation so conceived and so \
dedicated, can long endure. We are met on a great battle-field of that war. We have come to dedicate a \
portion of that field, as a final resting place for those who here gave their lives that that nation \
might live. It is altogether fitting and proper that we should do this.

But, in a larger sense, we can not dedicate -- we can not consecrate -- we can not hallow -- this \
ground. The brave men, living and dead, who struggled here, have consecrated it, far above our poor \
power to add or detract. The world will little note, nor long remember what we say here, but it can \
never forget what they did here. It is for us the living, rather, to be dedicated here to the unfinished \
work which they who fought here have thus far so nobly advanced. It is rather for us to be here \
dedicated to the great task remaining before us -- that from these honored dead we take increased \
devotion to that cause for which they gave the last full measure of devotion -- that we here highly \
resolve that these dead shall not have died in vain -- that this nation, under God, shall have a new \
birth of freedom -- and that government of the people, by the people, for the people, shall not perish \
from the earth.
"""  # Abraham Lincoln's address at Gettysburg, 1863


def make_weights(
    vocab_size: int,
    context_length: int,
    n_layers: int,
    d_model: int,
    *,
    seed: int = 0,
    std: float = 0.3,
    dtype: torch.dtype = torch.float32,
) -> Weights:
    """Sample the weights of a model; the weights of the norms are near 1."""
    random = generator(seed)

    def noise(*shape: int) -> Tensor:
        return (std * torch.randn(*shape, generator=random)).to(dtype)

    def layer() -> dict[str, Tensor]:
        square = {name: noise(d_model, d_model) for name in "qkvo"}
        feed_forward = {"up": noise(4 * d_model, d_model), "down": noise(d_model, 4 * d_model)}
        return {"norm_1": 1 + noise(d_model), **square, "norm_2": 1 + noise(d_model), **feed_forward}

    return {
        "tokens": noise(vocab_size, d_model),
        "positions": noise(context_length, d_model),
        "layers": [layer() for _ in range(n_layers)],
        "norm": 1 + noise(d_model),
    }


def tensors(weights: Weights) -> Iterator[Tensor]:
    """Yield all tensors of a model."""
    for part in weights.values():
        if isinstance(part, Tensor):
            yield part
        else:
            for layer in part:
                yield from layer.values()


def loss_and_gradient(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, Any]:
    """Observe a loss, and its gradient with respect to the final norm of the first model in the arguments."""
    weights = next(value for value in arguments if isinstance(value, dict))
    norm = weights["norm"].clone().requires_grad_()
    loss = function(*({**value, "norm": norm} if value is weights else value for value in arguments))
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return loss, "no gradient"
    if loss.numel() > 1:
        return loss, "more than one number"
    return loss, torch.autograd.grad(loss.sum(), norm)[0]
