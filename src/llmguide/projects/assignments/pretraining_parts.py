"""Parts of the pre-training assignments that no chapter has as an exercise."""

from collections.abc import Callable, Sequence
from functools import partial
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise

# ---- characters ------------------------------------------------------------------------------------


def _encode(text: str, characters: str, *, unknown: int = 1, first: int = 2) -> list[int]:
    return [characters.index(c) + first if c in characters else unknown for c in text]


def _encode_and_drop(text: str, characters: str) -> list[int]:
    return [characters.index(c) + 2 for c in text if c in characters]


def _decode(ids: Sequence[int], characters: str, *, first: int = 2, shown: bool = True) -> str:
    special = {0: "", 1: "\N{REPLACEMENT CHARACTER}" if shown else ""}
    return "".join(special[i] if i in special else characters[(i - first) % len(characters)] for i in ids)


# ---- a block ---------------------------------------------------------------------------------------


def _rms(x: Tensor) -> Tensor:
    return x * (x.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt()


def _attend(x: Tensor, W_qkv: Tensor, W_o: Tensor, n_heads: int, *, causal: bool, scale: float) -> Tensor:
    B, T, D = x.shape
    q, k, v = (x @ W_qkv).view(B, T, 3, n_heads, D // n_heads).permute(2, 0, 3, 1, 4)
    scores = q @ k.mT * scale
    if causal:
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
    out: Tensor = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, T, D) @ W_o
    return out


def _block(  # noqa: PLR0917  # the signature of the exercise
    x: Tensor,
    W_qkv: Tensor,
    W_o: Tensor,
    W_up: Tensor,
    W_down: Tensor,
    n_heads: int,
    *,
    causal: bool = True,
    residual: bool = True,
    parallel: bool = False,
    post: bool = False,
    by_width: bool = False,
) -> Tensor:
    """Compute a pre-norm block, with switches for the mistakes."""
    before = (lambda x: x) if post else _rms
    after = _rms if post else (lambda x: x)
    scale = (x.shape[-1] if by_width else x.shape[-1] // n_heads) ** -0.5
    attended = _attend(before(x), W_qkv, W_o, n_heads, causal=causal, scale=scale)
    middle = after(x + attended) if residual else after(attended)
    fed = F.gelu(before(x if parallel else middle) @ W_up) @ W_down
    return after(middle + fed) if residual else after(fed)


def _block_probes() -> list[Arguments]:
    shapes = ((12, 36), (12, 12), (12, 20), (20, 12))
    return [(noise(0, 2, 5, 12), *(0.4 * noise(i, *shape) for i, shape in enumerate(shapes, 1)), 3)]


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


# ---- measures and data -----------------------------------------------------------------------------


def _bits_per_byte(nats: float, text: str) -> float:
    return nats / log(2) / len(text.encode())


def _trainable(
    names: Sequence[str], n_layers: int, *, embeddings: bool = False, upper: bool = True
) -> list[str]:
    """List the parameters that are not frozen, with switches for the mistakes."""

    def is_trained(name: str) -> bool:
        first, *rest = name.split(".")
        if first == "blocks":
            return (int(rest[0]) >= n_layers // 2) == upper
        return embeddings or first != "tokens"

    return [name for name in names if is_trained(name)]


def _rank_batch(
    order: Sequence[int],
    step: int,
    batch_size: int,
    rank: int,
    world: int,
    *,
    per_step: bool = True,
    by_rank: bool = True,
    shuffled: bool = True,
) -> list[int]:
    """List the examples of one process, with switches for the mistakes."""
    start = step * batch_size * (world if per_step else 1) + batch_size * rank * by_rank
    rows = range(start, start + batch_size)
    return [order[i] for i in rows] if shuffled else list(rows)


def _choose(logprobs: Sequence[float], n_bytes: Sequence[int], *, power: float = 1.0, sign: int = 1) -> int:
    scores = [sign * logprob / n**power for logprob, n in zip(logprobs, n_bytes, strict=True)]
    return scores.index(max(scores))


def _extrapolate(c1: float, loss1: float, c2: float, loss2: float, c: float) -> float:
    slope: float = log(loss2 / loss1) / log(c2 / c1)
    predicted: float = loss2 * (c / c2) ** slope
    return predicted


PRETRAINING = (
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
        "block",
        "block(x, W_qkv, W_o, W_up, W_down, n_heads): a pre-norm Transformer block, for x of shape (B, T, "
        "D). "
        "Compute y = x + attention(norm(x)), then y + GELU(norm(y) @ W_up) @ W_down. norm is RMSNorm with "
        "eps "
        "1e-5 under the root and no weight. attention is causal: norm(x) @ W_qkv has the queries, keys and "
        "values of all heads side by side, D numbers each, and each head is a run of D / n_heads of them. "
        "The heads' outputs are concatenated and multiplied by W_o.",
        _block,
        _block_probes,
        (
            Mistake(
                "mask forgotten",
                "positions attend to future positions",
                "Set the scores above the diagonal to -inf before the softmax.",
                partial(_block, causal=False),
            ),
            Mistake(
                "residual connection forgotten",
                "the output of a sublayer replaces the residual stream",
                "Each sublayer is added to its input.",
                partial(_block, residual=False),
            ),
            Mistake(
                "sublayers in parallel",
                "the feed-forward layer reads the block's input instead of the attention's result",
                "The second sublayer reads the residual stream after the first.",
                partial(_block, parallel=True),
            ),
            Mistake(
                "post-norm",
                "the norm is applied after the addition",
                "Normalize the input of each sublayer, and leave the residual stream alone.",
                partial(_block, post=True),
            ),
            Mistake(
                "scaled by the model width",
                "the scores are divided by sqrt(D)",
                "A dot product has as many terms as a head is wide: D / n_heads.",
                partial(_block, by_width=True),
            ),
            Mistake(
                "one head",
                "the heads are not split",
                "Reshape to (B, T, n_heads, D / n_heads), and move the heads before T.",
                lambda x, W_qkv, W_o, W_up, W_down, n_heads: _block(x, W_qkv, W_o, W_up, W_down, 1),
            ),
        ),
        ("Write attention first, and test it with your causal_mask and split_heads.",),
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
    Exercise(
        "bits-per-byte",
        "bits_per_byte(nats, text): bits per UTF-8 byte of a text, from its negative log-likelihood in nats, "
        "summed over its tokens.",
        _bits_per_byte,
        lambda: [(12.5, "na\u00efve \u4e2d"), (3.0, "plain")],
        (
            Mistake(
                "nats for bits",
                "the result is in nats",
                "A bit is ln 2 nats.",
                lambda nats, text: nats / len(text.encode()),
            ),
            Mistake(
                "per character",
                "the sum is divided by the number of characters",
                "A character of UTF-8 has one to four bytes: len(text.encode()).",
                lambda nats, text: nats / log(2) / len(text),
            ),
            Mistake(
                "multiplied by ln 2",
                "the nats are multiplied by ln 2",
                "One nat is 1.44 bits: divide.",
                lambda nats, text: nats * log(2) / len(text.encode()),
            ),
        ),
        ("nats / ln 2 / bytes",),
    ),
    Exercise(
        "freeze",
        "trainable(names, n_layers): the parameter names that stay trainable if the embeddings (names that "
        "begin with 'tokens.') and the lower half of the blocks ('blocks.0.' and so on; n_layers // 2 of "
        "them) are frozen, in the given order.",
        _trainable,
        lambda: [
            (
                [
                    "tokens.weight",
                    *(f"blocks.{i}.up.weight" for i in range(12)),
                    "norm.weight",
                    "head.weight",
                ],
                12,
            ),
            (["tokens.weight", "blocks.0.q", "blocks.1.q", "blocks.2.q", "head.weight"], 3),
        ],
        (
            Mistake(
                "embeddings trained",
                "the embeddings stay trainable",
                "Freeze what is below the first trained block, too.",
                partial(_trainable, embeddings=True),
            ),
            Mistake(
                "upper half frozen",
                "the upper half of the blocks is frozen",
                "The lower layers are kept, because they are the more general ones.",
                partial(_trainable, upper=False),
            ),
            Mistake(
                "numbers compared as text",
                "block 10 is taken for a lower one than block 6",
                "Convert the number to int: as texts, '10' < '6'.",
                lambda names, n_layers: [
                    name
                    for name in names
                    if not name.startswith("tokens.")
                    and (not name.startswith("blocks.") or name.split(".")[1] >= str(n_layers // 2))
                ],
            ),
        ),
        ("name.split('.')[1] is the number of the block, as text.",),
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
        "rank-batch",
        "rank_batch(order, step, batch_size, rank, world): the examples that one of `world` processes "
        "reads in "
        "a step. `order` is the shuffled order of all examples. Each step takes the next world * batch_size "
        "of them; rank 0 gets the first batch_size, rank 1 the next ones, and so on.",
        _rank_batch,
        lambda: [
            (torch.randperm(24, generator=torch.Generator().manual_seed(0)).tolist(), *rest)
            for rest in ((0, 3, 1, 2), (2, 2, 2, 4))
        ],
        (
            Mistake(
                "same data on all ranks",
                "every process reads the same examples",
                "With equal data, more processes do not see more text. Offset by rank * batch_size.",
                partial(_rank_batch, by_rank=False),
            ),
            Mistake(
                "steps overlap",
                "a step begins where the first process stopped, so that ranks repeat each other's examples",
                "A step uses world * batch_size examples.",
                partial(_rank_batch, per_step=False),
            ),
            Mistake(
                "not shuffled",
                "positions are returned instead of the examples at these positions",
                "Look them up in `order`.",
                partial(_rank_batch, shuffled=False),
            ),
        ),
        ("start = step * world * batch_size + rank * batch_size",),
    ),
    Exercise(
        "choose-continuation",
        "choose(logprobs, n_bytes): the index of the continuation that a model chooses in a benchmark such "
        "as HellaSwag: the one with the highest log-probability per byte.",
        _choose,
        lambda: [([-10.0, -12.0, -9.0], [10, 30, 5]), ([-4.0, -9.0], [2, 9]), ([-3.0, -5.0], [9, 10])],
        (
            Mistake(
                "not normalized",
                "the total log-probabilities are compared",
                "A longer text has a lower total. Divide by its length.",
                partial(_choose, power=0.0),
            ),
            Mistake(
                "least likely",
                "the lowest log-probability per byte wins",
                "Log-probabilities are negative; the highest is the one nearest to 0.",
                partial(_choose, sign=-1),
            ),
        ),
        ("max over logprob / n",),
    ),
    Exercise(
        "extrapolate-loss",
        "extrapolate(c1, loss1, c2, loss2, c): the loss that the power law loss = a * compute ** -b "
        "through two runs predicts at compute c.",
        _extrapolate,
        lambda: [(1e15, 4.0, 4e15, 3.5, 1.6e16), (1e18, 3.2, 1e19, 2.9, 1e22)],
        (
            Mistake(
                "straight line in the compute",
                "the loss falls by the same amount per FLOP",
                "A power law is a straight line between the logarithms of both.",
                lambda c1, loss1, c2, loss2, c: loss2 + (loss2 - loss1) * (c - c2) / (c2 - c1),
            ),
            Mistake(
                "straight line in log compute",
                "the logarithm of the compute is taken, but not that of the loss",
                "Take both logarithms.",
                lambda c1, loss1, c2, loss2, c: loss2 + (loss2 - loss1) * log(c / c2) / log(c2 / c1),
            ),
            Mistake(
                "sign of the exponent",
                "the loss rises with compute",
                "The slope log(loss2 / loss1) / log(c2 / c1) is negative.",
                lambda c1, loss1, c2, loss2, c: loss2 * (c / c2) ** (-log(loss2 / loss1) / log(c2 / c1)),
            ),
        ),
        ("The slope between the two points on log-log paper is -b.",),
    ),
)
