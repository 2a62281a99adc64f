"""An assignment: steps with parts to implement, a model to train, and deliverables to report.

A part is an exercise from a chapter or an exercise that only assignments have. Both are graded by comparing
the learner's function with a solution and with known mistakes.
"""

import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmguide.exercises.definition import Exercise
from llmguide.exercises.grading import Grade, exercise, grade_exercise, line_of
from llmguide.exercises.time_limit import OutOfTime, time_limit
from llmguide.projects.acceptance import Criterion
from llmguide.projects.assignments.constitutional_parts import CONSTITUTIONAL_PARTS
from llmguide.projects.assignments.data_parts import DATA_PARTS
from llmguide.projects.assignments.domain_expert_parts import DOMAIN_EXPERT_PARTS
from llmguide.projects.assignments.evaluation_parts import EVALUATION_PARTS
from llmguide.projects.assignments.fine_tuning_parts import FINE_TUNING_PARTS
from llmguide.projects.assignments.guardrail_parts import GUARDRAIL_PARTS
from llmguide.projects.assignments.model_parts import MODEL_PARTS
from llmguide.projects.assignments.ppo_parts import PPO_PARTS
from llmguide.projects.assignments.preference_parts import PREFERENCE_PARTS
from llmguide.projects.learner_model import Decoding, Model

PARTS = "parts.py"
PRETRAINED = (
    "`base(ids)` takes a tensor of ids (B, T) and returns the logits (B, T, vocabulary size). The linear "
    "layers of `base.blocks[i]` are `q_proj`, `k_proj`, `v_proj` and `o_proj` of its `attention`, and "
    "`gate`, `up` and `down` of its `feed_forward`. `base.config` has the sizes. `tokenizer.encode(text)` "
    "returns a list of ids, and `tokenizer.decode(ids)` the text. For SmolLM2, `<|im_start|>` is 1 and "
    "`<|im_end|>`, which ends a reply or a text, is 2; `encode` finds both in a text. `base` is in "
    "evaluation mode. To generate fast, pass `cache=KVCache(base.config.n_layers)`, from `llmguide`, and "
    "in each call only the new ids."
)
_SECONDS = 30  # time limit of running the file with the parts
OWN = {
    part.name: part
    for part in (
        *MODEL_PARTS,
        *DATA_PARTS,
        *EVALUATION_PARTS,
        *FINE_TUNING_PARTS,
        *DOMAIN_EXPERT_PARTS,
        *GUARDRAIL_PARTS,
        *PREFERENCE_PARTS,
        *PPO_PARTS,
        *CONSTITUTIONAL_PARTS,
    )
}


@dataclass(frozen=True)
class Step:
    """A step of an assignment.

    Attributes:
        title: Heading of the step.
        task: Instructions for the learner, in Markdown.
        difficulty: 1 (a few lines), 2 (some thought) or 3 (expect to debug).
        hours: Estimated hours of the learner's time.
        parts: Names of the parts to implement.
    """

    title: str
    task: str
    difficulty: int
    hours: float
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Deliverable:
    """A result that the learner hands in, with its rubric.

    Attributes:
        name: Name of the deliverable.
        passing: Requirement for a pass.
        excellent: Further requirement for an excellent result.
    """

    name: str
    passing: str
    excellent: str


@dataclass(frozen=True)
class Assignment:
    """An assignment.

    Attributes:
        project: Name of the project, whose recorded run is the reference solution.
        goal: Thing that the learner builds, in one or two sentences.
        chapters: Pages of the guide that explain the methods, as paths such as ``learn/pretraining``.
        data: Python code that reads the training data.
        reference: Size, training and time of the reference solution, in Markdown.
        steps: Steps in order; the last one is the report.
        functions: Functions that the adapter must define.
        data_notes: Calls of what the code for the data defines, and data to leave to the check, in Markdown.
        larger_run: Command, time and results of the recorded run on a larger base, in Markdown; empty if
            there is none.
        optional: Further functions that the adapter in the folder must define; a model alone is checked
            without them, by fewer criteria.
        contract: How the check calls these functions, in Markdown.
        decoding: Decoding settings for a model on a server or in a saved folder.
        deliverables: Results that the learner hands in.
        measure: Function that measures the model, compares it with the base if there is one, and returns the
            criteria.
        base_functions: Functions that the adapter of the base must define; none if there is no base.
        subject: The model that the check measures.
        base: The model that it is compared with.
    """

    project: str
    goal: str
    chapters: tuple[str, ...]
    data: str
    reference: str
    steps: tuple[Step, ...]
    functions: tuple[str, ...]
    contract: str
    decoding: Decoding
    deliverables: tuple[Deliverable, ...]
    measure: Callable[..., Sequence[Criterion]]
    data_notes: str = ""
    larger_run: str = ""
    optional: tuple[str, ...] = ()
    base_functions: tuple[str, ...] = ()
    subject: str = "your model"
    base: str = "the model before your training"

    @property
    def parts(self) -> dict[str, Exercise]:
        """The exercises to solve, by the name of the function to write, in the order of the steps."""
        chosen = [part_of(name) for step in self.steps for name in step.parts]
        return {part.function: replace(part, name=part.function) for part in chosen}

    def grades(self, folder: Path) -> dict[str, Grade]:
        """Grade the parts in a folder.

        Raises:
            ValueError: The file with the parts is missing, raises an error or does not end.
        """
        path = folder / PARTS
        if not path.exists():
            raise ValueError(f"{path} is missing; llmguide start {self.project} {folder} writes it again")
        try:
            with time_limit(_SECONDS):
                written = runpy.run_path(str(path))
        except OutOfTime:
            raise ValueError(
                f"{path} has not finished after {_SECONDS} seconds; does a loop never end?"
            ) from None
        except (Exception, SystemExit) as error:
            place = line_of(error, str(path))
            raise ValueError(f"{path} raises {type(error).__name__}: {error}{place}") from error
        return {name: _grade(part, written.get(name)) for name, part in self.parts.items()}

    def check(self, model: Model, base: Model | None = None) -> Sequence[Criterion]:
        """Measure a model, and compare it with the base if the assignment has one.

        Raises:
            ValueError: The assignment needs a base, and `base` is None.
        """
        if not self.base_functions:
            return self.measure(model)
        if base is None:
            raise ValueError(f"{self.project} compares the model with {self.base}; give it as --base")
        return self.measure(model, base)


def written(grade: Grade) -> bool:
    """Return whether the learner has written the part that was graded."""
    return grade.mistake not in {"missing", "not written"}


def listed(grades: Mapping[str, Grade]) -> str:
    """Return a line for each part, and what is wrong with those that fail.

    A part that passes is marked [x], a wrong one [!], and one that is not written yet [ ].
    """
    marks = {part: "x" if grade.passed else "!" if written(grade) else " " for part, grade in grades.items()}
    lines = [f"  [{mark}] {part}" for part, mark in marks.items()]
    reasons = [f"\n{grades[part].message}" for part, mark in marks.items() if mark == "!"]
    return "\n".join([*lines, *reasons])


def part_of(name: str) -> Exercise:
    """Return a part by its name."""
    return OWN[name] if name in OWN else exercise(name)


def _grade(part: Exercise, function: object) -> Grade:
    if not callable(function):
        return Grade(False, f"{part.function}: {PARTS} defines no function {part.signature}.", "missing")
    return grade_exercise(part, function)
