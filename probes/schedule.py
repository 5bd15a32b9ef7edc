"""The send schedule, whole and fixed before the first send. Pure: a seed in, times and classes out.

Takes a process, a rate and a duration; gives offsets from the load's start in whole ns, sorted, in [0, duration). The
load sleeps to `start + offset` and never for a gap, so a late wake-up delays one request and shifts none.

The processes are stationary from the first instant: the mean count of any window is rate x window. For a gamma
renewal process that takes a first gap drawn from the residual life, not from the gap distribution (which would put
extra arrivals at the start of every bursty load; Cox, "Renewal Theory", 1962, section 5). A shorter schedule of the
same seed and rate is a prefix of a longer one. The count is left random and not rescaled to rate x duration: rescaling
would take out part of the very dispersion that a judge subtracts.

Times and classes come from two streams of one seed, so neither depends on how much the other has drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Process = Literal["constant", "poisson", "gamma"]
Arrival = tuple[int, int, int]
"""One intended request: its number, its absolute time in ns, the index of its class."""
NS = 1_000_000_000
_BLOCK = 4096  # gaps drawn at a time; a fixed number, so that how many are needed does not change which come


def arrivals(process: Process, rate: float, duration: float, seed: int, burstiness: float = 1.0) -> NDArray[np.int64]:
    """Return the offsets of all arrivals in ns, sorted, in [0, duration).

    `rate` in 1/s, `duration` in s. `burstiness` is the shape b of the gamma process: the variance-to-mean ratio of its
    counts tends to 1/b, so b = 1 is Poisson, b < 1 comes in bursts and b > 1 is smoother than Poisson.
    """
    end = round(duration * NS)
    if process == "constant":
        offsets = np.floor(np.arange(np.ceil(duration * rate) + 1) * NS / rate)
        return offsets[offsets < end].astype(np.int64)
    shape = burstiness if process == "gamma" else 1.0
    return np.concatenate(list(_renewals(shape, NS / rate, end, _streams(seed)[0])))


def assign_classes(count: int, weights: Sequence[float], seed: int) -> NDArray[np.int16]:
    """Return for each arrival the index of its class, drawn by weight and independent of the times."""
    shares = np.cumsum(weights) / np.sum(weights)
    return np.searchsorted(shares, _streams(seed)[1].random(count), side="right").astype(np.int16)


@dataclass(frozen=True)
class Schedule:
    """What one load sends and when: `times` absolute in ns and sorted, `classes` beside them."""

    times: NDArray[np.int64]
    classes: NDArray[np.int16]
    worker: int = 0
    workers: int = 1

    def __iter__(self) -> Iterator[Arrival]:
        """Yield the arrivals in order, as plain integers made a block at a time."""
        for first in range(0, len(self.times), _BLOCK):
            part = slice(first, first + _BLOCK)
            numbers = count(self.worker + first * self.workers, self.workers)
            yield from zip(numbers, self.times[part].tolist(), self.classes[part].tolist(), strict=False)

    def due(self, now: int) -> int:
        """Return how many arrivals have fallen due by `now` (ns)."""
        return int(np.searchsorted(self.times, now, side="right"))

    def per_window(self, start: int, window: int, windows: int) -> NDArray[np.int64]:
        """Return the number of arrivals in each of `windows` windows of `window` ns from `start`."""
        return np.bincount((self.times - start) // window, minlength=windows).astype(np.int64)


def _renewals(shape: float, mean_gap: float, end: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield the offsets below `end` block by block. Residual life of a gamma gap: U x gamma(shape + 1)."""
    scale = mean_gap / shape
    last = float(rng.random() * rng.gamma(shape + 1, scale))
    block = np.array([last])
    while last < end:
        yield np.floor(block).astype(np.int64)
        block = last + np.cumsum(rng.gamma(shape, scale, _BLOCK))
        last = float(block[-1])
    yield np.floor(block[block < end]).astype(np.int64)


def _streams(seed: int) -> list[np.random.Generator]:
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)]
