"""Several schedules sent as one: that of a load, and those of the arrivals that its overlays add. Pure.

`schedule_of` makes it of a plan, and so says what any process of a load is to send, as often as it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter

import numpy as np

from probes.overlay import NUMBERS, Overlay
from probes.plan import LoadPlan
from probes.profile import Profile
from probes.schedule import NS, Arrival, Arrivals, Due, Evenly, Ints, Later, Renewals, Schedule, Shift
from probes.trace import Replay


@dataclass(frozen=True)
class Superposition:
    """What one process of a load sends and when: the arrivals of all parts, in the order of time."""

    parts: tuple[Schedule, ...]

    def __iter__(self) -> Iterator[Arrival]:
        """Yield the arrivals in order; of two at one time that of the earlier part is first."""
        return iter(self.parts[0]) if len(self.parts) == 1 else merge(*self.parts, key=itemgetter(1))

    def due(self) -> AllDue:
        """Return a count of the arrivals that fall due as time goes on."""
        return AllDue([part.due() for part in self.parts])

    def per_window(self, window: int, windows: int) -> Ints:
        """Return the number of arrivals in each of `windows` windows of `window` ns from the start of the load."""
        return np.asarray(np.sum([part.per_window(window, windows) for part in self.parts], axis=0), np.int64)


class AllDue:
    """How many arrivals of all parts have fallen due, like `Due`."""

    def __init__(self, parts: Sequence[Due]) -> None:
        self._parts = parts

    def by(self, now: int) -> int:
        """Return how many are due by `now` (ns)."""
        return sum(part.by(now) for part in self._parts)


def schedule_of(plan: LoadPlan) -> Superposition:
    """Return what a process is to send. Raises PlanError for a trace that is wrong."""
    if plan.trace is not None:
        source: Arrivals = Replay.of(plan.trace, plan.fit, plan.rate, plan.duration, plan.seed)
    else:
        source = Renewals.of(plan.process, plan.burstiness, plan.profile, plan.duration, plan.seed)
    weights, shifts = [kind.weight for kind in plan.classes], tuple(_shifts(plan))
    own = Schedule(source, plan.start, weights, plan.seed, plan.worker, plan.workers, shifts)
    added = (_added(plan, own, index) for index in range(len(plan.overlays)))
    return Superposition((own, *(part for part in added if part)))


def _added(plan: LoadPlan, own: Schedule, index: int) -> Schedule | None:
    """Return the arrivals that an overlay adds; None where it adds none."""
    overlay = plan.overlays[index]
    seconds, which = overlay.end - overlay.begin, (index,)
    if overlay.extra:
        profile = Profile(overlay.extra, seconds)
        process = "poisson" if plan.process == "trace" else plan.process
        source: Arrivals = Renewals.of(process, plan.burstiness, profile, seconds, plan.seed, which, phase=0.5)
    elif overlay.requests:
        source = Evenly(overlay.requests, seconds)
    else:
        return None
    later = Later(source, round(overlay.begin * NS), overlay.called_off)
    return Schedule(
        later, own.start, own.weights, own.seed, own.worker, own.workers, own.shifts, (index + 1) * NUMBERS, which
    )


def _shifts(plan: LoadPlan) -> Iterator[Shift]:
    """Yield each stretch in which forms are drawn otherwise; `request.forms` has their encoders in this order."""
    first = 0
    for overlay in plan.overlays:
        if not overlay.weights and overlay.keys is None:
            continue
        first += len(plan.classes) if overlay.keys else 0
        weights = overlay.weights or tuple(kind.weight for kind in plan.classes)
        yield Shift(round(overlay.begin * NS), _end(overlay), weights, first if overlay.keys else 0)


def _end(overlay: Overlay) -> int:
    end = round(overlay.end * NS)
    return end if overlay.called_off is None else min(end, overlay.called_off)
