"""The highest rate that is sustained, by trying. Pure: the trial is given."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

STEP = 1.25
PRECISION = 1.06
_LOWEST = 50  # parts of the guess; below that nothing is looked for


def highest(sustains: Callable[[float], bool], guess: float) -> float:
    """Return a rate that was sustained when one 6 % higher was not; 0 when none down to guess / 50 was.

    Steps from the guess, each 25 % wider than the one before, bracket it; bisection closes in.
    """
    low, high = _bracket(sustains, guess)
    while low and high / low > PRECISION:
        middle = sqrt(low * high)
        low, high = (middle, high) if sustains(middle) else (low, middle)
    return low


def _bracket(sustains: Callable[[float], bool], guess: float) -> tuple[float, float]:
    """Return a rate that is sustained (0 where none is) and one that is not."""
    rate, step = guess, STEP
    if sustains(rate):
        while sustains(rate * step):
            rate, step = rate * step, step * STEP
        return rate, rate * step
    while rate > guess / _LOWEST:
        if sustains(rate / step):
            return rate / step, rate
        rate, step = rate / step, step * STEP
    return 0.0, rate


def twice(sustains: Callable[[float], bool]) -> Callable[[float], bool]:
    """Return the same trial with a second try: one hiccup of a shared machine does not lower what is sustained."""
    return lambda rate: sustains(rate) or sustains(rate)
