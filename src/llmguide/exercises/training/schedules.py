"""Exercises of learning-rate schedules: cosine, warmup-stable-decay."""

from collections.abc import Callable
from functools import partial
from math import cos, pi, sqrt

from llmguide.exercises.definition import Exercise, Mistake
from llmguide.training.schedules import warmup_cosine, warmup_stable_decay

# ---- cosine ----------------------------------------------------------------------------------------


def _schedule(step: int, n_steps: int, n_warmup: int, floor: float) -> float:
    return warmup_cosine(step, n_steps=n_steps, n_warmup=n_warmup, floor=floor)


def _cosine(
    step: int,
    n_steps: int,
    n_warmup: int,
    floor: float,
    *,
    shift: int = 0,
    whole: bool = False,
    turns: float = 1.0,
    add: bool = False,
    held: bool = True,
) -> float:
    """Compute warmup and cosine, with switches for the mistakes."""
    if step < n_warmup:
        return (step + shift) / n_warmup
    progress = step / n_steps if whole else (step - n_warmup) / (n_steps - n_warmup)
    fallen = (1 + cos(turns * pi * (min(progress, 1.0) if held else progress))) / 2
    return floor + fallen if add else floor + (1 - floor) * fallen


# ---- warmup-stable-decay ---------------------------------------------------------------------------


def _trapezoid(
    step: int,
    n_steps: int,
    n_warmup: int,
    n_decay: int,
    floor: float,
    *,
    curve: Callable[[float], float] = lambda progress: 1 - sqrt(progress),
    late: int = 0,
    add: bool = False,
    held: bool = True,
    warm: Callable[[int, int], float] = lambda step, n_warmup: min(1.0, step / n_warmup),
) -> float:
    """Compute warmup, plateau and cool-down, with switches for the mistakes."""
    if step <= n_steps - n_decay:
        return warm(step, n_warmup)
    progress = (step - late - (n_steps - n_decay)) / n_decay
    fallen = curve(min(progress, 1.0) if held else progress)
    return floor + fallen if add else floor + (1 - floor) * fallen


EXERCISES = (
    Exercise(
        "warmup-cosine",
        "warmup_cosine(step, n_steps, n_warmup, floor): the fraction of the peak learning rate at a step "
        "counted from 1. It rises linearly to 1 at n_warmup, falls as half a cosine to floor at n_steps, "
        "and stays there.",
        _schedule,
        lambda: [(step, 10, 4, 0.1) for step in (1, 3, 4, 6, 9, 10, 12)],
        (
            Mistake(
                "off by one",
                "steps are counted from 0",
                "At the end of the warmup, and not a step later, the factor is 1; at n_steps it is the "
                "floor.",
                lambda step, *rest: _cosine(step - 1, *rest),
            ),
            Mistake(
                "warmup one step too fast",
                "the warmup is (step + 1) / n_warmup",
                "That is right for steps counted from 0. These start at 1.",
                partial(_cosine, shift=1),
            ),
            Mistake(
                "cosine over the whole run",
                "the cosine starts at step 0, so that the rate jumps at the end of the warmup",
                "Progress runs from 0 at n_warmup to 1 at n_steps.",
                partial(_cosine, whole=True),
            ),
            Mistake(
                "a whole cosine",
                "the cosine runs through a full period and comes back up",
                "The angle goes from 0 to pi only.",
                partial(_cosine, turns=2.0),
            ),
            Mistake(
                "floor added",
                "the floor is added on top, so that the peak is above 1",
                "Compute floor + (1 - floor) times the cosine part.",
                partial(_cosine, add=True),
            ),
            Mistake(
                "rises again after the end",
                "the progress is not held at 1 after n_steps",
                "Use min(progress, 1).",
                partial(_cosine, held=False),
            ),
            Mistake(
                "floor cut off",
                "the cosine falls to 0, and where it is below the floor it is replaced by the floor",
                "The curve reaches the floor only at n_steps: scale the cosine to the range from floor to 1.",
                lambda step, n_steps, n_warmup, floor: (
                    max(floor, _cosine(step, n_steps, n_warmup, 0.0)) if step >= n_warmup else step / n_warmup
                ),
            ),
        ),
        (
            "progress = (step - n_warmup) / (n_steps - n_warmup)",
            "(1 + cos(pi * progress)) / 2 falls from 1 to 0.",
        ),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "warmup-stable-decay",
        "wsd(step, n_steps, n_warmup, n_decay, floor) returns the fraction of the peak learning rate at a "
        "step counted from 1. It rises linearly to 1 at n_warmup, stays there, and in the last n_decay of "
        "n_steps steps it falls to floor, reached at n_steps. When a fraction p of these steps is done, the "
        "fraction sqrt(p) of the fall is done. After n_steps it stays at floor.",
        lambda step, n_steps, n_warmup, n_decay, floor: warmup_stable_decay(
            step, n_steps=n_steps, n_decay=n_decay, n_warmup=n_warmup, floor=floor
        ),
        lambda: [(step, 12, 3, 4, 0.1) for step in (1, 3, 5, 8, 9, 11, 12, 14)],
        (
            Mistake(
                "linear cool-down",
                "the cool-down is a straight line",
                "The fall is fast first: after a quarter of the cool-down, half of it is done.",
                partial(_trapezoid, curve=lambda progress: 1 - progress),
            ),
            Mistake(
                "root of what is left",
                "the fraction above the floor is the root of the fraction of steps that are left",
                "That falls slowly first. The root belongs to the fraction that is done.",
                partial(_trapezoid, curve=lambda progress: sqrt(max(1 - progress, 0.0))),
            ),
            Mistake(
                "cool-down one step late",
                "the cool-down starts one step late, and the floor is not reached at n_steps",
                "At n_steps - n_decay nothing of the fall is done, one step later a fraction of 1 / n_decay.",
                partial(_trapezoid, late=1),
            ),
            Mistake(
                "floor added",
                "the floor is added to the fall from 1 to 0",
                "The fall is from 1 to the floor: its height is 1 - floor.",
                partial(_trapezoid, add=True),
            ),
            Mistake(
                "falls below the floor",
                "the rate falls further after n_steps",
                "Use min(progress, 1).",
                partial(_trapezoid, held=False),
            ),
            Mistake(
                "warmup from 0",
                "steps of the warmup are counted from 0",
                "The first step has the rate 1 / n_warmup, and the step n_warmup has 1.",
                partial(_trapezoid, warm=lambda step, n_warmup: min(1.0, (step - 1) / n_warmup)),
            ),
            Mistake(
                "cut off at the floor",
                "the rate falls toward 0 and is held when it reaches the floor",
                "The fall ends at the floor at n_steps, not earlier.",
                lambda step, n_steps, n_warmup, n_decay, floor: max(
                    floor * (step > n_warmup), _trapezoid(step, n_steps, n_warmup, n_decay, 0.0)
                ),
            ),
        ),
        (
            "There are three parts. At which steps does each one start?",
            "The fraction of the cool-down that is done is (step - (n_steps - n_decay)) / n_decay, at most "
            "1.",
            "Start at 1, and subtract the fraction of the fall that is done times its height.",
        ),
        level="medium",
        minutes=10,
        after="The plateau does not depend on n_steps. You can extend a run from a checkpoint of the "
        "plateau, and cool down whenever you need a model.",
    ),
)
