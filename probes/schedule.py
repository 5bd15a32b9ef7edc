"""The send schedule, whole and fixed before the first send. Pure: a seed in, times and classes out.

Takes a process, a profile of the rate and a duration; gives offsets from the load's start in whole ns, sorted, in
[0, duration). The load sleeps to `start + offset` and never for a gap, so a late wake-up delays one request and shifts
none. Fixed does not mean held: a schedule is generated block by block from its seed, as often as it is asked for and
the same each time, so ten hours take no more memory than ten seconds.

The processes are stationary from the first instant: the mean count of any window is the integral of the rate over it.
For a gamma renewal process that takes a first gap drawn from the residual life, not from the gap distribution (which
would put extra arrivals at the start of every bursty load; Cox, "Renewal Theory", 1962, section 5). A shorter schedule
of the same seed and rate is a prefix of a longer one. The count is left random and not rescaled to rate x duration:
rescaling would take out part of the very dispersion that a judge subtracts.

Processes that share a load each take every n-th arrival of the one schedule, by its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from probes.profile import Floats, Profile
from probes.seeds import Stream, stream

Process = Literal["constant", "poisson", "gamma", "trace"]
Arrival = tuple[int, int, int]
"""One intended request: its number in the whole schedule, its absolute time in ns, the index of its form.

