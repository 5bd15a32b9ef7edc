"""tcp: whether a connection can be opened.

The handshake is the kernel's: it goes on answering for a process that is stopped or stuck, until the queue of its
listener is full (listen(2)). That is what the check is for: it tells a host that is gone from a service that hangs.
"""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from probes.errors import ErrorKind
from probes.health._address import host_port
from probes.health._failure import why_failed
from probes.health._probe import Outcome, Probe, Target


def _address(text: str) -> str:
    host_port(text)
    return text


class Tcp(Probe):
    """Open a TCP connection and close it; well when it opens."""

    kind: ClassVar[str] = "tcp"

    address: Annotated[Target, AfterValidator(_address)]
    """Where to: host:port."""

    async def check(self) -> Outcome:
        """Connect and close."""
        host, port = host_port(self.address)
        try:
            _, writer = await asyncio.open_connection(host, port)
        except (OSError, UnicodeError) as error:
            return Outcome(why_failed(error))
        first = monotonic_ns()
        writer.transport.abort()  # nothing was sent, so nothing is lost; no TIME_WAIT for ten of these a second
        return Outcome(ErrorKind.OK, first=first)
