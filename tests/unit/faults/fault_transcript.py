"""A host that has said everything it will ever say: the answers of a case file, parsed by the real code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from chaos.contracts import Completed, Question
from chaos.kernel import Flow
from chaos.targets._base import HostTarget
from chaos.targets.power import PowerController

_SAID_BY = {"link": "tc -s -j qdisc", "dcb": "dcb -j", "mlnx_qos": "mlnx_qos -i", "sonic": "pfcwd show"}


class SaidPower(PowerController):
    """A power controller called `bmc` whose status command has printed what it has printed."""

    def __init__(self, status: str) -> None:
        super().__init__("bmc", "bmc on", "bmc off", "bmc status")
        object.__setattr__(self, "said", status)

    def _run(self, script: str) -> str:
        assert script == self.status
        return str(vars(self)["said"])


class Transcript(HostTarget):
    """`link`, `dcb`, `mlnx_qos`, `sonic` or else `output` is what a script printed, by lines; `control` the flows;
    `status` and `boot_id` the power.
    """

    def __init__(self, said: Mapping[str, Any]) -> None:
        super().__init__("transcript", SaidPower(said["status"]) if "status" in said else None)
        self._said = said

    def _run(self, script: str, timeout: float) -> Completed:
        del timeout
        if script == "cat /proc/sys/kernel/random/boot_id":
            boot = self._said["boot_id"]
            return Completed(0 if boot else 255, boot or "", "")
        key = next((key for key, mark in _SAID_BY.items() if mark in script), "output")
        return Completed(0, "\n".join(self._said[key]) + "\n", "")

    def ask_all(self, questions: Sequence[Question]) -> tuple[Any, ...]:
        return tuple(self.ask(question) for question in questions)

    def control_path(self) -> tuple[Flow, ...]:
        return tuple(Flow(ip_address(peer), port) for peer, port in self._said["control"])

    def probe_control_path(self) -> None:
        raise AssertionError("a transcript has no connection")

    def close(self) -> None:
        raise AssertionError("a transcript has no connection")
