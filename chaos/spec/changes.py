"""Changes of the load among the steps of an experiment: what each comes to, and why it can't be.

All of it is known once the experiment is read, since a load's schedule is: no host and no inventory is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from pydantic import SkipValidation

from chaos.contracts import LoadChange
from chaos.errors import Misfit
from chaos.overlays import LoadView, Overlay, RatePiece
from chaos.spec.load import Load
from chaos.spec.loads import AnyLoad
from chaos.spec.places import Path

MOST = 32
"""The most changes of one load: `probes.overlay.MOST`."""


@dataclass(frozen=True)
class LoadStep:
    """A change of the load with when it acts: from `at` s after the end of the baseline, for `for_` s."""

    fault: SkipValidation[LoadChange]
    at: float
    for_: float


def view_of(load: Load, rates: tuple[RatePiece, ...], step: LoadStep) -> LoadView:
    """Return what the load is meant to be while a step lasts; `rates` are empty where its rate is one throughout."""
    begin, end = step.at, step.at + step.for_
    one = load.arrivals.rate or 0.0
    pieces = rates or (RatePiece(begin=begin, end=end, first=one, last=one),)
    within = tuple(part for piece in pieces if (part := piece.within(begin, end)))
    return LoadView(begin, end, within, {c.name: c.weight for c in load.classes}, load.drawn_keys, load.has_tokens)


def mistakes(
    steps: Sequence[tuple[int, LoadStep]], load: AnyLoad, rates: tuple[RatePiece, ...]
) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the steps of an experiment, given by their index, each with its path."""
    found: list[tuple[int, Overlay]] = []
    for index, step in steps:
        at: Path = ("faults", index)
        if not isinstance(load, Load):
            yield (*at, "kind"), f"{step.fault.kind} acts on a load's own schedule; only one with a url has any"
            continue
        try:
            found.append((index, step.fault.overlay(view_of(load, rates, step))))
        except Misfit as error:
            yield (*at, *error.path), str(error)
    if len(steps) > MOST:
        yield ("faults", steps[MOST][0]), f"{len(steps)} changes of one load; {MOST} are the most"
    for (_, first), (index, second) in combinations(found, 2):
        if first.redraws and second.redraws and first.begin < second.end and second.begin < first.end:
            yield ("faults", index), "what requests are is changed by another step at the same time; leave time between"
