"""What this machine's load generator can do and how much it wavers by itself, measured against a null server.

    ceiling       the highest rate it kept, on one core: p99 of the send delay at most 1 ms, nothing unsent
    fluctuation   the CV of completed requests per window of a paced load (F0 = 0): the real CV is all the generator's

A budget for the real CV below the generator's own can't be measured here, and a rate above the ceiling can't be kept.
Which entry speaks for a rate: the one nearest by ratio, since what makes a generator waver (the scheduler, a shared
core) changes with its load and not with a difference in requests; of two equally near the larger CV.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from chaos.record.terms import Frozen, Least0, Positive, Terms


class Machine(Frozen):
    """What a calibration is valid for; a change in any of it needs another."""

    hostname: str
    cpu: str
    cores: int
    python: str
    gameday: str


class OwnFluctuation(Frozen):
    """The CV (dimensionless) of `n` windows of `window_s` at a paced `rate` (1/s)."""

    rate: Positive
    window_s: Positive
    n: int
    cv: Least0


class Calibration(Frozen):
    """One calibration; `measured` is a UTC time in ISO 8601, `ceiling` in 1/s."""

    version: int = 1
    measured: str
    machine: Machine
    ceiling: Least0
    fluctuation: Annotated[tuple[OwnFluctuation, ...], Field(min_length=1)]

    def nearest(self, rate: float) -> OwnFluctuation:
        """Return the entry that speaks for a rate in 1/s."""
        return min(self.fluctuation, key=lambda own: (abs(math.log(own.rate / rate)), -own.cv))

    def objection_to_cv(self, limit: float, terms: Terms) -> str:
        """Return why a limit on the real CV is too fine for this generator, or "".

        Counts in windows shorter than the calibration's waver more, so it holds for those too; of longer ones it says
        nothing.
        """
        if terms.rate <= 0:
            return ""
        own = self.nearest(terms.rate)
        if limit >= own.cv or terms.window > own.window_s:
            return ""
        return (
            f"{limit:g} is below the {own.cv:.2g} that the generator of {self.machine.hostname} wavers by itself "
            f"(measured {self.measured[:10]} at {own.rate:,.0f}/s against a null server): allow more, or measure from "
            "a quieter machine and calibrate it (gameday probe --calibrate)"
        )

    def objections(self, terms: Terms, processes: int = 1) -> Iterator[str]:
        """Yield why a load that `processes` share, and its budgets, can't be measured from this machine."""
        ceiling = self.ceiling * min(processes, self.machine.cores)
        if terms.peak_rate > ceiling:
            yield (
                f"load.arrivals.rate: {terms.peak_rate:,g}/s is above the {ceiling:,.0f}/s that the generator of "
                f"{self.machine.hostname} can keep with {processes} of its processes (measured {self.measured[:10]} "
                "against a null server): lower the rate, share the load between more processes or machines, or "
                "calibrate again (gameday probe --calibrate)"
            )
        for budget in terms.budgets:
            if budget.name == "qps_cv" and (objection := self.objection_to_cv(budget.limit, terms)):
                yield f"budgets.qps_cv: {objection}"
