"""The first exercises of the ladder: from text to token ids and back, and from ids to vectors."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake
from llmguide.exercises.ladder.weights import Weights, make_weights

Merges = Sequence[tuple[int, int]]

# he, the, é, aa, " the", "theé", th, ea; th and ea are learned last, so that the order matters
_MERGES: Merges = [(104, 101), (116, 256), (195, 169), (97, 97), (32, 257), (257, 258), (116, 104), (101, 97)]


def _merge(ids: list[int], pair: tuple[int, int], new: int, *, once: bool = False) -> list[int]:
    """Replace a pair of adjacent ids by a new id, from left to right."""
    merged: list[int] = []
    i, done = 0, False
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair and not done:
            merged.append(new)
            i, done = i + 2, once
        else:
            merged.append(ids[i])
            i += 1
    return merged


def encode(
    text: str,
    merges: Merges,
    *,
    characters: bool = False,
    once: bool = False,
    step: int = 1,
    first: int = 256,
) -> list[int]:
    """Encode a text with byte-level BPE, with switches for the mistakes."""
    ids = list(map(ord, text)) if characters else list(text.encode())
    for i, pair in list(enumerate(merges))[::step]:
        ids = _merge(ids, pair, first + i, once=once)
    return ids


def _leftmost(text: str, merges: Merges) -> list[int]:
    ids = list(text.encode())
    ranks = {pair: 256 + i for i, pair in enumerate(merges)}
    while found := [i for i, pair in enumerate(pairwise(ids)) if pair in ranks]:
        i = found[0]
        ids[i : i + 2] = [ranks[ids[i], ids[i + 1]]]
    return ids


def _bytes(merges: Merges, *, swapped: bool = False) -> list[bytes]:
    """Return a table with the bytes of each id."""
    table = [bytes([i]) for i in range(256)]
    for left, right in merges:
        table.append(table[right] + table[left] if swapped else table[left] + table[right])
    return table


def decode(ids: Sequence[int], merges: Merges, *, errors: str = "replace", swapped: bool = False) -> str:
    """Decode token ids to text, with switches for the mistakes."""
    table = _bytes(merges, swapped=swapped)
    return b"".join(table[i] for i in ids).decode(errors=errors)


def embed(
    ids: Tensor,
    weights: Weights,
    start: int = 0,
    *,
    first: int = 0,
    scale: float = 1.0,
    positions: bool = True,
) -> Tensor:
    """Add the token and position embeddings, with switches for the mistakes."""
    tokens: Tensor = scale * weights["tokens"][ids]
    places = torch.arange(start + first, start + first + ids.shape[1])
    return tokens + weights["positions"][places] if positions else tokens


def _embed_probes() -> list[Arguments]:
    weights = make_weights(7, 8, 0, 4)
    ids = torch.tensor([[3, 1, 1, 6], [0, 5, 2, 1]])
    return [(ids, weights), (ids[:, :2], weights, 3)]


_CHARACTERS = Mistake(
    "characters instead of bytes",
    "the initial ids are code points instead of bytes",
    "A byte-level tokenizer starts from the UTF-8 bytes. The character é has two of them.",
    partial(encode, characters=True),
)

EXERCISES = (
    Exercise(
        "encode",
        "encode(text, merges) returns the list of token ids of a text, by byte-level BPE. Ids below 256 are "
        "the bytes of the text in UTF-8. `merges` is a list of pairs of ids in the order in which they were "
        "learned; pair number i, counted from 0, is replaced by the id 256 + i. Where occurrences of a pair "
        "overlap, as those of (97, 97) in 97, 97, 97, the leftmost is replaced. There is no "
        "pre-tokenization.",
        encode,
        lambda: [("the theé heath, baaa: theaé", _MERGES), ("thé", _MERGES), ("", _MERGES)],
        (
            _CHARACTERS,
            Mistake(
                "last merge first",
                "the merges are applied in the reverse order",
                "Apply the merge that was learned first before the others. Later merges can contain the ids "
                "of earlier ones.",
                partial(encode, step=-1),
            ),
            Mistake(
                "leftmost pair first",
                "the leftmost pair that is in the list is merged, whatever its rank",
                "Merge the pair that was learned first, wherever it is in the text.",
                _leftmost,
            ),
            Mistake(
                "each merge once",
                "each pair is merged at its first occurrence only",
                "Replace every occurrence of the pair in the text.",
                partial(encode, once=True),
            ),
            Mistake(
                "ids off by one",
                "the first merge gets the id 257",
                "The ids 0 to 255 are the bytes, so the first merge gets the id 256.",
                partial(encode, first=257),
            ),
            Mistake(
                "no merges",
                "the bytes are returned as they are",
                "Replace each pair of `merges` by its id, in order.",
                lambda text, merges: list(text.encode()),
            ),
        ),
        (
            "What are the ids before the first merge?",
            "Apply one merge at a time. Most of the work is a helper function that replaces one pair by one "
            "id in a list.",
            "In the helper function, use an index that moves by 2 after a match and by 1 otherwise.",
        ),
        level="medium",
        minutes=20,
        after="The tokenizers of many models, such as GPT-2 and Llama 3, store such a list of merges. "
        "Replacing pairs in the learned order gives the same ids as repeatedly merging the pair with the "
        "lowest rank, because a merge can only create pairs that were learned after it.",
    ),
    Exercise(
        "decode",
        "decode(ids, merges) returns the text of a list of token ids; `merges` is the same as in encode. The "
        "ids may end in the middle of a character, and their bytes may be invalid UTF-8. Bytes that cannot "
        "be decoded become the replacement character U+FFFD, as in Python's own decoder.",
        decode,
        lambda: [
            (encode("the theé heath, baaa: theaé", _MERGES), _MERGES),
            ([262, 195, 104, 195], _MERGES),
            ([240, 159, 166, 138, 259], _MERGES),
        ],
        (
            Mistake(
                "token by token",
                "each token is decoded on its own",
                "The bytes of one character can belong to several tokens. Join the bytes of all tokens "
                "first.",
                lambda ids, merges: "".join(_bytes(merges)[i].decode(errors="replace") for i in ids),
            ),
            Mistake(
                "invalid bytes dropped",
                "bytes that cannot be decoded are left out",
                "bytes.decode has an argument that sets how errors are handled.",
                partial(decode, errors="ignore"),
            ),
            Mistake(
                "Latin-1 instead of UTF-8",
                "each byte is decoded as one character",
                "The bytes are UTF-8, in which a character can have several bytes.",
                lambda ids, merges: b"".join(_bytes(merges)[i] for i in ids).decode("latin-1"),
            ),
            Mistake(
                "parts swapped",
                "the second part of a merge comes before the first",
                "A merge of (left, right) has the bytes of left followed by the bytes of right.",
                partial(decode, swapped=True),
            ),
            Mistake(
                "merges ignored",
                "ids of 256 and above are left out",
                "An id of 256 or more has the bytes of both ids of its pair, which may be merges themselves.",
                lambda ids, merges: bytes(i for i in ids if i < 256).decode(errors="replace"),
            ),
        ),
        (
            "Which bytes does each id stand for?",
            "Build a table of these bytes once, in the order of the merges. Both ids of a pair are in the "
            "table before the pair is added.",
            "Join all bytes first, and decode once at the end.",
        ),
        level="warm-up",
        minutes=10,
        after="Decoding the ids of a text gives back the text, but not every list of ids is valid text: a "
        "model can stop in the middle of a character. Programs that stream tokens hold back the bytes of an "
        "incomplete character until it is complete.",
    ),
    Exercise(
        "embed",
        "embed(ids, weights, start=0) returns the vectors (B, T, D) that enter the first layer of GPT-2. "
        "`ids` is (B, T). weights['tokens'] (V, D) has a row for each token of the vocabulary, and "
        "weights['positions'] has a row for each position, counted from 0. `start` is the position of the "
        "first token of each row of `ids`.",
        embed,
        _embed_probes,
        (
            Mistake(
                "positions forgotten",
                "only the tokens are looked up",
                "Add the position embeddings. From the token embeddings alone, the model can hardly tell "
                "different orders of the same tokens apart.",
                partial(embed, positions=False),
            ),
            Mistake(
                "start ignored",
                "positions always start at 0",
                "With a key/value cache, the model reads only the last tokens of a text, and the position of "
                "the first of them is `start`.",
                lambda ids, weights, start=0: embed(ids, weights),
            ),
            Mistake(
                "positions from 1",
                "the first position is 1",
                "Positions count from 0: the first row of the table belongs to the first token.",
                partial(embed, first=1),
            ),
            Mistake(
                "scaled embeddings",
                "the token embeddings are multiplied by the square root of the width, as in the "
                "Transformer of 2017",
                "GPT-2 adds the two rows without scaling.",
                lambda ids, weights, start=0: embed(ids, weights, start, scale=2.0),
            ),
            Mistake(
                "positions by token id",
                "the position table is indexed by token ids",
                "A position depends on where the token is in its row, not on which token it is.",
                lambda ids, weights, start=0: weights["tokens"][ids] + weights["positions"][ids],
            ),
        ),
        (
            "You can index a table with a tensor of ids. What shape does the result have?",
            "The position vectors have shape (T, D) and are the same for all rows of the batch.",
            "torch.arange gives the positions.",
        ),
        level="warm-up",
        minutes=5,
        after="An embedding is a table lookup. Multiplying one-hot vectors by the table gives the same "
        "numbers, but takes about V times the work.",
    ),
)
