"""How far to go in a direction: a line search for the strong Wolfe conditions.

Source: Nocedal & Wright 2006, "Numerical optimization", algorithms 3.5 and 3.6, with the choices of minFunc,
which torch follows too: cubic interpolation, and steps away from the ends of a bracket that hardly shrinks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.types import Array


class Point(NamedTuple):
    """What is known of a step along the direction."""

    t: float  # its length
    loss: float
    grad: Array
    slope: float  # grad · direction


def strong_wolfe(
    evaluate: Callable[[float], Point],
    start: Point,
    t: float,
    *,
    reach: float,
    tolerance: float,
    most: int,
    enough: float = 1e-4,
    flat: float = 0.9,
) -> tuple[Point, int]:
    """Find a step that lowers the loss enough and at which the slope is flat enough.

    Args:
        evaluate: From a length to its `Point`.
        start: The point of length 0, where the slope is negative.
        t: First length to try.
        reach: Largest entry of the direction, by size.
        tolerance: A bracket whose ends are closer than this is not narrowed.
        most: Evaluations after the first one.
        enough: Share of the loss that the first slope promises, which the step must at least win.
        flat: Largest slope at the end, as a share of the first one.

    Returns:
        The point, and the number of evaluations.
    """

    def too_high(point: Point) -> bool:
        return point.loss > start.loss + enough * point.t * start.slope

    def is_flat(point: Point) -> bool:
        return abs(point.slope) <= -flat * start.slope

    before, now, tried = start, evaluate(t), 0
    while tried < most:
        if too_high(now) or (tried > 1 and now.loss >= before.loss):
            break
        if is_flat(now):
            return now, tried + 1
        if now.slope >= 0:
            break
        bounds = (now.t + 0.01 * (now.t - before.t), now.t * 10)
        before, now, tried = now, evaluate(cubic_minimum(before, now, bounds)), tried + 1
    else:
        before = start

    # between these two there is a good step
    low, high = sorted((before, now), key=lambda point: point.loss)
    stuck = False
    while tried < most and abs(high.t - low.t) * reach >= tolerance:
        t = cubic_minimum(low, high)
        left, right = sorted((low.t, high.t))
        margin = 0.1 * (right - left)
        is_close = min(right - t, t - left) < margin
        if is_close and (stuck or t >= right or t <= left):
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            is_close = False
        stuck = is_close
        now, tried = evaluate(t), tried + 1
        if too_high(now) or now.loss >= low.loss:
            high = now
            if low.loss > high.loss:
                low, high = high, low
            continue
        if is_flat(now):
            return now, tried + 1
        if now.slope * (high.t - low.t) >= 0:
            high = low
        low = now
    return low, tried + 1


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Minimum of the cubic through two points with their slopes, held within bounds."""
    lowest, highest = bounds or (min(a.t, b.t), max(a.t, b.t))
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if square < 0:
        return (lowest + highest) / 2
    if a.t > b.t:
        a, b = b, a
    d2 = math.sqrt(square)
    t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return min(max(t, lowest), highest)
