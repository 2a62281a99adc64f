"""Exercises of parallel training: a ring all-reduce, a pipeline."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llmguide.exercises.definition import Arguments, Exercise, Mistake

# ---- ring all-reduce -------------------------------------------------------------------------------

Chunks = Sequence[Sequence[float]]
Exchange = Callable[[list[Any]], list[Any]]


def all_reduce(
    chunks: Chunks,
    exchange: Exchange,
    *,
    missing: int = 0,
    add: bool = True,
    gather: bool = True,
    replace: bool = True,
) -> list[list[float]]:
    """Sum the chunks of all devices with a ring, with switches for the mistakes."""
    P = len(chunks)
    values = [list(row) for row in chunks]
    for step in range(P - 1 - missing):
        received = exchange([values[i][(i - step) % P] for i in range(P)])
        for i in range(P):
            at = (i - 1 - step) % P
            values[i][at] = received[i] + (values[i][at] if add else 0)
    for step in range(P - 1 if gather else 0):
        received = exchange([values[i][(i + 1 - step) % P] for i in range(P)])
        for i in range(P):
            at = (i - step) % P
            values[i][at] = received[i] + (0 if replace else values[i][at])
    return values


def _without_ring(chunks: Chunks, exchange: Exchange) -> list[list[float]]:
    return [[sum(column) for column in zip(*chunks, strict=True)] for _ in chunks]


def _whole_tensors(chunks: Chunks, exchange: Exchange) -> list[list[float]]:
    totals = [list(row) for row in chunks]
    passing = [list(row) for row in chunks]
    for _ in range(len(chunks) - 1):
        passing = exchange(passing)
        totals = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(totals, passing, strict=True)]
    return totals


def _with_traffic(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe the sums, and how many numbers each device has sent."""
    n_sent = 0

    def exchange(messages: list[Any]) -> list[Any]:
        nonlocal n_sent
        n_sent += len(messages[0]) if isinstance(messages[0], list | tuple) else 1
        return [messages[-1], *messages[:-1]]

    return function(*arguments, exchange), f"{n_sent} numbers sent"


# ---- pipeline --------------------------------------------------------------------------------------

Times = Sequence[tuple[float, float]]


def _passes(times: Sequence[float], n_batches: int, free: list[float]) -> list[float]:
    """Return when each stage is free after the batches have gone through all stages in order."""
    free = list(free)
    for _ in range(n_batches):
        ready = 0.0
        for stage, time in enumerate(times):
            ready = free[stage] = max(free[stage], ready) + time
    return free


def pipeline(
    times: Times,
    n_batches: int,
    *,
    turned: bool = True,
    idle: Callable[[float, float], float] = lambda busy, total: 1 - busy / total,
) -> tuple[float, float]:
    """Compute the time of a pipeline and its idle fraction, with switches for the mistakes."""
    forward, backward = zip(*times, strict=True)
    free = _passes(forward, n_batches, [0.0] * len(times))
    if turned:
        total = max(_passes(backward[::-1], n_batches, free[::-1]))
    else:
        total = max(_passes(backward, n_batches, free))
    busy = n_batches * sum(map(sum, times)) / len(times)
    return total, idle(busy, total)


def _by(total: Callable[[Times, int], float]) -> Callable[[Times, int], tuple[float, float]]:
    """Compute the idle fraction from another total time."""

    def mutant(times: Times, n_batches: int) -> tuple[float, float]:
        found = total(times, n_batches)
        return found, 1 - n_batches * sum(map(sum, times)) / len(times) / found

    return mutant


def _slots(times: Times, n_batches: int) -> float:
    slowest: float = sum(max(column) for column in zip(*times, strict=True))
    return (n_batches + len(times) - 1) * slowest


