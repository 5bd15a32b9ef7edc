"""slow_clients: connections that read their answer, or send their request, a few bytes at a time, and so stay open.

    read   the request is sent whole, and the answer is taken at the rate: the server's buffers stay full, and a worker
           that writes to it waits. The receive buffer is the smallest that the kernel gives; an answer that fits into
           the sockets' buffers is sent at once whatever the reader does, and holds nobody up
    send   the head of the request comes at the rate and never ends: what Slowloris does (CAPEC-469)

A connection that ends, by the server's time-out or since its answer was read, is replaced within two seconds, so a
server that shuts slow clients out is seen to: fewer are open than were asked for. All of them are reset at the end, so
that none is left in TIME_WAIT.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from chaos.contracts import Dose
from chaos.faults import _client, _payload
from chaos.faults._payload import Seen
from chaos.units import BitRate

_ENOUGH = 0.95  # share of the connections that must be open


class SlowClients(_client.ClientFault):
    """Hold connections to a service open that read their answer, or send their request, slowly."""

    kind: ClassVar[str] = "slow_clients"
    example: ClassVar[str] = (
        "{kind: slow_clients, on: worker-1, for: 20s, url: 'http://{gateway}/', connections: 200, rate: 100bps}"
    )
    release: ClassVar[str] = "the connections are reset: the server drops what it still had to send, or waited for"
    shade: ClassVar[str] = "#72b7b2"

    connections: int = Field(description="how many are kept open", ge=1, le=_client.MOST)
    rate: BitRate = Field(description="how fast each goes; `bps` are bytes per second", ge=1, le=1e9)
    slow: Literal["read", "send"] = Field(
        "read", description="what is slow: reading the answer, or sending the request"
    )

    @property
    def most(self) -> int:
        """As many as are asked for."""
        return self.connections

    def asked(self) -> dict[str, float]:
        """Return how many are open."""
        return {"connections": float(self.connections)}

    def measured(self, before: Seen, now: Seen) -> Dose:
        """Return how many the kernel has open, and at what pace the payload says that they went."""
        del before
        is_open = float(now.also["open"])
        achieved = {"connections": is_open, "bytes_per_second": now.report["pace"]}
        if is_open >= _ENOUGH * self.connections:
            return Dose(achieved, True)
        why = f"{is_open:.0f} of {self.connections} connections were open: the server ended or refused the others"
        return Dose(achieved, False, why)

    @property
    def payload(self) -> _payload.Payload:
        """Who holds them open."""
        return self.of(self.connections, repr(self.rate), self.slow)
