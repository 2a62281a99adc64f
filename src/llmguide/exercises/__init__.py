"""Exercises that grade themselves and name the mistake.

``grade("attention", my_attention)`` runs your function on small inputs and compares it with the package's. If
the results differ, they are compared with those of typical wrong versions (mutants); if one of them computes
the same as yours, that names your mistake.
"""

from llmguide.exercises.definition import Exercise, Mistake
from llmguide.exercises.grading import Grade, exercise, exercises, grade

__all__ = ["Exercise", "Grade", "Mistake", "exercise", "exercises", "grade"]
