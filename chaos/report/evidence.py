"""What was done to which host, and what shows that it was undone: the events of a run as lines that people read.

Takes a recording's events (somebody else's, perhaps: nothing is assumed of a field), gives rows in order of time;
called by `html`. Events about the load's own phases are left to the charts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chaos.clock import NS
from chaos.record.events import Event
from chaos.report import wording

MOST = 500


@dataclass(frozen=True, slots=True)
class Happening:
    """One row: s from the end of the baseline, the host ("" for the run itself), what happened, and the particulars."""

    at_s: float | None
    host: str
    what: str
    detail: str


_WHAT = {
    "run.started": "run started",
    "fault.armed": "fuse armed on the host",
    "fault.applied": "fault applied",
    "fleet.applied": "applied on all",
    "fault.dose": "dose read",
    "fault.cleared": "fault cleared",
    "fault.stuck": "STUCK",
    "host.left_out": "left out",
    "host.drift": "drift",
    "abort": "aborted",
    "load.ended": "load ended",
    "probes.ended": "probes ended",
    "run.ended": "run ended",
    "note": "note",
}
_YES_NO = {
    "blind": ("nobody could tell", "it held"),
    "together": ("all at one moment", "each as soon as it was reached"),
    "confirmed": ("read back: applied", "read back: NOT APPLIED"),
    "reverted": ("read back: as before", "read back: NOT AS BEFORE"),
}
_PLUMBING = frozenset({"v", "t", "utc", "event", "host", "shade"})


def happenings(events: Iterable[Event], zero: int | None) -> list[Happening]:
    """Return the rows; `zero` is the end of the baseline in ns, None where the load never started."""
    return [_happening(e, zero) for e in events if e.get("event") in _WHAT]


def _happening(event: Event, zero: int | None) -> Happening:
    at = event.get("t")
    at_s = (at - zero) / NS if isinstance(at, int) and zero is not None else None
    host = wording.printable(str(event.get("host", "")))
    return Happening(at_s, host, _WHAT[event["event"]], "; ".join(_details(event)))


def _details(event: Event) -> Iterable[str]:
    for key, value in event.items():
        if key in _YES_NO:
            yield _YES_NO[key][0 if value is True else 1]
        elif key == "began":
            yield from _span(event, "began", "took")
        elif key == "since":
            yield from _span(event, "since", "for")
        elif key not in _PLUMBING and value not in ("", None, [], {}):
            yield f"{wording.printable(key)} {_value(value)}"


def _span(event: Event, key: str, word: str) -> Iterable[str]:
    """Say how long before the event a moment was: how long the host took to acknowledge, how long a guard saw it."""
    if isinstance(event.get(key), int) and isinstance(event.get("t"), int):
        yield f"{word} {wording.say(max(0, event['t'] - event[key]) / NS, 's')}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping) and all(isinstance(v, int | float) for v in value.values()):
        return ", ".join(f"{name} {asked}" for name, asked, _ in wording.say_dose(value, {}))
    return wording.printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
