"""``llmguide project``: run one of the projects."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from llmguide.projects import MODULES
from llmguide.projects.run import Run

DESCRIPTION = """\
Run a project: a small program that trains a model from data to evaluation. Its page in the guide explains it;
llmguide check evaluates your run again, and passes or fails it. Repeat the command to resume a run.

Examples:
  llmguide project character-model
  llmguide project character-model --seed 1 --output runs/second
  llmguide project retrieval-chatbot --feedback simulated --output runs/learned
  llmguide project character-model --help"""


def _command(name: str, module: str) -> Callable[..., None]:
    """Return the command of a project, whose options are those of a run and the fields of its plan."""
    program = import_module(f"llmguide.projects.{module}")
    defaults = program.Plan()

    def command(
        *,
        plan: program.Plan = defaults,
        seed: int = 0,
        output: Path = Path("runs") / name,
    ) -> None:
        program.project(Run(name, plan, seed, output))

    command.__doc__ = f"""{program.project.__doc__}

    Args:
        plan: Options of the project.
        seed: Seed of everything random.
        output: Run folder; repeat the command to resume.
    """
    return command


COMMAND = {name: _command(name, module) for name, module in MODULES.items()}
