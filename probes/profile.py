"""The rate that is meant at each moment, and the map that gives arrivals that rate. Pure.

A profile is a row of steps, in each of which the rate goes evenly from `first` to `last`: linear between points, with
jumps where one step ends and the next begins at another rate.

Arrivals get it by time rescaling: let u be the points of a stationary process of rate 1 and R(t) the integral of the
rate from 0 to t; then t = R^-1(u) has the rate r(t). Poisson stays Poisson (Cinlar, "Introduction to Stochastic
Processes", 1975, section 4.7; Lewis and Shedler 1979 call it the method of time-scale transformation), paced stays
paced, and gamma keeps its variance-to-mean ratio: the order of the points is kept, only time runs faster and slower.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.checks import check_number, check_optional
from probes.errors import PlanError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of `seconds` (None for the last: to the end of the load) at a rate from `first` to `last`, in 1/s."""

    seconds: float | None
    first: float
    last: float

    def __post_init__(self) -> None:
        check_optional("steps.seconds", self.seconds, above=0)
        check_number("steps.first", self.first, least=0)
        check_number("steps.last", self.last, least=0)


class Profile:
    """The rate over `duration` s. Raises PlanError where the steps do not fill it, or ask for nothing at all."""

    def __init__(self, steps: Sequence[Step], duration: float) -> None:
        spans = list(_spans(steps, duration))
        seconds = np.array([end - begin for begin, end, _ in spans])
        self._begin = np.array([begin for begin, _, _ in spans])
        self._first = np.array([step.first for _, _, step in spans], np.float64)
        self._slope = (np.array([step.last for _, _, step in spans]) - self._first) / seconds
        areas = np.cumsum([(step.first + step.last) / 2 * (end - begin) for begin, end, step in spans])
        self._area, self.total = np.concatenate(([0.0], areas[:-1])), float(areas[-1])
        if self.total == 0:
            raise PlanError("steps: every rate is 0, so nothing would be sent")
        self._even = len(spans) == 1 and spans[0][2].first == spans[0][2].last

    def when(self, mass: Floats) -> Floats:
        """Return R^-1: the times (s) up to which so many arrivals are meant; infinite for more than all of them.

        Within a step, mass = first t + slope t^2 / 2; this form of its root loses no digits where the slope is small.
        """
        with np.errstate(over="ignore"):  # at a rate next to none a time may be beyond every number: infinite
            return np.asarray(mass / self._first[0]) if self._even else self._within_steps(mass)

    def _within_steps(self, mass: Floats) -> Floats:
        step = np.searchsorted(self._area, mass, side="right") - 1
        rest, first = mass - self._area[step], self._first[step]
        twice_mean = first + np.sqrt(np.maximum(first * first + 2 * self._slope[step] * rest, 0.0))
        within = np.divide(2 * rest, twice_mean, out=np.zeros_like(rest), where=twice_mean > 0)
        return np.where(mass < self.total, self._begin[step] + within, math.inf)


def _spans(steps: Sequence[Step], duration: float) -> Iterator[tuple[float, float, Step]]:
    """Yield each step with its begin and end in s."""
    begin = 0.0
    for index, step in enumerate(steps):
        if begin >= duration:
            raise PlanError(f"steps: step {index + 1} would begin at {begin:g} s, the load lasts {duration:g} s")
        if step.seconds is None and index < len(steps) - 1:
            raise PlanError(f"steps: step {index + 1} says not how long it lasts; only the last may leave that out")
        end = duration if step.seconds is None else begin + step.seconds
        yield begin, end, step
        begin = end
    if begin < duration - 1e-9:  # 0.1 + 0.2 < 0.3 + 1e-17 in floats
        raise PlanError(
            f"steps: they end at {begin:g} s, the load lasts {duration:g} s; leave out how long the last is"
        )
