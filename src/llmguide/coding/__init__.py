"""Programs that solve problems, and programs that models write: patterns, growth, prompts, and a judge.

Needs no torch. `judge` runs a solution in a box and says whether it is right, and why not.
"""

from llmguide.coding.sandbox.judging import judge, protections
from llmguide.coding.sandbox.verdicts import CheckTests, FunctionTests, ProgramTests, Verdict

__all__ = ["CheckTests", "FunctionTests", "ProgramTests", "Verdict", "judge", "protections"]
