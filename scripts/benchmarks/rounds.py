"""Measures one after another, again and again: A B C, A B C, ... so that what drifts meets them all.

A ratio is taken within a round; of the rounds the median counts, and the lowest and the highest say how sure it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan
from statistics import median

from scripts.benchmarks.figures import Figure, Target, quantity
from scripts.benchmarks.processes import BenchError

Measured = Mapping[str, Sequence[float]]
"""What each client reached, round by round; nan where it failed."""


def in_rounds(measures: Mapping[str, Callable[[], float]], rounds: int, say: Callable[[str], None]) -> Measured:
    """Take every measure once in each round. One that fails is said and left out of that round."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(1, rounds + 1):
        for name, measure in measures.items():
            try:
                value = measure()
            except BenchError as error:
                say(f"round {number}: {name}: {error}")
                value = nan
            else:
                say(f"round {number}: {name}: {quantity(value, '/s')}")
            found[name].append(value)
    return found


def middle(values: Sequence[float]) -> tuple[float, tuple[float, float]] | None:
    """Return the median, and the lowest and highest, of what was measured; None for nothing."""
    known = [value for value in values if not isnan(value)]
    return (median(known), (min(known), max(known))) if known else None


def absolute(target: Target, values: Sequence[float], note: str = "") -> Figure:
    """Return the figure of one series."""
    found = middle(values)
    if found is None:
        return Figure(target, None, note="it failed in every round")
    return Figure(target, *found, ours=quantity(found[0], target.unit), note=note)


def ratio(target: Target, measured: Measured, ours: str, peer: str) -> Figure:
    """Return the figure of ours : peer, taken round by round."""
    ratios = [a / b if b else nan for a, b in zip(measured[ours], measured[peer], strict=True)]
    found, mine, theirs = middle(ratios), middle(measured[ours]), middle(measured[peer])
    if found is None or mine is None or theirs is None:
        return Figure(target, None, note=f"{ours} and {peer} were never measured in one round")
    return Figure(target, *found, ours=quantity(mine[0], "/s"), peer=quantity(theirs[0], "/s"))
