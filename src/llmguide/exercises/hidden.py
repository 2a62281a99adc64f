"""Hidden tests: the test calls of an exercise with inputs that are sampled for one student.

The tests of an exercise are public, because the package contains them. An answer can store what they expect,
or treat their inputs as special cases. In a class, a right answer passes the hidden tests as well. If the
public tests sample their inputs, the hidden ones sample them with another seed. For exercises whose public
inputs were chosen by hand, `SAMPLERS` samples arguments for which the task leaves one right result.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from string import ascii_lowercase
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.comparing import same
from llmguide.exercises.grading import Arguments, Exercise, shifted_seeds

_N_CALLS = 5
_BEYOND = 1000  # the seeds of the public tests are smaller
_TOLERANCE = 1e-3  # ten times that of public tests, because nobody has looked at these inputs


def with_hidden_tests(asked: Exercise, seed: int) -> Exercise:
    """Return an exercise whose test inputs depend on a seed.

    >>> from llmguide.exercises import exercise
    >>> first, second = (with_hidden_tests(exercise("bits"), seed).probes() for seed in (1, 2))
    >>> first == second
    False
    """

    def probes() -> Sequence[Arguments]:
        if sample := SAMPLERS.get(asked.name):
            random = Random(seed)
            return [sample(random) for _ in range(_N_CALLS)]
        with shifted_seeds(_BEYOND + seed):
            return asked.probes()

    accept = partial(same, tolerance=_TOLERANCE) if asked.accept is same else asked.accept
    return replace(asked, probes=probes, accept=accept)


# ---- values ------------------------------------------------------------------------------------------------


def _integers(random: Random, n: int, low: int, high: int) -> list[int]:
    return [random.randint(low, high) for _ in range(n)]


def _letters(random: Random, letters: str, low: int, high: int) -> str:
    return "".join(random.choices(letters, k=random.randint(low, high)))


def _normal(random: Random, n: int) -> Tensor:
    return torch.tensor([random.gauss() for _ in range(n)])


# ---- arguments ---------------------------------------------------------------------------------------------


def _follows(random: Random) -> Arguments:
    text, n = _letters(random, "abc ", 30, 40), random.randint(1, 2)
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
    return piece, {token: i for i, token in enumerate([*(bytes([i]) for i in range(256)), *learned])}


def _causal_mask(random: Random) -> Arguments:
    n_keys = random.randint(1, 9)
    return random.randint(1, n_keys), n_keys


def _sliding_window(random: Random) -> Arguments:
    length = random.randint(2, 9)
    return length, random.randint(1, length)


def _accumulate(random: Random) -> Arguments:
    n = random.randint(2, 5)
    return _normal(random, n).abs(), torch.tensor(_integers(random, n, 1, 50))


def _warmup_cosine(random: Random) -> Arguments:
    n_warmup = random.randint(2, 10)
    n_steps = n_warmup + random.randint(2, 30)
    return random.randint(1, n_steps + 3), n_steps, n_warmup, random.uniform(0, 0.5)


def _similarity(random: Random) -> Arguments:
    first, second = (list(_letters(random, "abcd", 8, 12)) for _ in range(2))
    return first, second, random.randint(1, 3)


def _packed_positions(random: Random) -> Arguments:
    documents = sorted(random.sample(range(20), 4))
    return ([document for document in documents for _ in range(random.randint(1, 5))],)


def _turn_mask(random: Random) -> Arguments:
    roles = ["user", "assistant"] * random.randint(1, 3)
    return ([(role, _integers(random, random.randint(1, 4), 10, 99)) for role in roles],)


def _ppo_clip(random: Random) -> Arguments:
    return _normal(random, 6), _normal(random, 6), _normal(random, 6), random.uniform(0.1, 0.3)


def _restored(random: Random) -> Arguments:
    corrupted = random.uniform(-2, 2)
    return random.uniform(-4, 4), corrupted + random.choice((-1, 1)) * random.uniform(1, 4), corrupted


def _config_params(random: Random) -> Arguments:
    n_kv_heads, group = random.choice((1, 2, 4)), random.choice((1, 2, 3))
    config = {
        "hidden_size": n_kv_heads * group * 16 * random.randint(1, 8),
        "intermediate_size": random.randint(64, 4096),
        "num_hidden_layers": random.randint(1, 40),
        "num_attention_heads": n_kv_heads * group,
        "num_key_value_heads": n_kv_heads,
        "vocab_size": random.randint(100, 100_000),
        "tie_word_embeddings": random.random() < 0.5,
    }
    return (config,)


def _expert_params(random: Random) -> Arguments:
    n_experts = random.randint(2, 64)
    return (*_integers(random, 2, 10, 10**9), n_experts, random.randint(1, n_experts))


def _cache_bytes(random: Random) -> Arguments:
    n_kv_heads = random.randint(1, 8)
    n_heads = n_kv_heads * random.randint(1, 8)
    return random.randint(1, 80), n_heads, n_kv_heads, random.choice((64, 96, 128)), random.randint(1, 9999)


def _fill_in_the_middle(random: Random) -> Arguments:
    text = _letters(random, ascii_lowercase + " ", 10, 30)
    start, end = sorted(random.sample(range(1, len(text)), 2))
    return text, start, end


def _pass_at_k(random: Random) -> Arguments:
    n = random.randint(2, 30)
    return n, random.randint(0, n), random.randint(1, n)


def _same_output(random: Random) -> Arguments:
    expected = "\n".join(f"{a} {b}" for a, b in (_integers(random, 2, 1, 99) for _ in range(3)))
    changes = (("\n", " \n"), ("\n", "\n\n"), (" ", "  "), ("1", "2"))
    return expected.replace(*random.choice(changes)) + random.choice(("", "\n", " ")), expected


def _first_true(random: Random) -> Arguments:
    threshold, low = _integers(random, 2, -20, 20)

    def is_large(x: int) -> bool:
        return x >= threshold

    return low, low + random.randint(0, 30), is_large


def _is_search_tree(random: Random) -> Arguments:
    items = sorted(random.sample(range(50), random.randint(3, 8)))
    if random.random() < 0.5:
        i, j = random.sample(range(len(items)), 2)
        items[i], items[j] = items[j], items[i]

    def tree(part: list[int]) -> Any:
        if not part:
            return None
        i = random.randrange(len(part))
        return tree(part[:i]), part[i], tree(part[i + 1 :])

    return (tree(items),)


def _extract_code(random: Random) -> Arguments:
    blocks = [
        f"Version {i}:\n```python\ndef {random.choice('fgh')}(x):\n    return {random.randint(1, 9)}\n```\n"
        for i in range(random.randint(1, 4))
    ]
    return "".join(blocks), random.choice("fgh")


def _vote(random: Random) -> Arguments:
    rows: list[list[int | None]] = [[*_integers(random, 2, 0, 1)] for _ in range(random.randint(3, 7))]
    return ([[None, None] if random.random() < 0.2 else row for row in rows],)


def _refine(random: Random) -> Arguments:
    texts = [_letters(random, ascii_lowercase, 3, 9) for _ in range(5)]
    messages = [{"role": "user", "content": texts[0]}]
    if random.random() < 0.5:
        messages += [{"role": "assistant", "content": texts[1]}, {"role": "user", "content": texts[2]}]
    return messages, texts[3], texts[4]


def _solve(random: Random) -> Arguments:
    answers = random.choices("abcdefgh", k=6)
    right = random.choice("abcdefgh")

    def ask(failed: Sequence[str]) -> str:
        return answers[len(failed)]

    def passes(answer: str) -> bool:
        return answer == right

    return ask, passes, random.randint(1, 6)


def _merges(random: Random) -> list[tuple[int, int]]:
    ids, merges = [*"abé ".encode()], dict[tuple[int, int], None]()
    while len(merges) < 6:
        pair = (random.choice(ids), random.choice(ids))
        if pair not in merges:
            merges[pair] = None
            ids.append(255 + len(merges))
    return list(merges)


SAMPLERS: dict[str, Callable[[Random], Arguments]] = {
    "follows": _follows,
    "smooth": lambda r: (r.randint(0, 9), r.randint(9, 40), r.uniform(0.01, 2), r.randint(2, 99)),
    "bits": lambda r: ([r.uniform(0.01, 1) for _ in range(r.randint(1, 6))],),
    "times-more": lambda r: (r.uniform(0.03, 0.6), r.uniform(0.05, 0.6)),
    "bpe-train": _bpe_train,
    "bpe-encode": _bpe_encode,
    "count-parameters": lambda r: (
        r.randint(99, 60_000),
        r.randint(8, 999),
        r.randint(1, 48),
        r.randint(8, 999),
    ),
    "causal-mask": _causal_mask,
    "sliding-window": _sliding_window,
    "accumulate": _accumulate,
    "warmup-cosine": _warmup_cosine,
    "similarity": _similarity,
    "match-probability": lambda r: (r.uniform(0.3, 0.95), r.randint(1, 20), r.randint(1, 10)),
    "packed-positions": _packed_positions,
    "chinchilla": lambda r: (10 ** r.uniform(18, 25),),
    "worth": lambda r: (10 ** r.uniform(2, 11), float(r.randint(1, 50))),
    "mfu": lambda r: (r.uniform(1e8, 1e11), r.uniform(1e9, 1e13), r.uniform(1e5, 1e7), r.uniform(1e14, 2e15)),
    "sft-targets": lambda r: (_integers(r, r.randint(1, 5), 3, 99), _integers(r, r.randint(1, 5), 3, 99)),
    "turn-mask": _turn_mask,
    "ppo-clip": _ppo_clip,
    "lora-params": lambda r: (
        [(r.randint(8, 4096), r.randint(8, 4096)) for _ in range(r.randint(1, 4))],
        r.randint(1, 64),
    ),
    "restored": _restored,
    "config-params": _config_params,
    "expert-params": _expert_params,
    "cache-bytes": _cache_bytes,
    "fill-in-the-middle": _fill_in_the_middle,
    "pass-at-k": _pass_at_k,
    "same-output": _same_output,
    "second-largest": lambda r: (_integers(r, r.randint(0, 6), -4, 4),),
    "first-true": _first_true,
    "longest-without-repeat": lambda r: (_letters(r, "abcdef", 0, 16),),
    "coin-change": lambda r: (r.sample(range(1, 12), 3), r.randint(0, 40)),
    "count-subarrays": lambda r: (_integers(r, r.randint(0, 10), -2, 2), r.randint(-3, 3)),
    "is-search-tree": _is_search_tree,
    "extract-code": _extract_code,
    "vote": _vote,
    "refine": _refine,
    "solve": _solve,
    "encode": lambda r: (_letters(r, "abé ", 5, 30), _merges(r)),
    "decode": lambda r: (_integers(r, r.randint(1, 20), 0, 261), _merges(r)),
}
