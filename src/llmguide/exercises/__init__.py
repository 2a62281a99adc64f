"""Exercises that grade themselves and name the mistake.

``grade("attention", my_attention)`` runs your function on small inputs and compares it with the package's. If
the results differ, they are compared with those of typical wrong versions, the mutants that stand beside each
exercise; if one of them computes what you computed, that is your mistake, and it has a name.
"""

from llmguide.exercises.grading import Exercise, Grade, Mistake, exercise, exercises, grade

__all__ = ["Exercise", "Grade", "Mistake", "exercise", "exercises", "grade"]
