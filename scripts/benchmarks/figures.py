"""What is measured and what it must reach: the table of targets, and a figure with its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["met", "missed", "not measured"]


@dataclass(frozen=True)
class Target:
    """A limit on one figure. `least`: the value must not be below it; else not above."""

    figure: str
    limit: float
    unit: str
    least: bool = True

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {quantity(self.limit, self.unit)}"

    def met(self, value: float) -> bool:
        """Return whether the value is within the limit."""
        return value >= self.limit if self.least else value <= self.limit


@dataclass(frozen=True)
class Figure:
    """One measured value: the median of its rounds, with the lowest and the highest of them.

    `value` is None where it could not be had, and `note` says why. `ours` and `peer` are what a ratio is made of.
    """

    target: Target
    value: float | None
    spread: tuple[float, float] | None = None
    ours: str = ""
    peer: str = ""
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the target is met; without a value nobody knows."""
        if self.value is None:
            return "not measured"
        return "met" if self.target.met(self.value) else "missed"


def quantity(value: float, unit: str) -> str:
    """Return `value` with three significant digits, thousands apart: "80 368/s", "16.2 x", "0.00048"."""
    digits = f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.3g}"
    return digits + (unit if unit.startswith("/") else f" {unit}" if unit else "")


RATE_POISSON = Target("sustained open-loop rate, Poisson arrivals", 60_000, "/s")
RATE_CONSTANT = Target("sustained open-loop rate, paced arrivals", 60_000, "/s")
RATE_TO_LOCUST = Target("sustained rate : Locust FastHttpUser", 5, "x")
RATE_TO_HTTPX = Target("sustained rate : default httpx.AsyncClient", 100, "x")
RATE_TO_WRK = Target("sustained rate : wrk", 0.25, "x")
TRANSPORT_ASYNCIO = Target("AsyncClient over WireTransport : default AsyncClient, both on asyncio's loop", 15, "x")
TRANSPORT_UVLOOP = Target("the same, both on uvloop", 15, "x")
STEADINESS = Target("real CV of 1 s windows, 2 000/s paced", 0.005, "", least=False)
STREAMS = Target("streamed chat completions of 20 chunks", 2_000, "/s")
CHUNK_ERROR = Target("chunk time, client against server, p99", 1.0, "ms", least=False)
MEMORY = Target("resident memory of an hour at 2 000/s", 300, "MB", least=False)
MEMORY_GROWTH = Target("growth of that memory", 10, "MB/h", least=False)
FLEET_TO_ASYNCSSH = Target("a fault on 200 hosts and back : the same commands over asyncssh", 1.2, "x", least=False)
ANSIBLE_TO_FLEET = Target("Ansible with pipelining : a fault on 200 hosts and back", 8, "x")
FLEET_SPREAD = Target("`start: together` on 200 hosts, apart at most, p99", 50, "ms", least=False)
