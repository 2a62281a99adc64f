"""Sample the arguments of hidden tests: algorithms, code, and the programs around a model."""

import json
from collections.abc import Sequence
from random import Random
from string import ascii_lowercase
from typing import Any

from llmguide.exercises.coding.agents import CLOSE, OPEN
from llmguide.exercises.coding.generated_code import END, allowed_tokens
from llmguide.exercises.definition import Arguments
from llmguide.exercises.samplers.values import Sampler, integers, letters


def _fill_in_the_middle(random: Random) -> Arguments:
    text = letters(random, ascii_lowercase + " ", 10, 30)
    start, end = sorted(random.sample(range(1, len(text)), 2))
    return text, start, end


def _pass_at_k(random: Random) -> Arguments:
    n = random.randint(2, 30)
    return n, random.randint(0, n), random.randint(1, n)


def _same_output(random: Random) -> Arguments:
    expected = "\n".join(f"{a} {b}" for a, b in (integers(random, 2, 1, 99) for _ in range(3)))
    changes = (("\n", " \n"), ("\n", "\n\n"), (" ", "  "), ("1", "2"))
    return expected.replace(*random.choice(changes)) + random.choice(("", "\n", " ")), expected


def _first_true(random: Random) -> Arguments:
    threshold, low = integers(random, 2, -20, 20)

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
    rows: list[list[int | None]] = [[*integers(random, 2, 0, 1)] for _ in range(random.randint(3, 7))]
    return ([[None, None] if random.random() < 0.2 else row for row in rows],)


def _refine(random: Random) -> Arguments:
    texts = [letters(random, ascii_lowercase, 3, 9) for _ in range(5)]
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


def _allowed_tokens(random: Random) -> Arguments:
    """Sample a text character by character, and tokens that may follow it."""
    prefix = ""
    for _ in range(random.randint(0, 9)):
        allowed = [c for c in "[[]],,017" if allowed_tokens(prefix, [c]) == [True]]
        prefix += random.choice(allowed) if allowed else ""
    return prefix, [*(letters(random, "[],017", 1, 3) for _ in range(15)), *"[],0", END]


def _apply_edits(random: Random) -> Arguments:
    text = letters(random, "ab\n ", 8, 16)
    starts = [random.randrange(len(text) - 4) for _ in range(3)]
    edits = [(text[i : i + random.randint(2, 4)], letters(random, "abc", 0, 3)) for i in starts]
    return text, [*edits, (letters(random, "ab", 2, 3), letters(random, "abc", 0, 3))]


def _word_errors(random: Random) -> Arguments:
    return random.choices("abcd", k=random.randint(2, 9)), random.choices("abcd", k=random.randint(2, 9))


def _schedule(random: Random) -> Arguments:
    tasks = random.sample(ascii_lowercase, random.randint(4, 9))
    needs = {task: random.sample(tasks[:i], random.randint(0, min(i, 3))) for i, task in enumerate(tasks)}
    if random.random() < 0.25:
        needs[tasks[1]], needs[tasks[0]] = [tasks[0]], [tasks[1]]
    return ({task: needs[task] for task in random.sample(tasks, len(tasks))},)


def _tool_calls(random: Random) -> Arguments:
    names = random.sample(["search", "read", "write", "run", "ask"], 3)
    tools = {name: random.sample(["path", "query", "line"], random.randint(1, 2)) for name in names}

    def call() -> str:
        name = random.choice([*names, "delete"])
        given = {key: random.randint(1, 99) for key in [*tools.get(name, []), "limit"]}
        if random.random() < 0.3:
            given.pop(random.choice(list(given)))
        arguments = random.choice([given, given, json.dumps(given), [1]])
        return random.choice(
            [*[json.dumps({"name": name, "arguments": arguments})] * 4, f'{{"name": "{name}"}}', "{"]
        )

    text = "".join(
        f"{letters(random, 'abc ', 0, 6)}{OPEN}{call()}{CLOSE}\n" for _ in range(random.randint(2, 5))
    )
    return text[: -len(CLOSE) - 1] if random.random() < 0.3 else text, tools


def _fit_history(random: Random) -> Arguments:
    roles = ["system"] * random.randint(0, 1)
    for _ in range(random.randint(2, 4)):
        roles += ["user", *random.choices(["assistant", "tool"], k=random.randint(1, 3))]
    messages = [{"role": role, "tokens": random.randint(1, 20)} for role in roles]
    return messages, random.randint(10, 11 * len(messages))


SAMPLERS: dict[str, Sampler] = {
    "fill-in-the-middle": _fill_in_the_middle,
    "pass-at-k": _pass_at_k,
    "same-output": _same_output,
    "second-largest": lambda r: (integers(r, r.randint(0, 6), -4, 4),),
    "first-true": _first_true,
    "longest-without-repeat": lambda r: (letters(r, "abcdef", 0, 16),),
    "coin-change": lambda r: (r.sample(range(1, 12), 3), r.randint(0, 40)),
    "count-subarrays": lambda r: (integers(r, r.randint(0, 10), -2, 2), r.randint(-3, 3)),
    "is-search-tree": _is_search_tree,
    "extract-code": _extract_code,
    "vote": _vote,
    "refine": _refine,
    "solve": _solve,
    "allowed-tokens": _allowed_tokens,
    "apply-edits": _apply_edits,
    "count-inversions": lambda r: (integers(r, r.randint(4, 60), -9, 9),),
    "word-errors": _word_errors,
    "cache-hits": lambda r: (r.choices("abcdefgh", k=r.randint(8, 40)), r.randint(1, 5)),
    "schedule": _schedule,
    "tool-calls": _tool_calls,
    "fit-history": _fit_history,
}
