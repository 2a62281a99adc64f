"""Write the folder of an assignment: specification, stubs, tests, adapter, and a report with its rubric."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from llmguide.exercises.course import AGENTS, agents
from llmguide.exercises.definition import Exercise
from llmguide.files import write_text
from llmguide.guide import GUIDE
from llmguide.projects.assignments.assignment import PARTS, Assignment, part_of

MARKER = "assignment.json"
ADAPTER, BASE_ADAPTER = "adapter.py", "base_adapter.py"
DIFFICULTY = {1: "easy", 2: "medium", 3: "hard"}
STUBS = {
    "generate": '''def generate(prompt: str) -> str:
    """Generate a completion of the prompt, without the prompt."""
    raise NotImplementedError
''',
    "logprob": '''def logprob(prompt: str, completion: str) -> float:
    """Return the log-probability of the completion given the prompt, summed over its tokens, in nats."""
    raise NotImplementedError
''',
    "reward": '''def reward(prompt: str, completion: str) -> float:
    """Return the reward of the completion; higher is better."""
    raise NotImplementedError
''',
    "encode": '''def encode(text: str) -> list[int]:
    """Return the token ids of the text."""
    raise NotImplementedError
''',
    "decode": '''def decode(ids: list[int]) -> str:
    """Return the text of token ids."""
    raise NotImplementedError
''',
    "predicted_bits_per_byte": '''def predicted_bits_per_byte() -> float:
    """Return the bits per held-out byte that you predicted for this model before you trained it."""
    raise NotImplementedError
''',
}


def write_folder(assignment: Assignment, folder: Path) -> list[str]:
    """Write the files that are missing from the folder of an assignment; existing files are not changed.

    Returns:
        The names of the files that were written.

    Raises:
        ValueError: The folder is another assignment, or has files and is not an assignment, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose a folder")
    if not is_folder_of(assignment, folder) and folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and is not an assignment; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        MARKER: _marker(assignment.project) + "\n",
        "SPEC.md": specification(assignment, folder),
        PARTS: stubs(assignment),
        "test_parts.py": _tests(assignment),
        "train.py": _training(assignment),
        ADAPTER: _adapter(assignment.subject, (*assignment.functions, *assignment.optional)),
        "REPORT.md": report(assignment),
        AGENTS: agents(),
    }
    if assignment.base_functions:
        files[BASE_ADAPTER] = _adapter(assignment.base, assignment.base_functions)
    missing = [name for name in files if not (folder / name).exists()]
    for name in missing:
        write_text(folder / name, files[name])
    return missing


