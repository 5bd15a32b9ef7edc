"""ets: enhanced transmission selection mis-set: a traffic class with the wrong share of a link, or the wrong rank.

A class whose share shrank, or that lost its rank to a strict one, waits longer at full load; a priority that was moved
to another class waits with it, and may lose what pauses for it. On a link that is not full nothing is to be seen.

The shares of the classes that share (algorithm `ets`) are 100 % together, those that are not named among them.

`driver: dcb` is proved on a kernel, by dcb(8) and by netlink; mlnx_qos against recorded outputs of real hosts only. Of
a setting nobody can know when its ledger and its fuse are lost; a reboot undoes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from chaos.contracts import Need
from chaos.faults import _dcb
from chaos.faults._dcb import DcbFault, Driver, Seen
from chaos.faults._mlnx_qos import MlnxQos
from chaos.kernel import Dcb
from chaos.kernel import Ets as State

T = TypeVar("T")
OneOfEight = Annotated[int, Field(ge=0, le=7)]
_DRIVERS: dict[str, Driver] = {"dcb": Driver(), "mlnx_qos": MlnxQos()}


class Ets(DcbFault):
    """Give traffic classes another share of an interface, another algorithm, or other priorities."""

    kind: ClassVar[str] = "ets"
    example: ClassVar[str] = "{kind: ets, on: {group: workers, pick: 1}, for: 20s, tc_bw: {0: 95, 3: 5}}"
    release: ClassVar[str] = f"{_dcb.RESTARTS}; what a class has queued is sent at the share it had before"
    needs: ClassVar[tuple[Need, ...]] = _dcb.needs("dcb", "mlnx_qos")

    tc_bw: dict[OneOfEight, Annotated[int, Field(ge=0, le=100)]] = Field(
        default_factory=dict, description="the share of each traffic class, in %; those not named keep theirs"
    )
    tc_tsa: dict[OneOfEight, Literal["strict", "cbs", "ets", "vendor"]] = Field(
        default_factory=dict, description="the transmission selection algorithm of each traffic class"
    )
    prio_tc: dict[OneOfEight, OneOfEight] = Field(
        default_factory=dict, description="the traffic class of each priority"
    )
    driver: Literal["dcb", "mlnx_qos"] = Field(
        "dcb",
        description="the tool that sets it: iproute2's dcb, or Mellanox's mlnx_qos "
        "(the latter was tested against recorded outputs only)",
    )

    @model_validator(mode="after")
    def _sets_something(self) -> Self:
        if not (self.tc_bw or self.tc_tsa or self.prio_tc):
            raise ValueError("it sets nothing: give tc_bw, tc_tsa or prio_tc")
        return self

    @property
    def tool(self) -> Driver:
        """The driver's."""
        return _DRIVERS[self.driver]

    def part(self, dcb: Dcb) -> State | None:
        """The ETS."""
        return dcb.ets

    def wanted(self, before: Seen) -> State:
        """The same, with what is named in its place; a class that is named and shares no more has no share left."""
        former = before.dcb.ets
        assert former is not None
        left = {number: 0 for number, tsa in self.tc_tsa.items() if tsa != "ets"}
        return replace(
            former,
            tc_tsa=_with(former.tc_tsa, self.tc_tsa),
            tc_bw=_with(former.tc_bw, left | self.tc_bw),
            prio_tc=_with(former.prio_tc, self.prio_tc),
        )

    def misfit(self, before: Seen) -> str | None:
        """Object to what is so already, and to shares that do not add up."""
        assert before.dcb.ets is not None
        name, former, wanted = self.interface, before.dcb.ets, self.wanted(before)
        shareless = sorted(number for number in self.tc_bw if wanted.tc_tsa[number] != "ets")
        most = max([-1, *self.tc_bw, *self.tc_tsa, *self.prio_tc.values()])
        empty = sorted(set(range(8)) - set(wanted.prio_tc)) if self.driver == "mlnx_qos" else []
        for why, objects in {
            f"{name} has {former.classes} traffic classes; number {most} was asked for": most >= former.classes > 0,
            f"{name} is set so already": wanted == former,
            f"class {_listed(shareless)} of {name} does not share (its algorithm is not ets), so a share of it means "
            "nothing; set its tc_tsa as well": bool(shareless),
            f"class {_listed(empty)} would have no priority, and mlnx_qos shows no such class": bool(empty),
            f"the shares of {name} would be {_sum(wanted)} together, and must be 100 %": not _adds_up(wanted),
            f"the shares of {name} are {_sum(former)} together, and could not be put back so": not _adds_up(former),
        }.items():
            if objects:
                return why
        return None

    def typical(self) -> Seen:
        """An interface whose classes share alike, each with a priority."""
        return Seen(Dcb(ets=State(("ets",) * 8, (13,) * 4 + (12,) * 4, tuple(range(8)))))


def _with(former: Sequence[T], named: Mapping[int, T]) -> tuple[T, ...]:
    return tuple(named.get(number, value) for number, value in enumerate(former))


def _sum(ets: State) -> str:
    shares = ", ".join(f"{number}: {share}" for number, share in enumerate(ets.tc_bw) if share)
    return f"{sum(ets.tc_bw)} % ({shares or 'none'})"


def _adds_up(ets: State) -> bool:
    """Whether dcb(8) takes the shares: 100 % of all classes together, or nothing where none shares."""
    return sum(ets.tc_bw) == 100 or ("ets" not in ets.tc_tsa and not any(ets.tc_bw))


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
