"""Time of grading a class: 100 submissions of eight exercises, against the limit of five minutes.

Run ``python -m benchmarks.classroom [--students N]``. Of 100 answers about 70 are right, 20 wrong, 7 as they
were handed out, and 3 never end. Five of the exercises are of the ladder: one trains a model, one counts
operations, and wrong answers run again with the student's own earlier answers. On a busy machine, look at the
processor time instead: ``perf stat -e task-clock python -m benchmarks.classroom`` counts that of all forks.
"""

import argparse
import os
import platform
import random
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import peak_bytes
from site_tools.markdown.exercises import solution

from llmguide.exercises import Exercise
from llmguide.exercises.classroom import chosen, collect, report, write_class
from llmguide.exercises.course import stub

LIMIT_S = 300.0
NAMES = ("temperature", "bits", "coin-change", "gpt", "lm-loss", "train", "write", "kv-cache")
KINDS = {"right": 70, "wrong": 20, "not written": 7, "endless": 3}


def answer(asked: Exercise, kind: str) -> str:
    """Source of an answer."""
    right = "\n".join(solution(asked))
    head = f"\n\n\ndef {asked.function}(*arguments):\n    "
    match kind:
        case "right":
            return right
        case "wrong":  # computes everything, and returns something else
            return f"{right}\n\n\nright = {asked.function}{head}return [right(*arguments)]\n"
        case "endless":
            return f"{head}while True: pass\n"
    return stub(asked)


def write_answers(folder: Path, asked: list[Exercise], n_students: int) -> Counter[str]:
    """Write the answers of students, and count their kinds."""
    draw, counts = random.Random(0), Counter[str]()
    for student in range(n_students):
        own = folder / f"student-{student:03}"
        own.mkdir(parents=True)
        for each in asked:
            kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
            counts[kind] += 1
            (own / f"{each.name}.py").write_text(answer(each, kind), encoding="utf-8")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=100)
    options = parser.parse_args()
    asked = chosen(NAMES)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_class(folder / "class", asked)
        counts = write_answers(folder / "answers", asked, options.students)
        start = time.perf_counter()
        collect(folder / "class", folder / "answers")
        grades = report(folder / "class")
        seconds = time.perf_counter() - start
    cells = Counter(cell for row in grades.values() for cell in row.values())
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    print(f"{options.students} students, {len(asked)} exercises: {dict(counts)}")
    print(f"graded: {dict(cells)}")
    print(f"{seconds:.0f} s, target {LIMIT_S:.0f} s; peak memory of this process {peak_bytes() >> 20} MB")
    sys.exit(0 if seconds <= LIMIT_S and cells["right"] == counts["right"] else 1)


if __name__ == "__main__":
    main()
