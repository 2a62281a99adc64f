"""Samplers of arguments for hidden tests, by exercise, for those whose public inputs were chosen by hand.

Only `release-kind` has none, because its public tests cover every input.
"""

from llmguide.exercises.samplers import models, programs, text, training
from llmguide.exercises.samplers.values import Sampler

SAMPLERS: dict[str, Sampler] = {**text.SAMPLERS, **models.SAMPLERS, **training.SAMPLERS, **programs.SAMPLERS}
