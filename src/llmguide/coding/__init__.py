"""Coding: algorithm patterns, time complexity, prompts, and a judge for model-written code.

Needs no torch. `judge` runs a solution in a sandbox and returns whether it passes, and why not.
"""

from llmguide.coding.sandbox.judging import judge, protections
from llmguide.coding.sandbox.verdicts import CheckTests, FunctionTests, ProgramTests, Verdict

__all__ = ["CheckTests", "FunctionTests", "ProgramTests", "Verdict", "judge", "protections"]
