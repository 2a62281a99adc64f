"""Answers to exercises of data structures, as a reader would write them; the tests grade each."""


def cache_hits(requests, capacity):
    cache, hits = {}, []
    for key in requests:
        hit = key in cache
        hits.append(hit)
        if hit:
            del cache[key]
        elif len(cache) == capacity:
            del cache[next(iter(cache))]
        cache[key] = True
    return hits


def schedule(needs):
    missing = {task: len(earlier) for task, earlier in needs.items()}
    users = {task: [] for task in needs}
    for task, earlier in needs.items():
        for need in earlier:
            users[need].append(task)
    waves, n_done = [], 0
    wave = [task for task, n in missing.items() if n == 0]
    while wave:
        waves.append(sorted(wave))
        n_done += len(wave)
        following = []
        for done in wave:
            for task in users[done]:
                missing[task] -= 1
                if missing[task] == 0:
                    following.append(task)
        wave = following
    return waves if n_done == len(needs) else None
