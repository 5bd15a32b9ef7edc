"""One fault on one host at one moment: what the runner hands to the injector; and one change of the load."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SkipValidation, field_serializer

from chaos.contracts import Fault, LoadChange
from chaos.record.terms import Frozen


class Step(Frozen):
    """One fault on one host: applied at `at_s`, held for `for_s`. `id` is like "netem-0@worker-2".

    The steps of one fault of the experiment go together (`fault_id`): `start` says how, and `min_hosts` on how many
    hosts it must be armed for any to be touched (None: on all).
    """

    id: str
    fault: SkipValidation[Fault[Any]]
    host: str
    at_s: float
    for_s: float
    start: Literal["each", "together"] = "each"
    min_hosts: int | None = None

    @field_serializer("fault")
    def _dump_fault(self, fault: Fault[Any]) -> dict[str, Any]:
        return {"kind": fault.kind, **fault.model_dump(mode="json", by_alias=True)}

    @property
    def fault_id(self) -> str:
        """The fault of the experiment that this is one host's part of, like "netem-0"."""
        return self.id.partition("@")[0]

    @property
    def until_s(self) -> float:
        """When it is to be undone."""
        return self.at_s + self.for_s


class LoadStep(Frozen):
    """One change of the load, from `at_s` for `for_s`. `id` is like "burst-0", `asked` the dose by name."""

    id: str
    fault: SkipValidation[LoadChange]
    at_s: float
    for_s: float
    asked: dict[str, float]

    @field_serializer("fault")
    def _dump_fault(self, fault: LoadChange) -> dict[str, Any]:
        return {"kind": fault.kind, **fault.model_dump(mode="json", by_alias=True)}

    @property
    def until_s(self) -> float:
        """When it is over."""
        return self.at_s + self.for_s
