"""The acceptance test of a run: criteria with measured values, and whether all are met."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llmguide.guide import GUIDE
from llmguide.projects.run import read_run
from llmguide.runs.folder import say
from llmguide.runs.tables import Columns, Table, show


class Criterion(NamedTuple):
    """One requirement of a run.

    Attributes:
        measure: Name of the measured quantity.
        value: Measured value.
        required: The requirement in words, with its threshold.
        passed: Whether the value meets the requirement.
    """

    measure: str
    value: float
    required: str
    passed: bool


def above(measure: str, value: float, threshold: float, baseline: str = "") -> Criterion:
    """Require a value above a threshold, which may be the score of a baseline.

    >>> above("accuracy, lower bound", 0.71, 0.6)
    Criterion(measure='accuracy, lower bound', value=0.71, required='above 0.6', passed=True)
    >>> above("accuracy, lower bound", 0.71, 0.7512, "majority class").required
    'above 0.751 (majority class)'
    """
    required = f"above {threshold:.3f} ({baseline})" if baseline else f"above {threshold:g}"
    return Criterion(measure, value, required, value > threshold)


def below(measure: str, value: float, threshold: float, baseline: str = "") -> Criterion:
    """Require a value below a threshold, which may be the score of a baseline."""
    required = f"below {threshold:.3f} ({baseline})" if baseline else f"below {threshold:g}"
    return Criterion(measure, value, required, value < threshold)


def at_least(measure: str, value: float, threshold: float) -> Criterion:
    """Require a value of at least a threshold."""
    return Criterion(measure, value, f"at least {threshold:g}", value >= threshold)


def at_most(measure: str, value: float, threshold: float) -> Criterion:
    """Require a value of at most a threshold."""
    return Criterion(measure, value, f"at most {threshold:g}", value <= threshold)


def require_finished(name: str, folder: Path) -> None:
    """Refuse a folder that holds no finished run of a project.

    Raises:
        ValueError: The folder holds no finished run of that project.
    """
    if not (folder / "run.json").exists():
        raise ValueError(f"{folder} holds no run; create one with: llmguide project {name} --output {folder}")
    project = read_run(folder).get("project")
    if project != name:
        raise ValueError(f"{folder} holds a run of {project!r}, not of {name!r}")
    if not (folder / "record.json").exists():
        raise ValueError(f"the run in {folder} is not finished; repeat its command to resume it")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def verdict(project: str, source: str, criteria: Sequence[Criterion]) -> bool:
    """Print the criteria as a table, name those that failed, and return whether all of them passed.

    Args:
        project: Name of the project.
        source: Run or model that was checked.
        criteria: Criteria with the measured values.
    """
    rows = [{**criterion._asdict(), "passed": "yes" if criterion.passed else "NO"} for criterion in criteria]
    columns: Columns = {"measure": str, "value": _number, "required": str, "passed": str}
    show(Table(f"{project}: {source}", columns, rows), as_json=False)
    if not (failed := [criterion.measure for criterion in criteria if not criterion.passed]):
        say("passed")
        return True
    say(f"not passed: {'; '.join(failed)}")
    say(f"See what went wrong in our runs: {GUIDE}projects/{project}/#what-went-wrong")
    return False
