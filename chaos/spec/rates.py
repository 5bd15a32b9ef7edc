"""The intended rate over time, as the terms of a run keep it: enough to say how many requests a span should have held.

Steps are kept as they are. Of a trace, the arrivals of the very schedule that will be sent are counted in up to 100
equal parts of each phase, so that the count of a whole phase is exact.
"""

from __future__ import annotations

import math
from itertools import pairwise

from chaos.errors import InputError
from chaos.overlays import RatePiece
from chaos.spec.arrivals import Arrivals

_PARTS = 100


def intended_rates(
    arrivals: Arrivals, warmup: float, baseline: float, observe: float, seed: int
) -> tuple[RatePiece, ...]:
    """Return the pieces, or none where one rate is meant throughout. Raises InputError for a trace that is wrong."""
    begin = -warmup - baseline
    if arrivals.trace is not None:
        return _counted(arrivals, arrivals.trace, _edges(begin, -baseline, 0.0, observe), seed)
    pieces = []
    for step in arrivals.steps:
        end = observe if step.for_ is None else begin + step.for_
        first, last = step.rates
        pieces.append(RatePiece(begin=begin, end=end, first=first, last=last))
        begin = end
    return tuple(pieces)


def mean_rate(profile: tuple[RatePiece, ...], begin: float, end: float) -> float:
    """Return the mean over a span, in 1/s."""
    return sum(piece.intended(begin, end) for piece in profile) / (end - begin)


def _edges(*marks: float) -> list[float]:
    """Return where the parts of all phases begin and end, given where the phases do, in s from zero."""
    edges = [marks[0]]
    for begin, end in pairwise(marks):
        parts = min(_PARTS, math.ceil(end - begin))
        edges += [begin + (end - begin) * (part + 1) / parts for part in range(parts)]
    return edges


def _counted(arrivals: Arrivals, trace: str, edges: list[float], seed: int) -> tuple[RatePiece, ...]:
    import numpy as np

    from probes.errors import PlanError
    from probes.trace import Replay

    counts = np.zeros(len(edges) - 1, np.int64)
    try:
        for offsets in Replay.of(trace, arrivals.fit, arrivals.rate, edges[-1] - edges[0], seed).offsets():
            counts += np.histogram(offsets / 1e9 + edges[0], edges)[0]
    except PlanError as error:
        raise InputError(str(error)) from error
    rates = [count / (end - begin) for count, (begin, end) in zip(counts.tolist(), pairwise(edges), strict=True)]
    return tuple(
        RatePiece(begin=begin, end=end, first=rate, last=rate)
        for rate, (begin, end) in zip(rates, pairwise(edges), strict=True)
    )
