"""A series as one line of text, and a line beneath it that says when a fault held and when the service was back.

Takes plain numbers, gives plain text; called by the terminal, the live view and pytest's failure messages. The bars
start at zero, so that half the height is half the rate: a line scaled to its own extremes makes a cliff of any noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from chaos.report.marks import Marks

BARS = "▁▂▃▄▅▆▇█"
HELD, BACK = "━", "▲"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return at most `width` bars. Where values outnumber bars each bar is a mean; one without a value is a blank."""
    means = squeeze(values, width)
    top = max((m for m in means if not math.isnan(m)), default=0.0)
    return "".join(_bar(m, top) for m in means)


def squeeze(values: Sequence[float], width: int) -> list[float]:
    """Return the means of at most `width` runs of equal length (to one value); NaN where a run has no value."""
    count = min(len(values), width)
    edges = [i * len(values) // count for i in range(count + 1)] if count else []
    return [_mean(values[a:b]) for a, b in pairwise(edges)]


def span_line(marks: Marks, start_s: float, end_s: float, width: int) -> str:
    """Return the line beneath a sparkline of `width` bars from `start_s` to `end_s`: ━ while a fault held, ▲ back."""
    line = [" "] * width

    def column(at_s: float) -> int:
        return min(width - 1, max(0, int((at_s - start_s) / (end_s - start_s) * width)))

    for band in marks.bands if width else ():
        first, last = column(band.start_s), column(end_s if band.end_s is None else band.end_s)
        line[first : last + 1] = HELD * (last + 1 - first)
    if marks.recovered_s is not None and width:
        line[column(marks.recovered_s)] = BACK
    return "".join(line).rstrip()


def _bar(value: float, top: float) -> str:
    if math.isnan(value):
        return " "
    return BARS[round(value / top * (len(BARS) - 1))] if top > 0 else BARS[0]


def _mean(values: Sequence[float]) -> float:
    known = [float(v) for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan
