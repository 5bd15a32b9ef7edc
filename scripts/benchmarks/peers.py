"""The other clients, each as a command and a reading of its output. All do the same: GET, keep-alive, 32 at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scripts.benchmarks.outputs import Outcome, read_closed_loop, read_hey, read_locust, read_wrk
from scripts.benchmarks.processes import BenchError, finished, python

IN_FLIGHT = 32
_SLACK = 30.0  # s that a client may take to start and to end


@dataclass(frozen=True)
class Peer:
    """A client that loads `url` for some seconds with IN_FLIGHT requests at a time."""

    name: str
    command: Callable[[str, float], list[str]]
    read: Callable[[str], Outcome]
    environment: Mapping[str, str] = field(default_factory=dict)

    def rate(self, core: int, url: str, seconds: float) -> float:
        """Return its rate in 1/s. Raises BenchError when it fails, or more than one request in 1000 did."""
        outcome = self.read(finished(core, self.command(url, seconds), seconds + _SLACK, self.environment))
        if outcome.failed > outcome.rate * seconds / 1000:
            raise BenchError(f"{self.name}: {outcome.failed} requests failed; its rate of {outcome.rate:.0f}/s is void")
        return outcome.rate


def closed_loop(name: str, client: str, loop: str) -> Peer:
    """Return a client of `closed_loop`."""
    return Peer(
        name,
        lambda url, seconds: python("scripts.benchmarks.closed_loop", client, loop, url, str(IN_FLIGHT), str(seconds)),
        read_closed_loop,
    )


def _locust(name: str, user: str) -> Peer:
    def command(url: str, seconds: float) -> list[str]:
        users = ["-u", str(IN_FLIGHT), "-r", str(IN_FLIGHT), "-t", f"{seconds:g}s"]
        where = ["-f", "scripts/benchmarks/locustfile.py", "--host", url.rstrip("/")]
        return python("locust", "--headless", "--json", "--reset-stats", "-L", "WARNING", *users, *where, user)

    return Peer(name, command, read_locust)


HTTPX = closed_loop("httpx.AsyncClient, asyncio", "httpx", "asyncio")
HTTPX_UVLOOP = closed_loop("httpx.AsyncClient, uvloop", "httpx", "uvloop")
WIRE = closed_loop("httpx.AsyncClient over WireTransport, asyncio", "wire", "asyncio")
WIRE_UVLOOP = closed_loop("httpx.AsyncClient over WireTransport, uvloop", "wire", "uvloop")
AIOHTTP = closed_loop("aiohttp, uvloop", "aiohttp", "uvloop")
LOCUST = _locust("Locust HttpUser", "Plain")
LOCUST_FAST = _locust("Locust FastHttpUser", "Fast")
WRK = Peer("wrk", lambda url, s: ["wrk", "-t1", f"-c{IN_FLIGHT}", f"-d{max(1, round(s))}s", url], read_wrk)
HEY = Peer("hey", lambda url, s: ["hey", "-z", f"{s:g}s", "-c", str(IN_FLIGHT), url], read_hey, {"GOMAXPROCS": "1"})
