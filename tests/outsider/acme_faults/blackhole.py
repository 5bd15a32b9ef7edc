"""blackhole: what the host sends to some address is discarded by a route (ip-route(8)).

The worked example of a kind in a package of one's own. The routes carry a protocol number of their own, so that they
can be told from everybody else's, and deleted without touching any other.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, ClassVar

from pydantic import Field

from chaos.contracts import Action, ControlPath, Fault, Need, Output, Reading, Shell
from chaos.kernel import Flow

_PROTOCOL = 209  # of nobody in /etc/iproute2/rt_protos


@dataclass(frozen=True)
class Seen:
    """Whether our route is there, whether somebody else's to that place is, and which flows carry SSH."""

    ours: bool
    others: bool
    control: tuple[Flow, ...]


class Blackhole(Fault[Seen]):
    """Discard what a host sends to an address or a network."""

    kind: ClassVar[str] = "blackhole"
    example: ClassVar[str] = "{kind: blackhole, on: worker-1, for: 10s, to: 10.0.0.12}"
    release: ClassVar[str] = "TCP backs off while nothing is answered, so a flow resumes up to its timeout later"
    needs: ClassVar[tuple[Need, ...]] = (Need("ip", "command -v ip", "iproute2"),)

    to: IPv4Network | IPv6Network = Field(description="the address or network that is no longer reached")

    def reading(self) -> Reading[Seen]:
        """Ask for the routes to exactly this place, and for the flows that carry SSH."""
        return Reading((Output(f"ip -j -{self.to.version} route show exact {self._to}"), ControlPath()), self._parse)

    def objection(self, before: Seen) -> str | None:
        """Object to a route that is there, and to cutting ourselves off."""
        if before.ours or before.others:
            return f"there is a route to {self.to} already; `ip route show exact {self.to}` shows it"
        met = [str(flow.peer) for flow in before.control if flow.peer in self.to]
        return f"{', '.join(met)} is where this run's own SSH comes from" if met else None

    def apply(self, before: Seen) -> list[Action]:
        """Replace, which doing it twice leaves as it is."""
        del before
        return [Shell(f"ip -{self.to.version} route replace blackhole {self._to} proto {_PROTOCOL}")]

    def revert(self, before: Seen) -> list[Action]:
        """Delete our route, if it is there."""
        del before
        family = f"ip -{self.to.version} route"
        there = f'[ -n "$({family} show exact {self._to} proto {_PROTOCOL})" ]'
        return [Shell(f"! {there} || {family} del blackhole {self._to} proto {_PROTOCOL}", until=f"! {there}")]

    def typical(self) -> Seen:
        """No such route."""
        return Seen(False, False, ())

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Our route is there."""
        del before
        return now.ours

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """It is gone, and what others have is as it was."""
        return (now.ours, now.others) == (before.ours, before.others)

    @property
    def _to(self) -> str:
        return shlex.quote(str(self.to))

    def _parse(self, printed: str, control: tuple[Flow, ...]) -> Seen:
        routes: list[dict[str, Any]] = json.loads(printed or "[]")
        ours = [route for route in routes if str(route.get("protocol")) == str(_PROTOCOL)]
        return Seen(bool(ours), len(ours) < len(routes), control)
