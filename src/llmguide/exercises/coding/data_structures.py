"""Exercises of the chapter on algorithmic reasoning: a cache, and an order of tasks."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from llmguide.exercises.counting import Item, counted, items
from llmguide.exercises.definition import Arguments, Exercise, Mistake


def cache_hits(
    requests: Sequence[Hashable],
    capacity: int,
    *,
    refresh: bool = True,
    newest: bool = False,
    early: bool = False,
) -> list[bool]:
    """Say which requests hit a cache that drops the least recently used key, with switches for the mistakes.

    >>> cache_hits("abacb", 2)
    [False, False, True, False, False]
    """
    cache: OrderedDict[Hashable, None] = OrderedDict()
    hits = []
    for key in requests:
        if early and len(cache) == capacity:
            cache.popitem(last=False)
        hit = key in cache
        hits.append(hit)
        if hit and refresh:
            cache.move_to_end(key)
        if not hit:
            if len(cache) == capacity:
                cache.popitem(last=newest)
            cache[key] = None
    return hits


def _hits_by_list(requests: Sequence[Hashable], capacity: int) -> list[bool]:
    cache: list[Hashable] = []
    hits = []
    for key in requests:
        hits.append(key in cache)
        if hits[-1]:
            cache.remove(key)
        cache = [*cache, key][-capacity:]
    return hits


def _least_often(requests: Sequence[Hashable], capacity: int) -> list[bool]:
    """Drop the key that was used least often, of equals the oldest."""
    uses: dict[Hashable, int] = {}
    hits = []
    for key in requests:
        hits.append(key in uses)
        if not hits[-1] and len(uses) == capacity:
            del uses[min(uses, key=lambda known: uses[known])]
        uses[key] = uses.get(key, 0) + 1
    return hits


def _request_probes() -> list[Arguments]:
    many = [i % 60 if i % 3 else i for i in range(300)]
    return [(list("abacbdab"), 2), (list("aabbaacb"), 1), (list("abcabdaeacbd"), 3), (many, 50), ([], 4)]


Needs = dict[Any, list[Any]]


def schedule(needs: Needs, *, merged: bool = False, partly: bool = False, late: bool = False) -> Any:
    """Group tasks into waves, with switches for the mistakes.

    >>> schedule({"c": ["a", "b"], "a": [], "b": ["a"]})
    [['a'], ['b'], ['c']]
    """
    missing = {task: len(found) for task, found in needs.items()}
    users: Needs = {task: [] for task in needs}
    for task, found in needs.items():
        for need in found:
            users[need].append(task)
    waves, wave = [], sorted(task for task, n in missing.items() if n == 0)
    while wave:
        waves.append(wave)
        following = []
        for done in wave:
            for task in users[done]:
                missing[task] -= 1
                if missing[task] == (len(needs[task]) - 1 if merged else 0):
                    following.append(task)
        wave = sorted(following)
    complete = sum(map(len, waves)) == len(needs)
    if late:
        depth = len(waves)
        level = dict.fromkeys(needs, depth)
        for tasks in reversed(waves):
            for task in tasks:
                level[task] = min([level[user] for user in users[task]], default=depth) - 1
        waves = (
            [sorted(task for task in needs if level[task] == i) for i in range(depth)] if complete else waves
        )
    return waves if complete or partly else None


def _by_rounds(needs: Needs) -> list[list[Any]] | None:
    done: set[Any] = set()
    waves = []
    while len(done) < len(needs):
        wave = sorted(t for t, found in needs.items() if t not in done and all(n in done for n in found))
        if not wave:
            return None
        waves.append(wave)
        done.update(wave)
    return waves


def _one_by_one(needs: Needs) -> list[list[Any]] | None:
    waves: list[list[Any]] | None = schedule(needs)
    return waves if waves is None else [[task] for wave in waves for task in wave]


def _need_items(needs: Needs, log: list[None]) -> Needs:
    return {Item(task, log): [Item(need, log) for need in found] for task, found in needs.items()}


def _schedule_probes() -> list[Arguments]:
    tasks = {
        "test": ["build"],
        "build": ["fetch", "configure"],
        "fetch": [],
        "lint": ["fetch"],
        "configure": [],
    }
    chain = {i: [i - 1] if i else [] for i in reversed(range(150))}
    circle = {"a": [], "b": ["a", "d"], "c": ["b"], "d": ["c"]}
    return [
        (tasks | {"release": ["test", "lint"]},),
        (circle,),
        ({},),
        (chain,),
        ({"b": [], "a": ["b"], "c": []},),
    ]


EXERCISES = (
    Exercise(
        "cache-hits",
        "cache_hits(requests, capacity) simulates a server that keeps the KV caches of prompts. It has room "
        "for `capacity` of them, at least one. `requests` is a list of hashable keys, one per request. A "
        "request is a hit if its key is in the cache. After a miss, its key enters the cache; if that is "
        "full, the key that was not requested for the longest time is dropped first. Return a list with a "
        "bool per request, True for a hit. The test counts how often keys are compared or hashed: at most "
        "12 times per request, whatever the capacity.",
        cache_hits,
        _request_probes,
        (
            Mistake(
                "list searched",
                "the hits are right, but the keys are in a list that is searched from the start",
                "`in` and `remove` of a list compare one key after another. A dict finds a key at once, and "
                "remembers the order in which keys were inserted.",
                _hits_by_list,
            ),
            Mistake(
                "first in, first out",
                "the key that entered first is dropped, even if it was requested since",
                "A hit makes a key the most recent one. Move it to the end.",
                partial(cache_hits, refresh=False),
            ),
            Mistake(
                "most recent dropped",
                "the key that was used last is dropped",
                "popitem takes the last item of a dict. Drop the first one.",
                partial(cache_hits, newest=True),
            ),
            Mistake(
                "dropped before looking",
                "a full cache drops a key before the request is looked up",
                "A hit needs no room. Drop a key only after a miss.",
                partial(cache_hits, early=True),
            ),
            Mistake(
                "least often used",
                "the key with the fewest requests is dropped (this is LFU)",
                "What counts is when a key was requested last, not how often.",
                _least_often,
            ),
            Mistake(
                "never dropped",
                "the cache keeps every key",
                "It has room for `capacity` keys.",
                lambda requests, capacity: cache_hits(requests, len(requests) + 1),
            ),
        ),
        (
            "Keep the keys in the order of their last requests. Which operations do you need?",
            "A dict keeps its keys in the order of insertion. How do you move a key to the end?",
            "Delete the key and insert it again. The first key is next(iter(cache)). OrderedDict has "
            "move_to_end and popitem(last=False).",
        ),
        level="medium",
        minutes=15,
        after="vLLM drops blocks of its prefix cache in this order. A loop over more prompts than fit is the "
        "worst case: the next prompt has always been dropped already.",
        observe=counted(items, lambda requests, capacity: 12 * len(requests)),
    ),
    Exercise(
        "schedule",
        "schedule(needs) plans which tasks of an agent can run at the same time. `needs` is a dict from each "
        "task to the list of tasks that have to be done before it; these are keys of the dict, too, and no "
        "list names a task twice. Return a list of waves: each task is in the first wave in which everything "
        "it needs is in earlier waves. A wave is a sorted list. Return None if tasks wait for each other in "
        "a circle. The test counts how often tasks are compared or hashed: on average at most 25 times per "
        "task and need, so looking through all tasks again for each wave is too slow.",
        schedule,
        _schedule_probes,
        (
            Mistake(
                "all tasks in each round",
                "the waves are right, but every wave looks through all tasks again",
                "Count for each task how many needs are missing. When a task is done, only the tasks that "
                "need it change.",
                _by_rounds,
            ),
            Mistake(
                "ready when one need is done",
                "a task runs as soon as the first of its needs is done",
                "All of its needs have to be done: count down to 0.",
                partial(schedule, merged=True),
            ),
            Mistake(
                "circle not noticed",
                "the tasks before a circle are returned",
                "Tasks that are left at the end wait for each other, so return None.",
                partial(schedule, partly=True),
            ),
            Mistake(
                "one task in each wave",
                "every task is a wave of its own",
                "Tasks that do not need each other can run at the same time.",
                _one_by_one,
            ),
            Mistake(
                "as late as possible",
                "each task is in the last wave that is early enough for those that need it",
                "A task belongs in the first wave that is possible.",
                partial(schedule, late=True),
            ),
            Mistake(
                "direction reversed",
                "a task runs before what it needs",
                "The needs come first.",
                lambda needs: None if (waves := schedule(needs)) is None else waves[::-1],
            ),
        ),
        (
            "Which tasks are in the first wave? What changes for the others when they are done?",
            "Keep a number of missing needs for each task, and for each task the list of those that need it.",
            "Take the tasks with 0 missing needs as a wave. For each of them, subtract 1 from every task "
            "that needs it; those that reach 0 are the next wave. If tasks are left over, there is a circle.",
        ),
        level="medium",
        minutes=25,
        after="This is Kahn's algorithm by levels. The number of waves is the length of the longest chain, "
        "so no number of parallel workers can be faster than that.",
        observe=counted(_need_items, lambda needs: 25 * sum(1 + len(found) for found in needs.values())),
    ),
)
