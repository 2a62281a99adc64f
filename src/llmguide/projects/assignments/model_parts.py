"""Parts of the assignments that build and train a model: characters and loops."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.grading import Exercise, Mistake, noise

# ---- characters ------------------------------------------------------------------------------------


def _encode(text: str, characters: str, *, unknown: int = 1, first: int = 2) -> list[int]:
    return [characters.index(c) + first if c in characters else unknown for c in text]


def _encode_and_drop(text: str, characters: str) -> list[int]:
    return [characters.index(c) + 2 for c in text if c in characters]


def _decode(ids: Sequence[int], characters: str, *, first: int = 2, shown: bool = True) -> str:
    special = {0: "", 1: "\N{REPLACEMENT CHARACTER}" if shown else ""}
    return "".join(special[i] if i in special else characters[(i - first) % len(characters)] for i in ids)


# ---- training and generation -----------------------------------------------------------------------

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
    """Continue momentum SGD, with switches for the mistakes."""
    step, w, m = state
    m = m if moments else torch.zeros_like(m)
    for batch in batches[step if skip else 0 :]:
        m = 0.9 * m + batch * w
        w = w - lr * m
    return len(batches) if count else step, w, m


def _toy_model(ids: Tensor) -> Tensor:
    """Return logits that depend on the number of tokens and on the last two of them."""
    if ids.shape[1] > 4:
        raise ValueError(f"{ids.shape[1]} tokens are more than the context of 4")
    table = noise(7, 5, 5)
    previous = F.pad(ids[:, :-1], (1, 0))
    return table[ids] + 0.5 * table.T[previous] + 0.1 * ids.shape[1] * table[ids].flip(-1)


def _generate(
    model: Callable[[Tensor], Tensor],
    ids: Tensor,
    n: int,
    context: int,
    *,
    at: int = -1,
    with_prompt: bool = True,
    keep: Callable[[Tensor, int], Tensor] = lambda ids, context: ids[:, -context:],
) -> Tensor:
    """Decode greedily, with switches for the mistakes."""
    start = ids.shape[1]
    for _ in range(n):
        chosen = model(keep(ids, context))[:, at].argmax(dim=-1)
        ids = torch.cat([ids, chosen[:, None]], dim=1)
    return ids if with_prompt else ids[:, start:]


MODEL_PARTS = (
    Exercise(
        "character-encode",
        "encode(text, characters): the token ids of a text, one for each character. `characters` is the "
        "vocabulary as a string: its first character has id 2, the next one 3. Id 0 starts a text and is not "
        "used here; id 1 is any character that is not in the vocabulary.",
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
                "Every character has exactly one id; an unknown one has id 1.",
                _encode_and_drop,
            ),
            Mistake(
                "unknown is the start token",
                "an unknown character has id 0",
                "Id 0 marks the start of a text. A model that sees it in the middle forgets what came "
                "before.",
                partial(_encode, unknown=0),
            ),
        ),
        ("A dictionary from character to id is faster than searching the string.",),
    ),
    Exercise(
        "character-decode",
        "decode(ids, characters): the text of token ids, the inverse of encode. Id 0 becomes nothing, and "
        "id 1 the replacement character '\\ufffd'.",
        _decode,
        lambda: [([2, 3, 3, 2], "abc"), ([0, 2, 1, 4], "abc")],
        (
            Mistake(
                "special ids forgotten",
                "id 2 is taken for the third character",
                "Subtract 2: the first character of the vocabulary has id 2.",
                partial(_decode, first=0),
            ),
            Mistake(
                "unknown characters dropped",
                "id 1 becomes nothing",
                "A reader must see that a character is missing: use '\\ufffd'.",
                partial(_decode, shown=False),
            ),
        ),
        ("Put the two special texts in front of the list of characters.",),
    ),
    Exercise(
        "train-loop",
        "train(w, batches, loss, lr): the parameters after one step of gradient descent on each batch, in "
        "order: w - lr * gradient of loss(w, batch). Do not change w itself.",
        _train,
        lambda: [(noise(1, 3), [noise(i, 4, 3) for i in range(2, 6)], _squared, 0.1)],
        (
            Mistake(
                "gradients not zeroed",
                "each step uses the sum of all gradients so far",
                "backward() adds to .grad: set it to None, or call optimizer.zero_grad(), in each step.",
                partial(_train, zero=False),
            ),
            Mistake(
                "gradient ascent",
                "the gradient is added",
                "The loss should fall: subtract lr times the gradient.",
                partial(_train, sign=1.0),
            ),
            Mistake(
                "one step for all batches",
                "all gradients are computed at the first parameters",
                "Update after every batch, and compute the next gradient at the new parameters.",
                _train_on_one_gradient,
            ),
            Mistake(
                "last batch left out",
                "the last batch is not used",
                "One step for each batch.",
                lambda w, batches, loss, lr: _train(w, batches[:-1], loss, lr),
            ),
        ),
        ("w.clone().requires_grad_(True), loss.backward(), an update under torch.no_grad().",),
    ),
    Exercise(
        "resume",
        "resume(state, batches, lr): continue a training that was stopped. state is (step, w, m): the "
        "batches "
        "done, the weights, and the momentum. For each remaining batch b, the gradient is b * w; then "
        "m = 0.9 m + gradient and w = w - lr * m. Return the state at the end.",
        _resume,
        lambda: [((2, noise(1, 3), noise(2, 3)), [noise(i, 3) for i in range(3, 9)], 0.1)],
        (
            Mistake(
                "momentum not restored",
                "the momentum starts at zero",
                "A checkpoint holds the optimizer's state, too, and resuming uses it.",
                partial(_resume, moments=False),
            ),
            Mistake(
                "batches read again",
                "the batches before the checkpoint are used a second time",
                "Start with batches[step].",
                partial(_resume, skip=False),
            ),
            Mistake(
                "step not advanced",
                "the step in the new state is the old one",
                "The next resume would repeat what this one did.",
                partial(_resume, count=False),
            ),
        ),
        ("A resumed run must end with the same weights as one that was never stopped.",),
    ),
    Exercise(
        "generate-ids",
        "generate_ids(model, ids, n, context): append n tokens to ids (B, T), each the most likely one after "
        "all tokens before it. model(ids) returns logits (B, T, V), and takes at most `context` tokens: "
        "give it the last ones.",
        _generate,
        lambda: [
            (_toy_model, torch.tensor([[1, 2], [3, 0]]), 6, 4),
            (_toy_model, torch.tensor([[4, 4, 2, 1, 0]]), 3, 4),
        ],
        (
            Mistake(
                "first position instead of last",
                "the logits of the first position are used",
                "Position t predicts token t + 1, so the last position predicts the new token.",
                partial(_generate, at=0),
            ),
            Mistake(
                "prompt left out",
                "only the new tokens are returned",
                "Return the prompt and the new tokens.",
                partial(_generate, with_prompt=False),
            ),
            Mistake(
                "first tokens kept",
                "the context is cut at the end, so the model stops seeing what it wrote",
                "Keep the last `context` tokens: ids[:, -context:].",
                partial(_generate, keep=lambda ids, context: ids[:, :context]),
            ),
            Mistake(
                "one token of context",
                "the model sees only the last token",
                "Give it all tokens, up to its context.",
                partial(_generate, keep=lambda ids, _: ids[:, -1:]),
            ),
        ),
        ("torch.cat([ids, new[:, None]], dim=1)",),
    ),
)
