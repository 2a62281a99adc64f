"""Exercises, and their grading: compare a function with the solution and with typical mistakes."""

import copy
import importlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from itertools import combinations
from typing import Any

from llmguide.exercises.comparing import difference, same, shown, without_note, wrong_type
from llmguide.exercises.definition import Exercise, Mistake
from llmguide.exercises.mistake_pairs import combined
from llmguide.exercises.time_limit import OutOfTime, time_limit

MODULES = (
    "evaluation.ngram",
    "evaluation.perplexity",
    "costs.power_laws",
    "tokenization.bpe",
    "tokenization.segmentation",
    "generation.sampling",
    "generation.speculative",
    "generation.beam_search",
    "nn.positions",
    "nn.transformer",
    "costs.parameters_and_flops",
    "nn.experts",
    "nn.load_balance",
    "nn.attention",
    "nn.flash_attention",
    "nn.grouped_attention",
    "nn.linear_attention",
    "training.next_token_loss",
    "training.gradients",
    "training.gradient_accumulation",
    "training.optimizers",
    "training.orthogonalization",
    "training.schedules",
    "data.duplicates",
    "data.packing",
    "costs.budgets",
    "training.parallelism",
    "training.sharding",
    "post_training.sft",
    "post_training.sft_packing",
    "post_training.rewards_and_ratings",
    "post_training.divergences",
    "post_training.generalized_advantages",
    "post_training.group_advantages",
    "post_training.policy_gradients",
    "post_training.grpo",
    "post_training.preferences",
    "post_training.kto",
    "post_training.distillation",
    "post_training.adapters",
    "post_training.quantization",
    "interpretability.lens_and_steering",
    "interpretability.sparse_autoencoders",
    "interpretability.circuits",
    "interpretability.patching",
    "models.families",
    "models.family_sizes",
    "coding.infilling_and_judging",
    "coding.generated_code",
    "coding.algorithms",
    "coding.windows_and_sums",
    "coding.dynamic_programming",
    "coding.data_structures",
    "coding.prompting",
    "coding.attempts",
    "coding.agents",
    "ladder",
)


@dataclass(frozen=True)
class Grade:
    """The result of grading; in a notebook it displays its message."""

    passed: bool
    message: str = field(repr=False)
    mistake: str = ""

    def __repr__(self) -> str:
        return self.message


@cache
def exercises() -> dict[str, Exercise]:
    """Return all exercises by name, in the order of the chapters.

    >>> list(exercises())[:4]
    ['follows', 'smooth', 'bits', 'sliding-perplexity']
    """
    modules = [importlib.import_module(f"llmguide.exercises.{name}") for name in MODULES]
    return {found.name: found for module in modules for found in module.EXERCISES}


def exercise(name: str) -> Exercise:
    """Return one exercise, with its ``hints`` and its ``solution``.

    Raises:
        ValueError: There is no exercise of that name.

    >>> exercise("temperature").hints[0]
    'Small temperatures make the largest logit win by more. What does that do to the differences?'
    """
    if name not in exercises():
        nearest = get_close_matches(name, list(exercises()), 1, cutoff=0.5)
        meant = f"did you mean {nearest[0]}?" if nearest else "llmguide learn --list shows all"
        raise ValueError(f"no exercise is named {name!r}; {meant}")
    return exercises()[name]


def grade(name: str, function: Callable[..., Any], *, timeout: float = 30.0) -> Grade:
    """Grade a function: compare it with the solution of an exercise, and name a known mistake.

    Args:
        name: Name of the exercise.
        function: Function to grade. It is called with copies of the arguments, by position.
        timeout: Seconds that one test call may take. In the browser there is a Stop button instead.

    Returns:
        Whether it passed, a message, and the name of the mistake, empty if none was recognized.

    Raises:
        ValueError: There is no such exercise.

    >>> grade("temperature", lambda logits, t: logits / t)
    temperature: right.
    >>> found = grade("temperature", lambda logits, t: logits * t)
    >>> found.mistake
    'multiplied instead of divided'
    >>> print(found)
    temperature: not yet. Your result is what one gets when the logits are multiplied by the temperature.
    Hint: With t = 0.5 the difference between two logits must double.
    """
    return grade_exercise(exercise(name), function, timeout=timeout)


def grade_exercise(asked: Exercise, function: Callable[..., Any], *, timeout: float = 30.0) -> Grade:
    """Grade a function as `grade` does, for an exercise that is not in a chapter."""
    results = observe(asked, function, timeout=timeout)
    return results if isinstance(results, Grade) else compare(asked, results)


