"""The check that the formulas of this folder share."""

import math


def require_positive(**values: float) -> None:
    """Raise ValueError unless each value is a finite number above 0."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value} must be a finite number above 0")