def is_folder_of(assignment: Assignment, folder: Path) -> bool:
    """Return whether a folder contains an assignment.

    Raises:
        ValueError: It contains another assignment, or the file that names it is damaged.
    """
    marker = folder / MARKER
    if not marker.exists():
        return False
    try:
        project = json.loads(marker.read_text(encoding="utf-8"))["project"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{marker} is damaged; its text must be {_marker(assignment.project)}") from None
    if project != assignment.project:
        raise ValueError(f"{folder} is the assignment {project}, not {assignment.project}")
    return True


def specification(assignment: Assignment, folder: Path) -> str:
    """Write the specification: the goal, the data, the steps, the check and the deliverables."""
    project = assignment.project
    hours = sum(step.hours for step in assignment.steps)
    lines = [
        f"# Assignment: {project}",
        assignment.goal,
        f"Plan about {hours:g} hours of your own time. You write the parts in `{PARTS}` and the "
        "training code in `train.py`. Use PyTorch, but no library that trains for you.",
        "- The project's page reports the results of the reference solution, and what went wrong: "
        f"<{GUIDE}projects/{project}/>\n"
        + "- These chapters explain the methods: "
        + ", ".join(f"<{GUIDE}{page}/>" for page in assignment.chapters),
        f"- `python -m pytest {folder}` tests the parts, after `pip install pytest`.\n"
        f"- `llmguide check {project} {folder}` tests the parts and, if all of them pass, your model.",
        "A test that fails names your mistake if it is a common one. The llmguide package contains the "
        "solution of every part; try a part yourself before you look.",
        "## Data",
        f"```python\n{assignment.data}\n```",
        *filter(None, [assignment.data_notes]),
        "## The reference solution",
        f"{assignment.reference} The default run is `llmguide project {project}`; the page has its options.",
        *filter(None, [assignment.larger_run]),
    ]
    for i, step in enumerate(assignment.steps, 1):
        lines += [
            f"## Step {i}: {step.title}",
            f"{DIFFICULTY[step.difficulty].capitalize()}, about {step.hours:g} "
            + ("hour." if step.hours == 1 else "hours."),
            step.task,
        ]
        if step.parts:
            lines.append("\n".join(f"- `{part_of(name).signature}`" for name in step.parts))
    lines += [
        "## The check",
        f"The check calls {_listed((*assignment.functions, *assignment.optional))} in `{ADAPTER}` for "
        + assignment.subject
        + (
            f", and {_listed(assignment.base_functions)} in `{BASE_ADAPTER}` for {assignment.base}."
            if assignment.base_functions
            else "."
        ),
        assignment.contract,
        f"Instead of the folder, `llmguide check {project}` accepts a Python file like `{ADAPTER}`"
        + (
            ", the URL of an OpenAI-compatible server (`http://localhost:8000/v1#model-name`)"
            if assignment.functions == ("generate",)
            else ""
        )
        + ", or a folder with a model and its "
        "tokenizer: `llmguide.save(model, FOLDER)` and `tokenizer.save(FOLDER + '/tokenizer.json')`, or "
        "`save_pretrained` of both in transformers."
        + (f" In that case, give {assignment.base} as `--base`." if assignment.base_functions else "")
        + (
            f" Without {_listed(assignment.optional)}, fewer criteria are checked."
            if assignment.optional
            else ""
        ),
        "## What you hand in",
        "`REPORT.md` has a section and a rubric for each of these deliverables:",
        "\n".join(f"- {each.name}. Pass: {each.passing}" for each in assignment.deliverables),
    ]
    return "\n\n".join(lines) + "\n"


def stubs(assignment: Assignment) -> str:
    """Write the functions to implement, each with its task as the docstring."""
    head = f'"""Parts of the assignment {assignment.project}. The steps are in SPEC.md."""\n\nimport torch\n'
    functions = [
        f'def {part.signature}:\n    """{_docstring(part)}\n    """\n    raise NotImplementedError\n'
        for part in assignment.parts.values()
    ]
    return "\n\n".join([head, *functions])


def report(assignment: Assignment) -> str:
    """Write the template of the report."""
    lines = [
        f"# Report: {assignment.project}",
        "Replace the text in brackets. Grade each section by its rubric before you hand in the report.",
    ]
    for deliverable in assignment.deliverables:
        lines += [
            f"## {deliverable.name}",
            f"| Rubric | |\n| :-- | :-- |\n| Pass | {deliverable.passing} |\n| Excellent | "
            f"{deliverable.excellent} |",
            "[your text]",
        ]
    lines += [
        "## Results",
        "[the table that llmguide check prints, for each seed, next to the reference solution's results]",
        "## Training log",
        "[command, hardware, time, number of parameters, training tokens, learning rate, loss curve]",
        "## Model card",
        "[training data and its license, intended use, known failures, how to load the model]",
        "## Share your work",
        "Push this folder to a repository of your own. To publish the model, save it in the format of "
        "transformers (`llmguide.models.huggingface.convert.to_hf`) and upload that folder, with the model "
        "card as `README.md`: `hf upload OWNER/NAME FOLDER`.\n\n"
        "[links, what did not work, what you would try next]",
    ]
    return "\n\n".join(lines) + "\n"


def _marker(project: str) -> str:
    return json.dumps({"project": project})


def _tests(assignment: Assignment) -> str:
    names = "".join(f'    "{name}",\n' for name in assignment.parts)
    return f'''"""Tests of the parts. A failure names the mistake if it is a common one."""

from pathlib import Path

import pytest

from llmguide.projects.assignments import assignment_of

PARTS = [
{names}]


@pytest.fixture(scope="module")
def grades():
    return assignment_of("{assignment.project}").grades(Path(__file__).parent)


@pytest.mark.parametrize("part", PARTS)
def test_part(part, grades):
    if not grades[part].passed:
        pytest.fail(grades[part].message, pytrace=False)
'''


def _training(assignment: Assignment) -> str:
    return f'''"""Train the model of the assignment {assignment.project} with your parts and save it."""

import torch
import parts

{assignment.data}

# Write your model and your training here. Call the functions of parts.py where they fit. Some of them show
# one step on small inputs; write the same for your whole model here. Log the loss, print samples, save
# checkpoints, and save the files that adapter.py loads.
'''


def _adapter(what: str, functions: Sequence[str]) -> str:
    stubs = "\n\n".join(STUBS[name] for name in functions)
    head = f'"""Adapter of {what}. llmguide check calls these functions. Load the model once, at import."""'
    return f"{head}\n\n\n{stubs}"


def _listed(functions: Sequence[str]) -> str:
    *first, last = (f"`{name}`" for name in functions)
    return f"{', '.join(first)} and {last}" if first else last


def _docstring(part: Exercise) -> str:
    """Return the task without the signature, which is above the docstring.

    >>> _docstring(part_of("mixing-rates"))[:40]
    'Return the list of the probabilities of '
    """
    task = part.task.removeprefix(part.signature)
    for start in (" returns ", ": "):
        if task.startswith(start):
            return _wrapped(f"Return {task.removeprefix(start)}")
    return _wrapped(part.task)


def _wrapped(text: str) -> str:
    """Break a text at spaces into indented lines.

    >>> _wrapped("f(x): the value.")
    'f(x): the value.'
    """
    return re.sub(r"(.{1,92})(?: |$)", lambda line: f"{line[1]}\n    ", text).rstrip()
