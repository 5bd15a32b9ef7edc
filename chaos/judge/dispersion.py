"""F0, the variance-to-mean ratio that a count of requests has without any fluctuation of the service.

In an open loop it follows from the arrivals: 1 Poisson, 0 paced, 1/b gamma. In a closed loop it follows from nothing:
users wait for answers and for themselves, and F0 is neither 0 nor 1. There it is measured, over the `n0` windows of the
baseline: F0 = s^2 / m of their counts. What is called real beyond it is then fluctuation *more than before the fault*,
and F0 is itself known only to sqrt(2 / (n0 - 1)), which a limit has to allow for (`fluctuation`). The fit of
CV_raw^2(w) = F0 / (r w) + sigma^2 over several windows w would tell the users' noise from a slow fluctuation that the
service always has; it needs dozens of windows of 10 s, and a baseline has two or three.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaos.judge.baseline import Baseline
from chaos.record.terms import Terms


@dataclass(frozen=True)
class Dispersion:
    """F0, and over how many windows it was measured; None where the arrivals fix it."""

    f0: float
    windows: int | None = None


def dispersion_of(terms: Terms, baseline: Baseline | None) -> Dispersion | None:
    """Return F0; None where it would have to be measured and there is no baseline."""
    if terms.arrival_dispersion is not None:
        return Dispersion(terms.arrival_dispersion)
    return Dispersion(baseline.dispersion, baseline.n) if baseline else None
