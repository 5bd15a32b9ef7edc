"""Whether traffic that was only watched was seen well enough: asked before any figure is believed.

The traffic is as it is and nobody promised a rate. What can fail is the watching: a query without an answer leaves a
gap, and more than a tenth of gaps could hide an outage.
"""

from __future__ import annotations

import numpy as np

from chaos.judge.generator import Gate
from chaos.judge.series import Series
from chaos.judge.verdict import Generator
from chaos.record.recording import Recording
from chaos.record.traffic import read_traffic

GAPS = 0.10


def watched_gate(recording: Recording, series: Series, begin: int) -> Gate:
    """Judge the watching from window `begin` on, counted from zero."""
    seen = slice(max(begin - series.first, 0), None)
    qps, offered = series.qps[seen], series.scheduled[seen] / series.window_s
    known = ~np.isnan(qps)
    problems = _gaps(recording, known)
    generator = Generator(
        loop="watched",
        offered_rate=float(np.mean(offered[known])) if recording.terms.offered_known and known.any() else None,
        achieved_rate=float(np.mean(qps[known])) if known.any() else 0.0,
        sound=not problems,
    )
    return Gate(generator, problems)


def _gaps(recording: Recording, known: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[str, ...]:
    gaps, n = int(np.sum(~known)), len(known)
    if n and gaps <= GAPS * n:
        return ()
    why = next((f": {row['why']}" for row in reversed(read_traffic(recording.path)) if "why" in row), "")
    return (f"{gaps} of {n} windows have no value, at most {GAPS:.0%} may be gaps{why}",)
