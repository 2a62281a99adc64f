"""The records of the projects' runs, which their pages plot and tabulate.

A run of minutes cannot happen at each build of the site. Its command writes a record
(`llmguide.projects.run`). The records of the runs that the pages report are in ``project_records``, one file
for each seed.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("project_records")


def records(project: str) -> list[dict[str, Any]]:
    """Return the records of a project, ordered by seed.

    Args:
        project: Name of the project, or of a folder in it with runs that do not have the defaults, such as
            ``code-assistant/pretrained``.

    Raises:
        ValueError: The project has no record.

    >>> [record["seed"] for record in records("reward-model")][:2]
    [0, 1]
    """
    paths = (FOLDER / project).glob("*.json")
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if not found:
        raise ValueError(f"{FOLDER / project} holds no record; copy record.json of a run there")
    return sorted(found, key=lambda record: record["seed"])


def read_by(code: str) -> list[Path]:
    """Return the files of the records that code reads, for programs that have to know when they change.

    These are all records if the code computes a name.

    Args:
        code: Python source.

    >>> [path.name for path in read_by('runs = records("reward-model")')][:1]
    ['seed-0.json']
    >>> len(read_by("runs = records(name)")) > len(read_by("runs = records('reward-model')"))
    True
    """
    literal = r"""\brecords\((["'])([\w/-]+)\1\)"""
    if re.search(r"\brecords\(|[(,=]\s*records\b", re.sub(literal, "", code)):
        return sorted(FOLDER.rglob("*.json"))
    names = sorted({name for _, name in re.findall(literal, code)})
    return [path for name in names for path in sorted((FOLDER / name).glob("*.json"))]


def spread(values: Iterable[float], form: str = ".3f") -> str:
    """Write the range of a number over the seeds.

    Args:
        values: Number of each seed.
        form: Format of a number, such as ``".1%"``.

    >>> spread([0.7211, 0.6984, 0.7102], ".1%"), spread([2.0, 2.0], ".1f")
    ('69.8% to 72.1%', '2.0')
    """
    ordered = sorted(values)
    low, high = format(ordered[0], form), format(ordered[-1], form)
    return low if low == high else f"{low} to {high}"
