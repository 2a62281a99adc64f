"""``llmguide project``: run one of the projects."""

from importlib import import_module

from llmguide.projects import MODULES

DESCRIPTION = """\
Run a project: a small program that trains a model from data to evaluation. Its page in the guide explains it;
llmguide check evaluates your run again, and passes or fails it. Repeat the command to resume a run.

Examples:
  llmguide project character-model
  llmguide project character-model --seed 1 --output runs/second
  llmguide project character-model --help"""

COMMAND = {name: import_module(f"llmguide.projects.{module}").project for name, module in MODULES.items()}
