"""Counters per second in a small file mapped into memory, for who watches a load while it runs.

The load writes, anybody reads, nobody locks: each cell is one aligned 64-bit word with one writer, so a reader never
sees half a number, but two cells may be one request apart.

Layout, in signed 64-bit cells of the machine's byte order:

    0 magic   1 start (ns)   2 window (ns)   3 windows   4 in flight   5 waiting (due, unsent)   6 state   7 called off
    8 + (5 + BUCKETS) i   for window i:  scheduled  ok  good  failed  completed, and BUCKETS latencies

`scheduled ok good failed` belong to the window of the *scheduled* time, so ok / scheduled is a ratio without arrival
noise; `scheduled` is the plan's and stands from the start, ahead of time. `completed` counts the ok ones in the window
in which they *ended*: the rate of requests an operator sees. ok: a complete answer with status 200 to 399. good: ok,
and within the SLO (`slo`). failed: everything else that has an outcome. The latencies are of the completed ones, from
the scheduled instant, counted by `histogram`.

`called off` has a bit for each overlay of the plan that was called off; what it still had to come is then no longer in
`scheduled`.

Several processes that share one load have a file each; `total` adds what they say.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from probes.histogram import BUCKETS, bucket_of, quantile

MAGIC = int.from_bytes(b"gdlive1\0", "little")
WINDOW = 1_000_000_000
_HEADER, _COUNTS, _CELL = 8, 5, 8
_FIELDS = _COUNTS + BUCKETS
_IN_FLIGHT, _WAITING, _STATE, _CALLED_OFF = 4, 5, 6, 7
_SCHEDULED, _OK, _GOOD, _FAILED, _COMPLETED = range(_COUNTS)
Counts = NDArray[np.int64] | NDArray[np.float64]
State = Literal["ready", "running", "ended"]
_STATES: tuple[State, ...] = ("ready", "running", "ended")


def bytes_of(first: int, last: int) -> tuple[int, int]:
    """Return where in the file the windows [first, last) stand: an offset and a length. Before them is the header."""
    return (_HEADER + _FIELDS * first) * _CELL, _FIELDS * (last - first) * _CELL


class LiveWriter:
    """The load's side. `scheduled` counts the arrivals of each window; ends behind the last of them count in it."""

    def __init__(self, path: Path, start: int, scheduled: NDArray[np.int64]) -> None:
        self._start, self.windows = start, len(scheduled)
        with path.open("xb+") as file:
            file.truncate((_HEADER + _FIELDS * self.windows) * _CELL)
            self._map = mmap.mmap(file.fileno(), 0)
        self._cells = memoryview(self._map).cast("q")
        table = np.frombuffer(self._map, np.int64, offset=_HEADER * _CELL).reshape(-1, _FIELDS)
        self._scheduled = table[:, _SCHEDULED]
        self._scheduled[:] = scheduled
        self._cells[1], self._cells[2], self._cells[3] = start, WINDOW, self.windows
        self._cells[0] = MAGIC  # last: a reader that sees it sees the rest

    def sent(self, at: int) -> None:
        """Count one more request as scheduled at `at`: for a closed loop, whose plan does not know them beforehand."""
        self._cells[_HEADER + (at - self._start) // WINDOW * _FIELDS + _SCHEDULED] += 1

    def call_off(self, overlay: int, scheduled: NDArray[np.int64]) -> None:
        """Show that an overlay was called off, and what is scheduled now."""
        self._scheduled[:] = scheduled
        self._cells[_CALLED_OFF] |= 1 << overlay

    def ended(self, scheduled: int, end: int, ok: bool, good: bool) -> None:
        """Count one request that has its outcome; `good` says nothing where it is not ok."""
        cells = self._cells
        row = _HEADER + (scheduled - self._start) // WINDOW * _FIELDS
        if not ok:
            cells[row + _FAILED] += 1
            return
        cells[row + _OK] += 1
        if good:
            cells[row + _GOOD] += 1
        window = min((end - self._start) // WINDOW, self.windows - 1)
        row = _HEADER + window * _FIELDS
        cells[row + _COMPLETED] += 1
        cells[row + _COUNTS + bucket_of((end - scheduled) // 1000)] += 1

    def gauge(self, in_flight: int, waiting: int, state: State) -> None:
        """Show how many requests are out, how many are due and not sent, and whether the load runs."""
        self._cells[_IN_FLIGHT], self._cells[_WAITING] = in_flight, waiting
        self._cells[_STATE] = _STATES.index(state)


@dataclass(frozen=True)
class Live:
    """What the counters said at one moment. Arrays have one entry for each window of `window` ns from `start` (ns).

    `latencies` has a row of BUCKETS counts a window. A load counts; what is only watched may come as fractions, and as
    NaN where nothing is known.
    """

    start: int
    window: int
    in_flight: int
    waiting: int
    state: State
    scheduled: Counts
    ok: Counts
    good: Counts
    failed: Counts
    completed: Counts
    latencies: NDArray[np.int64]
    called_off: int = 0

    def latency(self, share: float, first: int, last: int) -> NDArray[np.float64]:
        """Return a quantile of the latencies (s) that ended in each window of [first, last); nan where none did."""
        return quantile(self.latencies[first:last], share)


def total(parts: Sequence[Live]) -> Live:
    """Return what processes that share one load say together. Raises ValueError for none, or for different loads."""
    if len({(part.start, part.window, len(part.ok)) for part in parts}) != 1:
        raise ValueError("the counters to be added must belong to one load")
    first = parts[0]
    states = {part.state for part in parts}
    return Live(
        start=first.start,
        window=first.window,
        in_flight=sum(part.in_flight for part in parts),
        waiting=sum(part.waiting for part in parts),
        state="ended" if states == {"ended"} else "ready" if states == {"ready"} else "running",
        scheduled=np.sum([part.scheduled for part in parts], axis=0),
        ok=np.sum([part.ok for part in parts], axis=0),
        good=np.sum([part.good for part in parts], axis=0),
        failed=np.sum([part.failed for part in parts], axis=0),
        completed=np.sum([part.completed for part in parts], axis=0),
        latencies=np.sum([part.latencies for part in parts], axis=0),
        called_off=reduce(and_, (part.called_off for part in parts)),
    )


class LiveReader:
    """The watcher's side, in any process. Raises OSError while there is no file yet, ValueError for another's."""

    def __init__(self, path: Path | str) -> None:
        with Path(path).open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._cells: NDArray[np.int64] = np.frombuffer(data, np.int64)
        if self._cells[0] != MAGIC:
            raise ValueError(f"{path}: not the live counters of a load, or not ready yet")

    def read(self) -> Live:
        """Return the counters as they are now."""
        now = self._cells.copy()
        table = now[_HEADER:].reshape(-1, _FIELDS)
        _, start, window, _, in_flight, waiting, state, called_off = (int(cell) for cell in now[:_HEADER])
        scheduled, ok, good, failed, completed = table[:, :_COUNTS].T
        return Live(
            start, window, in_flight, waiting, _STATES[state], scheduled, ok, good, failed, completed,
            latencies=table[:, _COUNTS:], called_off=called_off,
        )  # fmt: skip
