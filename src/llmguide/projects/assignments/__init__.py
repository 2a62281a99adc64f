"""Assignments: projects that a learner implements, from stubs to a checked model.

``llmguide start PROJECT`` writes the folder of an assignment. ``llmguide check PROJECT FOLDER`` grades its
parts, and measures the learner's model through an adapter. The module of a project has ``ASSIGNMENT``, and
``measure``, which takes the model, and also the model before training where the check compares the two.
"""

from importlib import import_module

from llmguide.projects.assignments.assignment import Assignment

NAMES = (
    "character-model",
    "continued-pretraining",
    "small-lm",
    "fine-tuning",
    "instruction-tuning",
    "domain-expert",
    "reward-model",
    "rlhf",
    "constitutional-ai",
)


def assignment_of(project: str) -> Assignment:
    """Return the assignment of a project.

    Raises:
        ValueError: The project has none.
    """
    if project not in NAMES:
        raise ValueError(f"{project} has no assignment; these have one: {', '.join(NAMES)}")
    found: Assignment = import_module(f"{__name__}.{project.replace('-', '_')}").ASSIGNMENT
    return found
