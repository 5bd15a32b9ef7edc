"""The verdict of a run: what `verdict.json` holds and every report shows.

A verdict is one of pass, fail, unknown. Merging takes the worst, and unknown is worse than pass but not than fail: a
budget that is broken in a sound measurement is broken; a measurement that is not sound can't break anything, so there
`judge` says unknown throughout.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from chaos.record.terms import Frozen

Outcome = Literal["pass", "fail", "unknown"]
_WORST: tuple[Outcome, ...] = ("pass", "unknown", "fail")
VERSION = 1


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of several: fail > unknown > pass; pass when there is none."""
    return max(outcomes, key=_WORST.index, default="pass")


class Figure(Frozen):
    """One number with what it was measured over. `window_s` and `n` (windows or requests) where they apply."""

    value: float | None
    unit: str
    interval: tuple[float, float] | None = None
    window_s: float | None = None
    n: int | None = None


class BudgetLine(Frozen):
    """One budget against its figure. `side` says whether `limit` is the most or the least allowed."""

    name: str
    limit: float
    side: Literal["max", "min"]
    unit: str
    value: float | None
    interval: tuple[float, float] | None = None
    verdict: Outcome


class Generator(Frozen):
    """Whether the load was what it was meant to be. Rates in 1/s, delays in s.

    What it used of its machine is None where the recording does not say: `cpu_busiest` is the highest share of one core
    that any of its processes had in any second, the lags are of their event loops.

    loop: open (requests are due at fixed moments), closed (users send when they have their answers: no rate is offered)
    or watched (traffic that is there already).
    """

    loop: Literal["open", "closed", "watched"] = "open"
    offered_rate: float | None
    achieved_rate: float
    send_delay_p50_s: float | None = None
    send_delay_p99_s: float | None = None
    send_delay_max_s: float | None = None
    unsent: int = 0
    transport: str | None = None
    cpu_busiest: float | None = None
    loop_lag_p99_s: float | None = None
    loop_lag_max_s: float | None = None
    sound: bool


class FaultLine(Frozen):
    """One fault on one host; times in s from the end of the baseline."""

    id: str
    kind: str
    host: str
    applied_at_s: float | None
    cleared_at_s: float | None
    asked: dict[str, float] = Field(default_factory=dict)
    achieved: dict[str, float] = Field(default_factory=dict)
    confirmed: bool
    reverted: bool


class ProbeLine(Frozen):
    """What one health probe saw; times in s from the end of the baseline, None where it never did (see `probes`).

    `after_onset_s`: how much later than the load the probe saw it; less than 0 where it was sooner.
    """

    name: str
    kind: str
    n: int
    failed: int
    onset_at_s: float | None = None
    detected_at_s: float | None = None
    recovered_at_s: float | None = None
    after_onset_s: float | None = None


class Verdict(Frozen):
    """Everything that is said of a run. `reasons` says why it is not a pass, and why a figure has no value.

    `errors` counts the requests due in the observation that had no successful answer, by kind, the most first.
    """

    version: int = VERSION
    experiment: str
    run: str
    verdict: Outcome
    rehearsal: Outcome | None = None
    """What a rehearsal came to; its `verdict` is unknown whatever that is, since no fault was applied."""
    reasons: tuple[str, ...] = ()
    generator: Generator
    figures: dict[str, Figure]
    errors: dict[str, int] = Field(default_factory=dict)
    budgets: tuple[BudgetLine, ...] = ()
    faults: tuple[FaultLine, ...] = ()
    probes: tuple[ProbeLine, ...] = ()
    drift: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