EXERCISES = (
    Exercise(
        "ring-all-reduce",
        "all_reduce(chunks, exchange) sums a tensor over P devices that form a ring. chunks[i] lists the P "
        "chunks of device i, here one number each. Return the lists of chunks after the all-reduce: on every "
        "device, chunk c is the sum of chunk c of all devices. Devices know only their own chunks and what "
        "they receive. `exchange(messages)` sends messages[i] from device i to device i + 1, and from the "
        "last one to device 0, all at the same time; entry i of its result is what device i has received. A "
        "device may send 2 (P - 1) numbers in all; the test counts them.",
        all_reduce,
        lambda: [
            ([[1, 2, 4], [8, 16, 32], [64, 128, 256]],),
            ([[10 * i + j for j in range(5)] for i in range(5)],),
        ],
        (
            Mistake(
                "nothing sent",
                "the sums are computed without sending anything",
                "No device can see the chunks of the others. Get them with exchange.",
                _without_ring,
            ),
            Mistake(
                "whole tensors sent",
                "every tensor goes around the ring as a whole",
                "The sums are right, but each device sends P (P - 1) numbers. Send one chunk at a time, a "
                "partial sum that grows from device to device.",
                _whole_tensors,
            ),
            Mistake(
                "reduce-scatter only",
                "each device has only one complete sum at the end",
                "Pass the complete sums around the ring as well, in P - 1 more steps (all-gather).",
                partial(all_reduce, gather=False),
            ),
            Mistake(
                "one step too few",
                "the partial sums stop one device early",
                "A sum of P numbers needs P - 1 additions.",
                partial(all_reduce, missing=1),
            ),
            Mistake(
                "replaced instead of added",
                "a received partial sum replaces the own chunk",
                "In the first half, add what is received to the own chunk.",
                partial(all_reduce, add=False),
            ),
            Mistake(
                "added twice",
                "complete sums are added to the own chunk",
                "In the second half, what is received is complete: it replaces the own chunk.",
                partial(all_reduce, replace=False),
            ),
        ),
        (
            "Follow one chunk. It must visit all devices to be summed, and then all devices must get the "
            "sum.",
            "In step s of the first half, device i sends chunk (i - s) % P and adds what it receives to "
            "chunk (i - 1 - s) % P. Which chunk is complete on device i at the end?",
            "Device i ends with the sum of chunk (i + 1) % P. In the second half it sends this one first, "
            "and in each later step the one that it has just received.",
        ),
        level="hard",
        minutes=30,
        after="A device sends 2 (P - 1) / P times the size of the tensor, hardly more on a thousand devices "
        "than on ten. The first half by itself is a reduce-scatter, the second an all-gather.",
        observe=_with_traffic,
    ),
    Exercise(
        "pipeline",
        "pipeline(times, n_batches) returns the time of one training step with pipeline parallelism, and the "
        "fraction of the device time that is idle, as a tuple. times[s] is a pair of seconds: of the forward "
        "pass and of the backward pass of one micro-batch on stage s, which has a device of its own. Forward "
        "passes go from the first stage to the last, backward passes from the last to the first. A stage "
        "works on one micro-batch at a time, and starts as soon as its input is there. The backward passes "
        "start when the last stage has finished the forward passes of all micro-batches. Sending takes no "
        "time.",
        pipeline,
        lambda: [
            ([(1.0, 2.0)] * 4, 8),
            ([(1.0, 2.0), (3.0, 5.0), (2.0, 4.0)], 4),
            ([(2.0, 3.0), (1.0, 1.5)], 3),
        ],
        (
            Mistake(
                "one micro-batch at a time",
                "a micro-batch starts when the one before has left the last stage",
                "That is no pipeline: stage 0 can start the next micro-batch as soon as it is free.",
                _by(lambda times, n: n * sum(map(sum, times))),
            ),
            Mistake(
                "no bubble",
                "all stages work from the beginning to the end",
                "The last stage waits for the first micro-batch, and the first stage for the last backward "
                "pass.",
                _by(lambda times, n: n * max(map(sum, times))),
            ),
            Mistake(
                "all stages as slow as the slowest",
                "every stage takes as long as the slowest one",
                "The fill and drain times are those of the stages themselves. Follow each micro-batch "
                "through the stages.",
                _by(_slots),
            ),
            Mistake(
                "backward in forward order",
                "the backward passes go from the first stage to the last",
                "The gradient of a stage needs that of the stage after it.",
                partial(pipeline, turned=False),
            ),
            Mistake(
                "idle relative to busy",
                "the idle time is divided by the busy time",
                "Divide it by the whole time of all devices.",
                partial(pipeline, idle=lambda busy, total: total / busy - 1),
            ),
            Mistake(
                "busy fraction",
                "the fraction of the time in which devices work is returned",
                "Subtract it from 1.",
                partial(pipeline, idle=lambda busy, total: busy / total),
            ),
            Mistake(
                "fraction for equal stages",
                "the idle fraction is (P - 1) / (m + P - 1), which holds for equal stages only",
                "Compare the busy time of all stages with the whole time.",
                lambda times, n: (pipeline(times, n)[0], (len(times) - 1) / (n + len(times) - 1)),
            ),
            Mistake(
                "formula for equal stages",
                "every stage takes as long as the slowest one, and the idle fraction is (P - 1) / (m + P - "
                "1)",
                "That holds for equal stages. Follow each micro-batch through the stages.",
                lambda times, n: (_slots(times, n), (len(times) - 1) / (n + len(times) - 1)),
            ),
        ),
        (
            "Store for each stage when it will be free. When can it start on a micro-batch?",
            "A stage starts at the later of two times: when it is free, and when the stage before has "
            "finished this micro-batch.",
            "Do the same for the backward passes with the stages in reverse. The times at which the stages "
            "are free carry over.",
        ),
        level="medium",
        minutes=25,
        after="With equal stages, this gives the fraction (P - 1) / (m + P - 1) of the chapter. Schedules "
        "that alternate forward and backward passes need less memory, with the same bubble.",
    ),
)
