"""A finished (or broken-off) run, as `judge` and `report` see it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chaos.errors import RecordingError
from chaos.record.calibration import Calibration
from chaos.record.events import Event, read_events
from chaos.record.reading import read_json, refuse_links, why
from chaos.record.samples import Samples, read_samples
from chaos.record.terms import Terms
from chaos.record.usage import Usage, read_usage

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Recording:
    """One folder. Nothing is read before it is asked for."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Recording:
        """Return the recording in a folder. Raises RecordingError when it is none."""
        try:
            is_one = (path / "plan.json").is_file()
        except (OSError, ValueError) as error:
            raise RecordingError(f"{path}: can't be read: {why(error)}") from error
        if not is_one:
            raise RecordingError(f"{path}: not a recording: there is no plan.json in it; name a folder under runs/")
        refuse_links(path)
        return cls(path)

    @cached_property
    def plan(self) -> dict[str, Any]:
        """plan.json as it stands."""
        return self._json("plan.json")

    @cached_property
    def meta(self) -> dict[str, Any]:
        """meta.json as it stands."""
        return self._json("meta.json")

    @cached_property
    def terms(self) -> Terms:
        """What the run is judged by."""
        try:
            return Terms.model_validate(self.plan["terms"])
        except (KeyError, ValidationError) as error:
            raise RecordingError(f"{self.path}/plan.json: its terms can't be read: {why(error)}") from error

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """All events, in order."""
        return read_events(self.path / "events.jsonl")

    @cached_property
    def samples(self) -> Samples:
        """All requests."""
        return read_samples(self.path / "samples.bin")

    def checks(self, probe: str) -> Samples:
        """Return all checks of a health probe. Raises RecordingError where there is no such file."""
        if not _FILE_NAME.fullmatch(probe):
            raise RecordingError(f"{self.path}/plan.json: a probe is called {probe[:80]!r}, which is no name of a file")
        return read_samples(self.path / "probes" / f"{probe}.bin")

    @cached_property
    def calibration(self) -> Calibration | None:
        """What was known of the load generator of the machine that ran it; None where it was not calibrated."""
        known = self.meta.get("calibration") if (self.path / "meta.json").exists() else None
        try:
            return Calibration.model_validate(known) if known else None
        except ValidationError as error:
            raise RecordingError(f"{self.path}/meta.json: its calibration can't be read: {why(error)}") from error

    @cached_property
    def usage(self) -> tuple[Usage, ...]:
        """What each process of the load used of its machine; none in a recording that does not say."""
        return read_usage(self.path / "generator.json")

    def named(self, event: str) -> list[Event]:
        """Return the events of one name, in order."""
        return [e for e in self.events if e["event"] == event]

    @cached_property
    def zero(self) -> int | None:
        """The end of the baseline, in ns; None when the load never started."""
        started = self.named("load.started")
        return int(started[0]["zero"]) if started else None

    def _json(self, name: str) -> dict[str, Any]:
        loaded = read_json(self.path / name)
        if not isinstance(loaded, dict):
            raise RecordingError(f"{self.path / name}: not a JSON object")
        return loaded
