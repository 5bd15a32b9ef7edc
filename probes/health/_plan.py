"""What one process of health probes is to do: a value, written as JSON by who wants the probes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from probes.errors import PlanError
from probes.health._probe import Probe


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedProbe(_Value):
    """One probe: its class, as an entry point names it ("probes.health.http:Http"), and its parameters in SI units."""

    type: str
    parameters: dict[str, Any]

    def make(self) -> Probe:
        """Return the probe. Raises PlanError."""
        module, _, name = self.type.partition(":")
        try:
            cls = getattr(importlib.import_module(module), name)
            if not (isinstance(cls, type) and issubclass(cls, Probe)):
                raise PlanError(f"{self.type} is no kind of probe")
            return cls(**self.parameters)
        except (ImportError, AttributeError, ValueError) as error:
            raise PlanError(_one_line(self.type, error)) from error


class HealthPlan(_Value):
    """All the probes of a run.

    start      absolute CLOCK_MONOTONIC in ns: when the first check of each is due
    duration   s; no check is due at or after start + duration
    folder     where each probe writes NAME.bin; it must exist, and no such file in it
    live       the file that shows what each says now (`probes.health._live`), which must not exist; None: no such file
    """

    start: int = Field(ge=0)
    duration: float = Field(gt=0)
    folder: str
    live: str | None = None
    probes: tuple[PlannedProbe, ...]

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote. Raises PlanError for a plan that is wrong, OSError for a file that can't be read."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise PlanError(_one_line(str(path), error)) from error

    def make(self) -> list[Probe]:
        """Return the probes. Raises PlanError, also where two would write one file."""
        probes = [planned.make() for planned in self.probes]
        names = [probe.called for probe in probes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise PlanError(f"two probes have the name {twice[0]}; give one of them another")
        return probes


def _one_line(what: str, error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{what}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{what}: {error}"
