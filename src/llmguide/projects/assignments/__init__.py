"""Assignments: projects that a learner implements, from stubs to a checked model.

``llmguide start PROJECT`` writes the folder of an assignment. ``llmguide check PROJECT FOLDER`` grades its
parts and measures the learner's model through an adapter. Each project has a module here that defines
``ASSIGNMENT`` and ``measure``. ``measure`` takes the trained model and, where the check compares two models,
the base.
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
        ValueError: The project has no assignment.
    """
    if project not in NAMES:
        raise ValueError(f"{project} has no assignment; the projects that have one are {', '.join(NAMES)}")
    found: Assignment = import_module(f"{__name__}.{project.replace('-', '_')}").ASSIGNMENT
    return found