The form is its class; where keys are drawn otherwise for a while, the number of classes is added (`request.forms`)."""
Ints = NDArray[np.int64]
NS = 1_000_000_000
_BLOCK = 1024  # gaps drawn at a time, between two sends: a block takes some 0.1 ms


class Arrivals(Protocol):
    """Where the times of a schedule come from: `Renewals`, or the `trace.Replay` of a recording."""

    def offsets(self) -> Iterator[Ints]:
        """Yield ns from the start of the load, sorted, in blocks of bounded size; the same on every call."""


@dataclass(frozen=True)
class Renewals:
    """Arrivals of a renewal process over `duration` s.

    `shape` is that of gamma gaps: the variance-to-mean ratio of the counts tends to 1 / shape, so 1 is Poisson, less
    comes in bursts and more is smoother. None is evenly paced.
    """

    shape: float | None
    profile: Profile
    duration: float
    seed: int
    which: tuple[int, ...] = ()
    """Which of several streams of the seed."""
    phase: float = 0.0
    """Where paced arrivals begin, in gaps."""

    @classmethod
    def of(
        cls,
        process: Process,
        burstiness: float,
        profile: Profile,
        duration: float,
        seed: int,
        which: tuple[int, ...] = (),
        phase: float = 0.0,
    ) -> Renewals:
        """Return the arrivals of a process by its name."""
        shapes = {"constant": None, "poisson": 1.0, "gamma": burstiness}
        return cls(shapes[process], profile, duration, seed, which, phase)

    def offsets(self) -> Iterator[Ints]:
        """Yield ns from the start of the load, sorted, block by block."""
        end = round(self.duration * NS)
        for points in self._points():
            times = np.floor(self.profile.when(points) * NS)
            inside = int(np.searchsorted(times, end))
            yield times[:inside].astype(np.int64)
            if inside < len(times):
                return

    def _points(self) -> Iterator[Floats]:
        """Yield the points of the process at rate 1. Residual life of a gamma gap: U x gamma(shape + 1)."""
        if self.shape is None:
            yield from (np.arange(first, first + _BLOCK, dtype=np.float64) + self.phase for first in count(0, _BLOCK))
            return
        random, scale = stream(self.seed, Stream.TIMES, *self.which), 1 / self.shape
        points = np.array([random.random() * random.gamma(self.shape + 1, scale)])
        while True:
            yield points
            points = points[-1] + np.cumsum(random.gamma(self.shape, scale, _BLOCK))


@dataclass(frozen=True)
class Evenly:
    """So many arrivals over `seconds`, the first at 0; all of them there where it is no time at all."""

    requests: int
    seconds: float

    def offsets(self) -> Iterator[Ints]:
        """Yield ns from the beginning, sorted, block by block."""
        for first in range(0, self.requests, _BLOCK):
            numbers = np.arange(first, min(first + _BLOCK, self.requests), dtype=np.float64)
            yield np.floor(numbers * (self.seconds / self.requests) * NS).astype(np.int64)


@dataclass(frozen=True)
class Later:
    """The arrivals of another source, `by` ns later; those from `until` on (ns, None: never) are left out."""

    source: Arrivals
    by: int
    until: int | None = None

    def offsets(self) -> Iterator[Ints]:
        """Yield ns from the start of the load, sorted, block by block."""
        for offsets in self.source.offsets():
            times = offsets + self.by
            inside = len(times) if self.until is None else int(np.searchsorted(times, self.until))
            yield times[:inside]
            if inside < len(times):
                return


@dataclass(frozen=True, slots=True)
class Shift:
    """A stretch (ns from the start) in which forms are drawn by other weights; `first` is the form of class 0."""

    begin: int
    end: int
    weights: Sequence[float]
    first: int = 0


@dataclass(frozen=True)
class Schedule:
    """What one process of a load sends and when; `start` is absolute in ns. Each class has its weight.

    Of the numbers 0, 1, 2... of the whole load, worker j of n has j, j + n, j + 2n... They may begin at `number`, and
    their classes be drawn from another stream of the seed (`which`).
    """

    arrivals: Arrivals
    start: int
    weights: Sequence[float] = (1.0,)
    seed: int = 0
    worker: int = 0
    workers: int = 1
    shifts: tuple[Shift, ...] = ()
    number: int = 0
    which: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[Arrival]:
        """Yield the arrivals in order, as plain integers made a block at a time."""
        random, shares = stream(self.seed, Stream.CLASSES, *self.which), _shares(self.weights)
        for first, times in self._blocks():
            drawn = random.random(len(times))
            forms = np.searchsorted(shares, drawn, side="right")
            for shift in self.shifts:
                inside = slice(*np.searchsorted(times, (self.start + shift.begin, self.start + shift.end)))
                forms[inside] = shift.first + np.searchsorted(_shares(shift.weights), drawn[inside], side="right")
            own = self._own(first)
            begin = self.number + first
            numbers = range(begin + own.start, begin + len(times), self.workers)
            yield from zip(numbers, times[own].tolist(), forms[own].tolist(), strict=True)

    def due(self) -> Due:
        """Return a count of the arrivals that fall due as time goes on."""
        return Due(self.own_times())

    def per_window(self, window: int, windows: int) -> Ints:
        """Return the number of arrivals in each of `windows` windows of `window` ns from the start."""
        counts = np.zeros(windows, np.int64)
        for times in self.own_times():
            counts += np.bincount((times - self.start) // window, minlength=windows)
        return counts

    def own_times(self) -> Iterator[Ints]:
        """Yield the times of this worker's arrivals, absolute in ns, block by block."""
        return (times[self._own(first)] for first, times in self._blocks())

    def _blocks(self) -> Iterator[tuple[int, Ints]]:
        """Yield blocks of the whole load: how many arrivals came before, and the times."""
        first = 0
        for offsets in self.arrivals.offsets():
            yield first, self.start + offsets
            first += len(offsets)

    def _own(self, first: int) -> slice:
        return slice((self.worker - first) % self.workers, None, self.workers)


def _shares(weights: Sequence[float]) -> Floats:
    """Return up to where in [0, 1) a draw falls on each class."""
    upto = np.cumsum(weights)
    return np.asarray(upto / upto[-1])


class Due:
    """How many arrivals have fallen due: a second pass over the schedule, that goes forward with time only."""

    def __init__(self, blocks: Iterator[Ints]) -> None:
        self._blocks = blocks
        self._before, self._block = 0, np.empty(0, np.int64)

    def by(self, now: int) -> int:
        """Return how many are due by `now` (ns). Of a time before that of an earlier call it may say more than were."""
        while not len(self._block) or self._block[-1] <= now:
            following = next(self._blocks, None)
            if following is None:
                break
            self._before, self._block = self._before + len(self._block), following
        return self._before + int(np.searchsorted(self._block, now, side="right"))
