"""Sample the arguments of hidden tests: pre-training, its data and devices, and post-training."""

from random import Random
from string import ascii_lowercase

import torch

from llmguide.exercises.definition import Arguments
from llmguide.exercises.samplers.values import Sampler, integers, letters, normal


def _accumulate(random: Random) -> Arguments:
    n = random.randint(2, 5)
    return normal(random, n).abs(), torch.tensor(integers(random, n, 1, 50))


def _warmup_cosine(random: Random) -> Arguments:
    n_warmup = random.randint(2, 10)
    n_steps = n_warmup + random.randint(2, 30)
    return random.randint(1, n_steps + 3), n_steps, n_warmup, random.uniform(0, 0.5)


def _similarity(random: Random) -> Arguments:
    first, second = (list(letters(random, "abcd", 8, 12)) for _ in range(2))
    return first, second, random.randint(1, 3)


def _packed_positions(random: Random) -> Arguments:
    documents = sorted(random.sample(range(20), 4))
    return ([document for document in documents for _ in range(random.randint(1, 5))],)


def _turn_mask(random: Random) -> Arguments:
    roles = ["user", "assistant"] * random.randint(1, 3)
    return ([(role, integers(random, random.randint(1, 4), 10, 99)) for role in roles],)


def _ppo_clip(random: Random) -> Arguments:
    return normal(random, 6), normal(random, 6), normal(random, 6), random.uniform(0.1, 0.3)


def _warmup_stable_decay(random: Random) -> Arguments:
    n_warmup, n_stable, n_decay = random.randint(2, 9), random.randint(0, 9), random.randint(2, 12)
    n_steps = n_warmup + n_stable + n_decay
    return random.randint(1, n_steps + 2), n_steps, n_warmup, n_decay, random.uniform(0, 0.5)


def _near_duplicates(random: Random) -> Arguments:
    n_bands, rows, n = random.randint(2, 5), random.randint(2, 3), 120
    signatures = [integers(random, n_bands * rows, 0, 10**6) for _ in range(n)]
    for _ in range(8):
        i, j, k = random.sample(range(n), 3)
        start = rows * random.randrange(n_bands)
        signatures[i][start : start + rows] = signatures[j][start : start + rows]
        other = (start + 1) % ((n_bands - 1) * rows)  # not the same place
        signatures[k][other : other + rows] = signatures[j][start : start + rows]
    i, j = random.sample(range(n), 2)
    signatures[i] = [*signatures[j]]
    return signatures, rows


def _best_fit(random: Random) -> Arguments:
    capacity = random.randint(6, 15)
    return integers(random, random.randint(4, 14), 1, capacity), capacity


def _compute_optimal(random: Random) -> Arguments:
    law = {
        "E": random.uniform(1.5, 2),
        "A": random.uniform(400, 500),
        "B": random.uniform(400, 2000),
        "alpha": random.uniform(0.3, 0.38),
        "beta": random.uniform(0.3, 0.38),
    }
    return 10 ** random.uniform(19, 24), law


def _ring_all_reduce(random: Random) -> Arguments:
    P = random.randint(2, 6)
    return ([integers(random, P, 0, 99) for _ in range(P)],)


def _pipeline(random: Random) -> Arguments:
    times = [(random.uniform(0.5, 4), random.uniform(0.5, 4)) for _ in range(random.randint(2, 5))]
    return times, random.randint(2, 8)


def _zero_stage(random: Random) -> Arguments:
    n_params, n_devices = 10 ** random.uniform(8, 11), random.randint(2, 64)
    return n_params, n_devices, n_params * 16 * n_devices ** random.uniform(-1.2, 0.2)


def _pack(random: Random) -> Arguments:
    def example() -> tuple[list[int], list[int]]:
        return integers(random, random.randint(0, 3), 10, 99), integers(random, random.randint(1, 4), 10, 99)

    return [example() for _ in range(random.randint(2, 6))], random.randint(7, 10)


def _ratings(random: Random) -> Arguments:
    n = random.randint(2, 4)
    return ([[0 if i == j else random.randint(1, 30) for j in range(n)] for i in range(n)],)


def _best_of_n(random: Random) -> Arguments:
    n = random.randint(2, 5)
    rewards = torch.tensor(random.choices([-1.0, 0.0, 0.5, 2.0], k=n))
    return normal(random, n).softmax(-1), rewards, random.randint(2, 6)


def _fill_batch(random: Random) -> Arguments:
    groups = [(name, random.choices([0.0, 1.0], k=3)) for name in random.sample(ascii_lowercase, 12)]
    return groups, random.randint(1, 6), random.randint(4, len(groups))


SAMPLERS: dict[str, Sampler] = {
    "times-more": lambda r: (r.uniform(0.03, 0.6), r.uniform(0.05, 0.6)),
    "accumulate": _accumulate,
    "warmup-cosine": _warmup_cosine,
    "similarity": _similarity,
    "match-probability": lambda r: (r.uniform(0.3, 0.95), r.randint(1, 20), r.randint(1, 10)),
    "packed-positions": _packed_positions,
    "chinchilla": lambda r: (10 ** r.uniform(18, 25),),
    "worth": lambda r: (10 ** r.uniform(2, 11), float(r.randint(1, 50))),
    "mfu": lambda r: (r.uniform(1e8, 1e11), r.uniform(1e9, 1e13), r.uniform(1e5, 1e7), r.uniform(1e14, 2e15)),
    "sft-targets": lambda r: (integers(r, r.randint(1, 5), 3, 99), integers(r, r.randint(1, 5), 3, 99)),
    "turn-mask": _turn_mask,
    "ppo-clip": _ppo_clip,
    "lora-params": lambda r: (
        [(r.randint(8, 4096), r.randint(8, 4096)) for _ in range(r.randint(1, 4))],
        r.randint(1, 64),
    ),
    "warmup-stable-decay": _warmup_stable_decay,
    "near-duplicates": _near_duplicates,
    "best-fit": _best_fit,
    "compute-optimal": _compute_optimal,
    "ring-all-reduce": _ring_all_reduce,
    "pipeline": _pipeline,
    "zero-stage": _zero_stage,
    "pack": _pack,
    "ratings": _ratings,
    "best-of-n": _best_of_n,
    "fill-batch": _fill_batch,
}
