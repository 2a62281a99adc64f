"""Answers to exercises of prompting, as a reader would write them; the tests grade each."""

import re


def extract_code(answer, name):
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```$", answer, re.MULTILINE | re.DOTALL)
    defining = [block for block in blocks if re.search(rf"^def {name}\(", block, re.MULTILINE)]
    return defining[-1] if defining else None


def vote(results):
    groups = {}
    for i, given in enumerate(results):
        if any(value is not None for value in given):
            groups.setdefault(tuple(given), []).append(i)
    return max(groups.values(), key=len)[0] if groups else None


def refine(messages, answer, request):
    return [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": request}]


def solve(ask, passes, budget):
    failed = []
    while len(failed) < budget:
        answer = ask(failed)
        if passes(answer):
            return answer, len(failed) + 1
        if answer in failed:
            return None, len(failed) + 1
        failed.append(answer)
    return None, budget
