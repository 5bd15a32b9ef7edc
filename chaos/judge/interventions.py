"""What was done to which host, read from the events: a line for each fault, and the episodes they make.

It takes the events and zero and gives `FaultLine`s for the verdict and `Episode`s for recovery. Faults that overlap, or
follow each other before the service could have shown a held recovery, are one episode: nobody can say which of them a
recovery belongs to. Each later fault opens an episode of its own, with a time to recover of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from chaos.clock import NS
from chaos.judge.verdict import FaultLine
from chaos.record.events import Event
from chaos.record.recording import Recording
from chaos.record.terms import AT_ONCE, Terms


@dataclass(frozen=True)
class Episode:
    """Times in s: first injection acknowledged, last release acknowledged (None: never), where the next one begins."""

    injected_s: float
    cleared_s: float | None
    until_s: float


def first_touch_s(recording: Recording) -> float:
    """Return when the first fault was begun, in s, and at the latest 0: there the baseline ends."""
    zero = recording.zero or 0
    began = [(int(e["began"]) - zero) / NS for e in recording.named("fault.applied")]
    return min(began, default=0.0)


def fault_lines(recording: Recording) -> tuple[FaultLine, ...]:
    """Return a line for each fault on each host, in the order in which they were first heard of."""
    told: dict[tuple[str, str], dict[str, Event]] = {}
    for event in recording.events:
        if str(event["event"]).startswith("fault."):
            told.setdefault((event["fault"], event["host"]), {})[event["event"]] = event
    return tuple(_line(fault, host, events, recording.zero) for (fault, host), events in told.items())


def never_applied(line: FaultLine) -> FaultLine:
    """Return the line of a fault that was only rehearsed: of all that a run notes, the fault itself was not there."""
    return line.model_copy(update={"applied_at_s": None, "cleared_at_s": None, "achieved": {}, "confirmed": False})


def episodes(lines: tuple[FaultLine, ...], end_s: float, settle_s: float) -> tuple[Episode, ...]:
    """Return the episodes of a run that was observed until `end_s`; `settle_s` is how long a recovery must hold."""
    found: list[Episode] = []
    applied = sorted((line for line in lines if line.applied_at_s is not None), key=lambda line: line.applied_at_s or 0)
    for line in applied:
        at = line.applied_at_s or 0.0
        if found and (found[-1].cleared_s is None or at < (found[-1].cleared_s or 0.0) + settle_s):
            found[-1] = Episode(found[-1].injected_s, _latest(found[-1].cleared_s, line.cleared_at_s), end_s)
        else:
            found = [*found[:-1], *(Episode(e.injected_s, e.cleared_s, at) for e in found[-1:])]
            found.append(Episode(at, line.cleared_at_s, end_s))
    return tuple(found)


def as_it_went(recording: Recording) -> Terms:
    """Return the terms with what changes of the load added up to when they ended or were called off, and no further."""
    zero, terms = recording.zero or 0, recording.terms
    ended = {e["fault"]: inf for e in recording.named("fault.applied")}
    ended |= {
        e["fault"]: (int(e.get("began") or e["t"]) - zero) / NS + AT_ONCE for e in recording.named("fault.cleared")
    }
    parts = [piece.within(piece.begin, ended.get(piece.fault, piece.begin)) for piece in terms.added]
    return terms.model_copy(update={"added": tuple(part for part in parts if part is not None)})


def _latest(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _line(fault: str, host: str, events: dict[str, Event], zero: int | None) -> FaultLine:
    applied, cleared = events.get("fault.applied"), events.get("fault.cleared")
    dose: dict[str, Any] = events.get("fault.dose", applied or {})
    return FaultLine(
        id=fault,
        kind=(applied or {}).get("kind", ""),
        host=host,
        applied_at_s=_since(zero, applied),
        cleared_at_s=_since(zero, cleared),
        asked=(applied or {}).get("asked", {}),
        achieved=dose.get("achieved", {}),
        confirmed=bool((applied or {}).get("confirmed")) and bool(dose.get("confirmed")),
        reverted=bool((cleared or {}).get("reverted")) and "fault.stuck" not in events,
    )


def _since(zero: int | None, event: Event | None) -> float | None:
    return (event["t"] - zero) / NS if event is not None and zero is not None else None
