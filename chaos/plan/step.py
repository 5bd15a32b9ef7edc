"""One fault on one host at one moment: what the runner hands to the injector."""

from __future__ import annotations

from typing import Any

from pydantic import SkipValidation, field_serializer

from chaos.contracts import Fault
from chaos.record.terms import Frozen


class Step(Frozen):
    """One fault on one host: applied at `at_s`, held for `for_s`. `id` is like "netem-0@worker-2"."""

    id: str
    fault: SkipValidation[Fault[Any]]
    host: str
    at_s: float
    for_s: float

    @field_serializer("fault")
    def _dump_fault(self, fault: Fault[Any]) -> dict[str, Any]:
        return {"kind": fault.kind, **fault.model_dump(mode="json")}

    @property
    def until_s(self) -> float:
        """When it is to be undone."""
        return self.at_s + self.for_s
