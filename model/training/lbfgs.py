"""L-BFGS (Nocedal 1980) for a smooth convex function: what SciPy has, without SciPy in the worker's image."""

from collections import deque
from collections.abc import Callable

import numpy as np

from inference.arrays import Doubles

Function = Callable[[Doubles], tuple[float, Doubles]]  # a point to the value and the gradient there

REMEMBERED_STEPS = 10
SUFFICIENT_DECREASE = 1e-4
SHORTEST_STEP = 1e-10


def minimise(function: Function, start: Doubles, *, most_steps: int, tolerance: float = 1e-7) -> Doubles:
    """The lowest point found; ends when a step lowers the value by less than `tolerance` of it."""
    point = start
    value, gradient = function(point)
    steps: deque[tuple[Doubles, Doubles]] = deque(maxlen=REMEMBERED_STEPS)
    for _ in range(most_steps):
        direction = -_scaled(gradient, steps)
        next_point, next_value, next_gradient = _line_search(function, point, direction, (value, gradient))
        moved, turned = next_point - point, next_gradient - gradient
        gain = value - next_value
        point, value, gradient = next_point, next_value, next_gradient
        if gain <= tolerance * max(1.0, abs(value)):
            break
        if moved @ turned > 0:
            steps.append((moved, turned))
    return point


def _scaled(gradient: Doubles, steps: deque[tuple[Doubles, Doubles]]) -> Doubles:
    """The gradient times the inverse curvature that the last steps have shown (the two-loop recursion)."""
    if not steps:
        shortened: Doubles = gradient / max(1.0, float(np.linalg.norm(gradient)))
        return shortened
    result, shares = gradient.copy(), []
    for moved, turned in reversed(steps):
        share = (moved @ result) / (turned @ moved)
        shares.append(share)
        result -= share * turned
    moved, turned = steps[-1]
    result *= (moved @ turned) / (turned @ turned)
    for (moved, turned), share in zip(steps, reversed(shares), strict=True):
        result += moved * (share - (turned @ result) / (turned @ moved))
    return result


def _line_search(
    function: Function, point: Doubles, direction: Doubles, here: tuple[float, Doubles]
) -> tuple[Doubles, float, Doubles]:
    """Halve the step until it lowers the value enough."""
    value, gradient = here
    slope, length = float(gradient @ direction), 1.0
    while True:
        next_point = point + length * direction
        next_value, next_gradient = function(next_point)
        if next_value <= value + SUFFICIENT_DECREASE * length * slope:
            return next_point, next_value, next_gradient
        length /= 2
        if length < SHORTEST_STEP:
            return point, value, gradient
