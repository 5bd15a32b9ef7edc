"""connection_storm: new TCP connections at a steady rate, none used twice, each held open for a while.

What a service meets whose clients lost their pools all at once: accept queues, a file and a thread or a worker's slot
for each, and connection tracking on the way. Nothing is sent over them. The pace is an open loop: a connection that is
refused or not answered delays none that follow. Each is reset after its time, so that none is left in TIME_WAIT and the
host's ports are not used up: that would be another fault (`port_exhaustion`).
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import Dose
from chaos.faults import _client, _payload
from chaos.faults._payload import Seen
from chaos.units import Duration, Rate

_TOLERANCE = 0.05
_NONE = 0.5  # s within which so much of a rate is no number to judge by


class ConnectionStorm(_client.ClientFault):
    """Open new connections to a service at a rate, each held open for a while and used for nothing."""

    kind: ClassVar[str] = "connection_storm"
    example: ClassVar[str] = (
        "{kind: connection_storm, on: worker-1, for: 20s, url: 'http://{gateway}/', rate: 500/s, hold: 2s}"
    )
    release: ClassVar[str] = "the connections are reset; what the server had accepted of them it has to clean up"
    shade: ClassVar[str] = "#e45756"

    rate: Rate = Field(description="how many are opened per second", ge=0.1, le=10_000)
    hold: Duration = Field(1.0, description="how long each is held open", ge=0.01, le=3600)

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.most > _client.MOST:
            raise ValueError(
                f"{self.most} connections would be open at once (rate x hold); {_client.MOST} are the most"
            )
        return self

    @property
    def most(self) -> int:
        """As many as come while one is held, and a few for those that come late."""
        return int(self.rate * self.hold * 1.1) + 1

    def asked(self) -> dict[str, float]:
        """Return the rate, and how many are open once it has lasted."""
        return {"connections_per_second": self.rate, "connections": self.rate * self.hold}

    def measured(self, before: Seen, now: Seen) -> Dose:
        """Return the rate since the storm began, and how many the kernel has open."""
        del before
        seconds = max(_NONE, now.report["at"] - now.report["began"])
        rate, is_open = now.report["opened"] / seconds, float(now.also["open"])
        refused = now.report["failed"] / max(1.0, now.report["opened"])
        achieved = {"connections_per_second": rate, "connections": is_open, "failed_ratio": refused}
        if abs(rate - self.rate) > _TOLERANCE * self.rate + 1 / seconds:
            return Dose(achieved, False, f"{rate:.4g}/s were opened where {self.rate:g}/s was asked")
        if not is_open and not now.report["connected"]:
            return Dose(achieved, False, "not one connection was accepted")
        return Dose(achieved, True)

    @property
    def payload(self) -> _payload.Payload:
        """Who opens them."""
        return self.of(repr(self.rate), repr(self.hold))
