"""Which arrivals of a schedule have no row: what a process that died took with it.

The schedule is a pure function of the plan, so what should have been recorded is known to the last request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from probes.schedule import Arrival

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Lost:
    """Arrivals without a row: how many, the numbers of the first few, when the first and the last were due (ns)."""

    arrivals: int
    numbers: tuple[int, ...]
    first: int
    last: int


def lost(arrivals: Iterable[Arrival], recorded: NDArray[np.int64], until: int) -> Lost | None:
    """Return what of `arrivals` fell due by `until` (ns) and has no row; None where every one has.

    `recorded` are the scheduled times of the rows, in any order; two arrivals due in one ns need two rows.
    """
    rows = iter(np.sort(recorded).tolist())
    row = next(rows, None)
    numbers: list[int] = []
    count = first = last = 0
    for number, due, _ in takewhile(lambda arrival: arrival[1] <= until, arrivals):
        while row is not None and row < due:
            row = next(rows, None)
        if row == due:
            row = next(rows, None)
            continue
        count, first, last = count + 1, first if count else due, due
        if len(numbers) < _NAMED:
            numbers.append(number)
    return Lost(count, tuple(numbers), first, last) if count else None
