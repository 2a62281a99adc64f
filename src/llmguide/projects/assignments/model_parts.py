"""Parts of the assignments that build and train a model: character tokenizer and training."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Exercise, Mistake, noise

# ---- tokenizer -------------------------------------------------------------------------------------


def _encode(text: str, characters: str, *, unknown: int = 1, first: int = 2) -> list[int]:
    return [characters.index(c) + first if c in characters else unknown for c in text]


def _encode_and_drop(text: str, characters: str) -> list[int]:
    return [characters.index(c) + 2 for c in text if c in characters]


def _decode(ids: Sequence[int], characters: str, *, first: int = 2, shown: bool = True) -> str:
    special = {0: "", 1: "\N{REPLACEMENT CHARACTER}" if shown else ""}
    return "".join(special[i] if i in special else characters[(i - first) % len(characters)] for i in ids)


# ---- training --------------------------------------------------------------------------------------

Loss = Callable[[Tensor, Tensor], Tensor]


def _squared(w: Tensor, batch: Tensor) -> Tensor:
    return (batch @ w - 1).square().mean()


def _train(
    w: Tensor, batches: Sequence[Tensor], loss: Loss, lr: float, *, zero: bool = True, sign: float = -1.0
) -> Tensor:
    """Train with gradient descent, with switches for the mistakes."""
    w, gradient = w.clone().requires_grad_(True), torch.zeros_like(w)
    for batch in batches:
        (new,) = torch.autograd.grad(loss(w, batch), w)
        gradient = new if zero else gradient + new
        w = (w + sign * lr * gradient).detach().requires_grad_(True)
    return w.detach()


def _train_on_one_gradient(w: Tensor, batches: Sequence[Tensor], loss: Loss, lr: float) -> Tensor:
    w = w.clone().requires_grad_(True)
    total = torch.stack([loss(w, batch) for batch in batches]).sum()
    return (w - lr * torch.autograd.grad(total, w)[0]).detach()


def _resume(
    state: tuple[int, Tensor, Tensor],
    batches: Sequence[Tensor],
    lr: float,
    *,
    moments: bool = True,
    skip: bool = True,
    count: bool = True,
) -> tuple[int, Tensor, Tensor]:
    """Continue SGD with momentum, with switches for the mistakes."""
    step, w, m = state
    m = m if moments else torch.zeros_like(m)
    for batch in batches[step if skip else 0 :]:
        m = 0.9 * m + batch * w
        w = w - lr * m
    return len(batches) if count else step, w, m


MODEL_PARTS = (
    Exercise(
        "character-encode",
        "encode(text, characters) returns the list of the token ids of a text, one id for each character. "
        "`characters` is the vocabulary as a string: its first character has id 2, its second character id "
        "3, and so on. A character that is not in the vocabulary has id 1. Id 0 marks the start of a text; "
        "encode does not add it.",
        _encode,
        lambda: [("abba", "abc"), ("a cab!", " abc"), ("", "abc")],
        (
            Mistake(
                "special ids forgotten",
                "the first character of the vocabulary has id 0",
                "Ids 0 and 1 are taken: add 2 to the position in the vocabulary.",
                partial(_encode, first=0),
            ),
            Mistake(
                "unknown characters dropped",
                "characters outside the vocabulary are left out",
                "Every character of the text gives exactly one id. An unknown character has id 1.",
                _encode_and_drop,
            ),
            Mistake(
                "unknown is the start token",
                "an unknown character has id 0",
                "Id 0 marks the start of a text. In the middle of a text it would tell the model that a new "
                "text begins.",
                partial(_encode, unknown=0),
            ),
        ),
        ("A dictionary from character to id is faster than searching the string.",),
    ),
    Exercise(
        "character-decode",
        "decode(ids, characters) returns the text of a list of token ids; it is the inverse of encode. Id 0 "
        "becomes an empty string, and id 1 becomes the replacement character '\\ufffd'.",
        _decode,
        lambda: [([2, 3, 3, 2], "abc"), ([0, 2, 1, 4], "abc")],
        (
            Mistake(
                "special ids forgotten",
                "id 2 is decoded as the third character of the vocabulary",
                "The first character of the vocabulary has id 2, so subtract 2.",
                partial(_decode, first=0),
            ),
            Mistake(
                "unknown characters dropped",
                "id 1 becomes an empty string",
                "A reader must see that a character is unknown. Use '\\ufffd'.",
                partial(_decode, shown=False),
            ),
        ),
        ("Put the strings for ids 0 and 1 in front of the list of characters.",),
    ),
    Exercise(
        "train-loop",
        "train(w, batches, loss, lr) returns the parameters after one step of gradient descent on each "
        "batch, in order. A step subtracts lr times the gradient of loss(w, batch) with respect to w. `w` is "
        "a tensor, `batches` is a list of tensors, and loss(w, batch) returns a scalar tensor. Do not change "
        "w in place.",
        _train,
        lambda: [(noise(1, 3), [noise(i, 4, 3) for i in range(2, 6)], _squared, 0.1)],
        (
            Mistake(
                "gradients not zeroed",
                "each step uses the sum of all gradients so far",
                "backward() adds to .grad. Set it to None or call optimizer.zero_grad() in each step.",
                partial(_train, zero=False),
            ),
            Mistake(
                "gradient ascent",
                "the gradient is added",
                "The loss should fall, so subtract lr times the gradient.",
                partial(_train, sign=1.0),
            ),
            Mistake(
                "one step for all batches",
                "all gradients are computed at the initial parameters",
                "Update the parameters after every batch, and compute the next gradient at the new "
                "parameters.",
                _train_on_one_gradient,
            ),
            Mistake(
                "last batch left out",
                "the last batch is not used",
                "Take one step for each batch.",
                lambda w, batches, loss, lr: _train(w, batches[:-1], loss, lr),
            ),
        ),
        (
            "Start from w.clone().requires_grad_(True), call backward() on the loss, update under "
            "torch.no_grad().",
        ),
    ),
    Exercise(
        "resume",
        "resume(state, batches, lr) continues a training run that was stopped, and returns its state at the "
        "end. A state is a tuple (step, w, m): the number of batches done, the weights and the momentum. "
        "`batches` is the list of all batches, including those that are done. For each remaining batch b, "
        "the gradient is b * w (elementwise); then m = 0.9 * m + gradient, and then w = w - lr * m. Do not "
        "change w and m in place.",
        _resume,
        lambda: [((2, noise(1, 3), noise(2, 3)), [noise(i, 3) for i in range(3, 9)], 0.1)],
        (
            Mistake(
                "momentum not restored",
                "the momentum starts at zero",
                "A checkpoint also stores the optimizer's state. Continue with the momentum m of the state.",
                partial(_resume, moments=False),
            ),
            Mistake(
                "batches read again",
                "the batches before the checkpoint are used a second time",
                "The first remaining batch is batches[step].",
                partial(_resume, skip=False),
            ),
            Mistake(
                "step not advanced",
                "the step in the new state is the old step",
                "Return the number of batches that are done now. Otherwise the next resume repeats them.",
                partial(_resume, count=False),
            ),
        ),
        ("A resumed run must end with the same weights as a run that was never stopped.",),
    ),
)
