"""Sample the arguments of hidden tests: text, tokens and decoding."""

from math import log
from random import Random
from string import ascii_lowercase

from llmguide.exercises.definition import Arguments
from llmguide.exercises.evaluation.perplexity import better_with_context
from llmguide.exercises.samplers.values import Sampler, integers, letters, normal


def _follows(random: Random) -> Arguments:
    text, n = letters(random, "abc ", 30, 40), random.randint(1, 2)
    start = random.randrange(len(text) - n)  # so the context is followed by a character at least once
    return text, text[start : start + n], random.choice("abc")


def _bpe_train(random: Random) -> Arguments:
    """Sample words without repeated letters, in which no occurrences of a pair overlap."""
    words = {"".join(random.sample("abcdefgh", 6)).encode(): random.randint(1, 9) for _ in range(5)}
    return words, random.randint(2, 4)


def _bpe_encode(random: Random) -> Arguments:
    piece = "".join(random.sample(ascii_lowercase, 9)).encode()
    parts = [piece[i:j] for i in range(len(piece)) for j in range(i + 2, min(i + 4, len(piece)) + 1)]
    learned = sorted(random.sample(parts, 9), key=len)
    single = [bytes([i]) for i in random.sample(range(256), 256)]
    return piece, {token: i for i, token in enumerate([*single, *learned])}


def _merges(random: Random) -> list[tuple[int, int]]:
    ids, merges = [*"abé ".encode()], dict[tuple[int, int], None]()
    while len(merges) < 6:
        pair = (random.choice(ids), random.choice(ids))
        if pair not in merges:
            merges[pair] = None
            ids.append(255 + len(merges))
    return list(merges)


def _sliding_perplexity(random: Random) -> Arguments:
    context = random.randint(3, 10)
    return (
        better_with_context,
        integers(random, random.randint(2, 40), 0, 10),
        context,
        random.randrange(1, context),
    )


def _fit_law(random: Random) -> Arguments:
    sizes = sorted(10 ** random.uniform(5, 10) for _ in range(random.randint(3, 6)))
    floor, scale, exponent = random.uniform(1, 2), random.uniform(1, 3), random.uniform(0.1, 0.3)
    losses = [floor + scale * (size / 1e6) ** -exponent * random.uniform(0.95, 1.05) for size in sizes]
    return sizes, losses, floor, 10 ** random.uniform(10, 12)


def _wordpiece(random: Random) -> Arguments:
    parts = [letters(random, "abc", 1, 3) for _ in range(24)]
    vocabulary = {
        *parts[:8],
        *(f"##{part}" for part in parts[8:]),
        *random.sample(["a", "b", "##a", "##b", "##c"], 4),
    }
    return letters(random, "abc", 0, 9), frozenset(vocabulary)


def _unigram(random: Random) -> Arguments:
    """Sample a word without repeated letters, of which no two segmentations have the same tokens."""
    word = "".join(random.sample("abcdefghij", random.randint(4, 9)))
    tokens = [
        *word,
        *(word[i : i + n] for n in (2, 3, 4) for i in range(len(word) - n + 1) if random.random() < 0.6),
    ]
    if random.random() < 0.3:
        left_out = random.choice(word)
        tokens = [token for token in tokens if left_out not in token]
    return word, {token: random.uniform(-3, -1) * len(token) ** 0.7 for token in tokens}


def _speculative(random: Random) -> Arguments:
    k, V = random.randint(1, 4), random.randint(3, 6)
    q, p = (normal(random, n * V).view(n, V).softmax(-1) for n in (k, k + 1))
    return integers(random, k, 0, V - 1), q, p, [random.random() for _ in range(k + 1)]


def _beam_search(random: Random) -> Arguments:
    """Sample a model whose probabilities depend on the whole text, so that there are no ties."""
    salt = random.getrandbits(32)

    def next_logprobs(text: tuple[str, ...]) -> dict[str, float]:
        own = Random(f"{salt} {text}")
        weights = {token: own.uniform(0.05, 1) for token in "xyz."}
        return {token: log(weight / sum(weights.values())) for token, weight in weights.items()}

    return next_logprobs, random.randint(1, 4), random.randint(2, 5), random.choice((0.0, 0.7, 1.0, 2.0))


SAMPLERS: dict[str, Sampler] = {
    "follows": _follows,
    "smooth": lambda r: (r.randint(0, 9), r.randint(9, 40), r.uniform(0.01, 2), r.randint(2, 99)),
    "bits": lambda r: ([r.uniform(0.01, 1) for _ in range(r.randint(1, 6))],),
    "bpe-train": _bpe_train,
    "bpe-encode": _bpe_encode,
    "encode": lambda r: (letters(r, "abé ", 5, 30), _merges(r)),
    "decode": lambda r: (integers(r, r.randint(1, 20), 0, 261), _merges(r)),
    "sliding-perplexity": _sliding_perplexity,
    "fit-law": _fit_law,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
    "speculative": _speculative,
    "beam-search": _beam_search,
}
