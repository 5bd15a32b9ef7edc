"""The log of a run: one JSON object a line, appended and fsynced, never changed.

    {"v": 1, "t": 81234567890123, "utc": "2026-11-23T18:00:00.123Z", "event": "fault.applied", ...}

`t` is CLOCK_MONOTONIC of the controller in ns. The events and what they carry beside:

    run.started    command                        run.ended        outcome (done | aborted | interrupted | failed), why
    load.started   zero (ns: end of the baseline) load.ended       status (exit status of the load process)
    probes.ended   status (exit status of the process of the health probes, where there are any)
    phase          name (warmup|baseline|observe)
    abort          condition, blind (nobody could tell), why, values (the last known), since (ns: when it began to hold)
    fault.armed    fault, kind, host, lease_s, ttl_s
    fault.applied  fault, kind, host, asked, began (ns), confirmed, shade, release
    fault.dose     fault, host, achieved, confirmed, why_not
    fleet.applied  fault, hosts (how many), together, spread_s, p99_s (from the first host on)
    fault.cleared  fault, host, began (ns), reverted, by (controller | fuse | end: that of the load),
                   released (what letting go did, as told)
    host.left_out  host, why, fault (where it was left out of one only)
    fault.stuck    fault, host, why, by_hand      host.drift       host, what (list of lines)
    load.clock     worker, host, offset_ns (its clock less the controller's), uncertainty_ns, when (before | after)
    load.shard_lost  worker (from 0), workers, host, status, started, died, arrivals (due and without a row: how many),
                   numbers (of the first few), first, last (when they were due); times in ns
    note           text

`fault.applied` and `fault.cleared` are stamped when the host acknowledged; `began` is when the command was sent. The
host of a change of the load is "load": it is applied when its schedule says, and cleared when that ends it, or when the
load has shown that it was called off; its dose is counted once the load has ended.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chaos.clock import Clock
from chaos.errors import RecordingError
from chaos.record.reading import why

VERSION = 1
Event = dict[str, Any]

_Instant = Annotated[int, Field(gt=-(2**62), lt=2**62)]
_Dose = dict[str, float]


class _Fields(BaseModel):
    """What an event may carry, where its reader counts on a type; see above."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")

    event: str
    t: _Instant | None = None
    zero: _Instant | None = None
    began: _Instant | None = None
    offset_ns: _Instant | None = None
    uncertainty_ns: _Instant | None = None
    fault: str | None = None
    host: str | None = None
    kind: str = ""
    outcome: str | None = None
    why: str | None = None
    condition: str | None = None
    text: str | None = None
    asked: _Dose = {}
    achieved: _Dose = {}
    status: int | None = None
    worker: int | None = None
    arrivals: int | None = None
    numbers: list[int] | None = None
    what: list[str] | None = None


_NEEDED: dict[str, tuple[str, ...]] = {
    "load.started": ("zero",),
    "load.ended": ("status",),
    "probes.ended": ("status",),
    "run.ended": ("outcome",),
    "abort": ("condition",),
    "fault.armed": ("fault", "host"),
    "fault.applied": ("fault", "host", "t", "began"),
    "fault.dose": ("fault", "host"),
    "fault.cleared": ("fault", "host", "t"),
    "fault.stuck": ("fault", "host"),
    "host.drift": ("host", "what"),
    "load.clock": ("worker", "offset_ns", "uncertainty_ns"),
    "load.shard_lost": ("arrivals", "numbers"),
}


class EventLog:
    """Appends events; safe to call from several threads, and after a crash whole up to the last line."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._clock = clock
        self._lock = threading.Lock()

    def write(self, event: str, **fields: Any) -> Event:
        """Append one event and return it as written, once it is on the disk."""
        line: Event = {"v": VERSION, "t": self._clock.now(), "utc": self._clock.utc().isoformat(), "event": event}
        line |= fields
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        return line

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._file.close()


def read_events(path: Path) -> tuple[Event, ...]:
    """Return a run's events, in order. Raises RecordingError, with its line, for one that is none."""
    return tuple(_checked(path, number, line) for number, line in enumerate(read_jsonl(path), 1))


def _checked(path: Path, number: int, line: Any) -> Event:
    try:
        known = _Fields.model_validate(line)
    except ValidationError as error:
        raise RecordingError(f"{path}:{number}:1: not an event: {why(error)}") from error
    needed = _NEEDED.get(known.event, ("fault", "host") if known.event.startswith("fault.") else ())
    missing = [name for name in needed if getattr(known, name) is None]
    if missing:
        raise RecordingError(f"{path}:{number}:1: the event {known.event[:40]!r} has no {' and no '.join(missing)}")
    event: Event = line
    return event


def read_jsonl(path: Path) -> Iterator[Event]:
    """Yield the lines of a JSONL file. A torn last line (a crash) is left out; damage elsewhere is a RecordingError."""
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: can't be read: {why(error)}") from error
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise RecordingError(f"{path}:{number}:1: not a line of JSON: {why(error)}") from error
