"""Where on the time axis the faults, their release and the recovery lie: verdict -> Marks, for charts and sparklines.

All times are s from the end of the baseline. The time at which a fault held, the release and the recovery are three
things and stay three: letting go of a fault may hurt the traffic by itself, and that is no slow recovery.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chaos.judge.verdict import FaultLine, Verdict
from chaos.record.events import Event
from chaos.report.wording import printable

DEFAULT_SHADE = "#d9822b"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\Z")


@dataclass(frozen=True, slots=True)
class Band:
    """One kind of fault while it held, on one host or several. `end_s` is None where it was never cleared."""

    name: str
    start_s: float
    end_s: float | None
    colour: str


@dataclass(frozen=True, slots=True)
class Marks:
    """The bands by start, the times of release, and the time of recovery (None: none was seen, or none was needed)."""

    bands: tuple[Band, ...]
    releases_s: tuple[float, ...]
    recovered_s: float | None


def marks_of(verdict: Verdict, shades: Mapping[str, str] | None = None) -> Marks:
    """Return the marks of a verdict; `shades` gives the colour by fault id (see `shades_of`)."""
    applied = [f for f in verdict.faults if f.applied_at_s is not None]
    bands = tuple(_band(held, shades or {}) for held in _together(applied))
    releases = sorted({f.cleared_at_s for f in applied if f.cleared_at_s is not None})
    return Marks(bands, tuple(releases), _recovered(verdict, bands))


def shades_of(events: Iterable[Event]) -> dict[str, str]:
    """Return the colour that each fault asked for in its `fault.applied` event; anything but #rrggbb is left out."""
    applied = (e for e in events if e.get("event") == "fault.applied")
    return {str(e.get("fault")): str(e["shade"]) for e in applied if _COLOUR.match(str(e.get("shade", "")))}


def _together(faults: list[FaultLine]) -> list[list[FaultLine]]:
    """Group the lines of one kind that held at the same time (to 0.5 s), in the order of their start."""
    groups: dict[tuple[str, int, int | None], list[FaultLine]] = {}
    for line in sorted(faults, key=lambda f: f.applied_at_s or 0.0):
        end = None if line.cleared_at_s is None else round(line.cleared_at_s * 2)
        groups.setdefault((line.kind, round((line.applied_at_s or 0.0) * 2), end), []).append(line)
    return list(groups.values())


def _band(held: list[FaultLine], shades: Mapping[str, str]) -> Band:
    hosts = [printable(line.host) for line in held]
    shown = ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")
    ends = [line.cleared_at_s for line in held]
    return Band(
        name=f"{printable(held[0].kind)} on {shown}",
        start_s=min(line.applied_at_s or 0.0 for line in held),
        end_s=None if None in ends else max(e for e in ends if e is not None),
        colour=shades.get(held[0].id, DEFAULT_SHADE),
    )


def _recovered(verdict: Verdict, bands: tuple[Band, ...]) -> float | None:
    """Time to recover counts from the injection; 0 means that no onset was seen, so there is nothing to mark."""
    figure = verdict.figures.get("time_to_recover_s")
    return bands[0].start_s + figure.value if bands and figure and figure.value else None