def observe(asked: Exercise, function: Callable[..., Any], *, timeout: float = 30.0) -> list[Any] | Grade:
    """Call a function with the arguments of the test calls.

    Args:
        asked: Exercise that the function answers.
        function: Function to call.
        timeout: Seconds that one test call may take.

    Returns:
        What the exercise observes of each call, or a failing grade if a call does not end as it should.
    """
    name, results = asked.name, []
    for arguments in asked.probes():
        given = copy.deepcopy(arguments)
        try:
            with time_limit(timeout):
                results.append(asked.observe(function, given))
        except NotImplementedError:
            return Grade(False, f"{name}: not written yet.", "not written")
        except OutOfTime:
            message = f"{name}: it has not finished after {timeout:g} seconds. Does a loop never end?"
            return Grade(False, f"{message}\nfor {asked.inputs(arguments)}", "does not finish")
        except (Exception, SystemExit) as error:
            raised = f"{type(error).__name__}: {error}{_place(error, function)}"
            return Grade(False, f"{name}: it raises {raised}\nfor {asked.inputs(arguments)}")
        if not same(given, arguments):
            message = f"{name}: the function changes its arguments in place. Compute a new value instead."
            return Grade(False, message, "changes its arguments")
    return results


def compare(asked: Exercise, results: list[Any]) -> Grade:
    """Grade what `observe` returned."""
    probes, expected = asked.probes(), _observed(asked)
    if all(map(asked.accept, results, expected)):
        return Grade(True, f"{asked.name}: right.")
    for i, mistake in enumerate(asked.mistakes):
        if same(results, _observed(asked, i)):
            message = f"Your result is what one gets when {mistake.when}.\nHint: {mistake.hint}"
            return Grade(False, f"{asked.name}: not yet. {message}", mistake.name)
    for first, second in combinations(asked.mistakes, 2):
        if same(results, _observed_pair(asked, first, second)):
            message = f"Your result is what two mistakes give together: {first.when}, and {second.when}."
            message = f"{asked.name}: not yet. {message}\nHint: {first.hint}\nHint: {second.hint}"
            return Grade(False, message, f"{first.name}; {second.name}")
    wrong = next(i for i, pair in enumerate(zip(results, expected, strict=True)) if not asked.accept(*pair))
    inputs = asked.inputs(probes[wrong])
    got, wanted = (shown((without_note(each[wrong]),)) for each in (results, expected))
    types = wrong_type(results, expected)
    if types:
        message = f"The values are right, but a type is wrong: {types[0]} instead of {types[1]}."
        message = f"{message}\nGot {got}\nexpected {wanted}\nfor {inputs}"
        return Grade(False, f"{asked.name}: not yet. {message}", f"{types[0]} for {types[1]}")
    if all(without_note(result) is None for result in results):
        message = f"The function returns None. Is a return statement missing?\nExpected {wanted}"
        message = f"{asked.name}: not yet. {message}\nfor {inputs}"
        return Grade(False, message, "returns nothing")
    message = difference(inputs, results[wrong], expected[wrong])
    return Grade(False, f"{asked.name}: not yet. {message}")


@cache
def _observed(asked: Exercise, mistake: int | None = None) -> list[Any]:
    """Return what is observed of the solution of an exercise or of one of its mistakes."""
    function = asked.solution if mistake is None else asked.mistakes[mistake].mutant
    return [asked.observe(function, copy.deepcopy(arguments)) for arguments in asked.probes()]


@cache
def _observed_pair(asked: Exercise, first: Mistake, second: Mistake) -> list[Any] | None:
    """Return what is observed of a function with two mistakes, or None where there is none."""
    function = combined(first.mutant, second.mutant)
    if function is None:
        return None
    try:
        return [asked.observe(function, copy.deepcopy(arguments)) for arguments in asked.probes()]
    except Exception:
        return None


def _place(error: BaseException, function: Callable[..., Any]) -> str:
    """Return the line of the function's file that raised the error, if it has one."""
    code = getattr(function, "__code__", None)
    return line_of(error, code.co_filename) if code else ""


def line_of(error: BaseException, filename: str) -> str:
    """Return the last line of a file that an error passed through, as " (line 3)", or nothing."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename
    ]
    return f" (line {lines[-1]})" if lines else ""
