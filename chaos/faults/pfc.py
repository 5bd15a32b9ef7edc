"""pfc: priority-based flow control mis-set: pauses on the wrong priority, on none, or with no watchdog over them.

A priority that should pause and does not loses packets where the other end expects none (RoCE collapses by a fraction
of a percent of loss); one that pauses and should not holds up what shares it. Without its watchdog, a pause that never
ends is not ended by anybody. That is the switch's PFC watchdog (`pfcwd`) with `driver: sonic`, else the adapter's own
(`ethtool --set-tunable ... pfc-prevention-tout 0`), where it has one.

Where an interface pauses altogether (ethtool -a), an adapter that is given a priority to pause ends that, and nothing
brings it back: that is objected to.

`driver: dcb` is proved on a kernel, by dcb(8) and by netlink; mlnx_qos and sonic against recorded outputs of real hosts
and of SONiC's own tests only. Of a setting nobody can know when its ledger and its fuse are lost; a reboot undoes it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from chaos.contracts import Action, Need
from chaos.faults import _dcb
from chaos.faults._dcb import OFF, DcbFault, Driver, Seen
from chaos.faults._mlnx_qos import MlnxQos
from chaos.faults._sonic import Sonic
from chaos.kernel import Dcb
from chaos.kernel import Pfc as State

Priority = Annotated[int, Field(ge=0, le=7)]
_DRIVERS: dict[str, Driver] = {"dcb": Driver(), "mlnx_qos": MlnxQos(), "sonic": Sonic()}


class Pfc(DcbFault):
    """Have an interface pause the wrong priorities, or none, or without a watchdog."""

    kind: ClassVar[str] = "pfc"
    example: ClassVar[str] = "{kind: pfc, on: {group: workers, pick: 1}, for: 20s, priorities: []}"
    release: ClassVar[str] = f"{_dcb.RESTARTS}; what a pause held back is sent at once when it ends"
    needs: ClassVar[tuple[Need, ...]] = _dcb.needs("dcb", "mlnx_qos", "pfcwd")

    priorities: tuple[Priority, ...] | None = Field(
        None, description="the priorities that are paused meanwhile, of 0 to 7; [] for none; as they are by default"
    )
    stop_watchdog: bool = Field(False, description="also stop what ends a pause that does not end")
    driver: Literal["dcb", "mlnx_qos", "sonic"] = Field(
        "dcb",
        description="the tool that sets it: iproute2's dcb, Mellanox's mlnx_qos, or the commands of a SONiC switch "
        "(the last two were tested against recorded outputs only)",
    )

    @model_validator(mode="after")
    def _sets_something(self) -> Self:
        if self.priorities is None and not self.stop_watchdog:
            raise ValueError("it sets nothing: give priorities ([] for none), or stop_watchdog: true")
        return self

    @property
    def tool(self) -> Driver:
        """The driver's."""
        return _DRIVERS[self.driver]

    def part(self, dcb: Dcb) -> State | None:
        """The PFC."""
        return dcb.pfc

    def wanted(self, before: Seen) -> State:
        """The same, with other priorities."""
        former = before.dcb.pfc
        assert former is not None
        return former if self.priorities is None else replace(former, priorities=frozenset(self.priorities))

    def misfit(self, before: Seen) -> str | None:
        """Object to what is so already, to more than can pause, and to what would not come back."""
        assert before.dcb.pfc is not None
        name, wanted, former = self.interface, self.wanted(before).priorities, before.dcb.pfc.priorities
        classes, pausing, ends = before.dcb.pfc.classes, " and ".join(sorted(before.pause)), wanted - former
        count = len({before.dcb.ets.prio_tc[number] for number in wanted} if before.dcb.ets else wanted)
        for why, objects in {
            f"{name} pauses {_listed(former)} already": self.priorities is not None and wanted == former,
            f"{name} can pause {classes} traffic classes at once; {count} were asked for": count > classes,
            f"{name} pauses altogether ({pausing}, see ethtool -a), which PFC would end for good": bool(
                pausing and ends
            ),
        }.items():
            if objects:
                return why
        return self._of_watchdog(before.watchdog) if self.stop_watchdog else None

    def _of_watchdog(self, setting: str) -> str | None:
        """Return why the watchdog can't be stopped and started again, or None."""
        if not setting:
            return f"{self.interface} has no watchdog of pauses that {self.driver} could stop"
        if setting == OFF:
            return f"the watchdog of {self.interface} is stopped already"
        # a switch's has two times, of which one may be `infinite`, which no command sets
        if not all(time.isdigit() for time in setting.split()[1:3]):
            return f"the watchdog of {self.interface} could not be started again as it is: {setting}"
        return None

    def apply(self, before: Seen) -> list[Action]:
        """Stop the watchdog first, then set the priorities."""
        stop = [self.tool.put_watchdog(self.interface, OFF)] if self.stop_watchdog else []
        return [*stop, *super().apply(before)]

    def revert(self, before: Seen) -> list[Action]:
        """Set the priorities that there were, then start the watchdog as it was."""
        start = [self.tool.put_watchdog(self.interface, before.watchdog)] if self.stop_watchdog else []
        return [*super().revert(before), *start]

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """The priorities read as asked, and the watchdog is off if it should be."""
        return super().is_applied(before, now) and (not self.stop_watchdog or now.watchdog == OFF)

    def typical(self) -> Seen:
        """An interface that pauses priority 3, as RoCE has it, under a watchdog."""
        return Seen(Dcb(State(frozenset({3}))), "drop 400 400" if self.driver == "sonic" else "100")


def _listed(priorities: frozenset[int]) -> str:
    return f"priority {', '.join(map(str, sorted(priorities)))}" if priorities else "no priority"
