"""Hidden tests: the test calls of an exercise with inputs that are sampled for one student.

The tests of an exercise are public, because the package contains them. An answer can store what they expect,
or treat their inputs as special cases. In a class, a right answer passes the hidden tests as well. If the
public tests sample their inputs, the hidden ones sample them with another seed. For exercises whose public
inputs were chosen by hand, `SAMPLERS` samples arguments for which the task leaves one right result.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

from llmguide.exercises.comparing import same
from llmguide.exercises.definition import Arguments, Exercise, shifted_seeds
from llmguide.exercises.samplers import SAMPLERS

_N_CALLS = 8
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
