"""Distributions of a delay as the tables that netem draws from (tc-netem(8), DISTRIBUTION).

A table holds quantiles of a distribution of mean 0 and standard deviation 1, in steps of 1/8192: the kernel draws an
entry t at random and delays by `delay + jitter * t / 8192`. So `jitter` is the standard deviation. An entry is a 16-bit
number, so what lies further than 4 standard deviations from the mean comes as 4; the table is scaled so that its
deviation is 1 all the same. Entries stand in order, or the kernel's correlation would mean nothing.

The tables are our own, not those that iproute2 installs, so that a host without them, and netlink, get the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist, fmean, pstdev
from typing import Literal, get_args

Name = Literal["uniform", "normal", "pareto", "paretonormal"]
NAMES: tuple[str, ...] = get_args(Name)
SIZE = 4096
"""Entries; the kernel takes up to 16384."""
SCALE = 8192
_MOST = (2**15 - 1) / SCALE
_ACCURATE = 0.01  # of a deviation
_TAIL = 3.0  # the shape of the Pareto distribution: the least whole one that leaves a variance
_MIDDLES = [(index + 0.5) / SIZE for index in range(SIZE)]


def text_of(samples: Sequence[float]) -> str:
    """Return the table of samples as text: its entries with blanks between them.

    Raises ValueError where they have no deviation, or one that comes from a few far beyond what a table can hold.
    """
    ordered = sorted(samples)
    if len(ordered) < 2 or ordered[0] == ordered[-1]:
        raise ValueError("samples must differ: a distribution needs two at least")
    table = _table([ordered[int(middle * len(ordered))] for middle in _MIDDLES])
    if abs(pstdev(table) / SCALE - 1) > _ACCURATE:
        raise ValueError("samples: a few lie so far from the rest that no table of netem can hold them; leave them out")
    return " ".join(map(str, table))


@lru_cache(maxsize=16)
def entries(distribution: str) -> tuple[int, ...]:
    """Return the table of a distribution, by its name or by its text; none for uniform, which is the kernel's own."""
    match distribution:
        case "uniform":
            return ()
        case "normal":
            return _table([_normal(middle) for middle in _MIDDLES])
        case "pareto":
            return _table([_pareto(middle) for middle in _MIDDLES])
        case "paretonormal":
            return _table([0.25 * _normal(middle) + 0.75 * _pareto(middle) for middle in _MIDDLES])
        case _:
            return tuple(map(int, distribution.split()))


def _normal(share: float) -> float:
    return NormalDist().inv_cdf(share)


def _pareto(share: float) -> float:
    return float(((1 - share) ** (-1 / _TAIL) - 1.5) / 0.75**0.5)


def _table(quantiles: Sequence[float]) -> tuple[int, ...]:
    values = list(quantiles)
    for _ in range(100):  # cutting the tail changes mean and deviation, and setting these right moves the tail
        mean, deviation = fmean(values), pstdev(values)
        if abs(mean) < 1e-6 and abs(deviation - 1) < 1e-6:
            break
        values = [min(max((value - mean) / deviation, -_MOST), _MOST) for value in values]
    return tuple(round(value * SCALE) for value in values)
