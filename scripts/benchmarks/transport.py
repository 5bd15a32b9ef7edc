"""httpx.AsyncClient over our transport, beside httpx.AsyncClient as it comes."""

from __future__ import annotations

from functools import partial

from scripts.benchmarks import figures
from scripts.benchmarks.peers import HTTPX, HTTPX_UVLOOP, IN_FLIGHT, WIRE, WIRE_UVLOOP
from scripts.benchmarks.result import Bench, Result
from scripts.benchmarks.rounds import in_rounds, ratio
from scripts.benchmarks.servers import nginx

ROUNDS = 3
_SECONDS = 3.0
_CLIENTS = (HTTPX, WIRE, HTTPX_UVLOOP, WIRE_UVLOOP)


def measure(bench: Bench) -> Result:
    """Run ROUNDS rounds of each client against nginx."""
    with nginx(bench.server) as url:
        clients = {client.name: partial(client.rate, bench.client, url, _SECONDS) for client in _CLIENTS}
        rates = in_rounds(clients, ROUNDS, bench.say)
    return Result(
        "httpx over our transport",
        (
            ratio(figures.TRANSPORT_ASYNCIO, rates, WIRE.name, HTTPX.name),
            ratio(figures.TRANSPORT_UVLOOP, rates, WIRE_UVLOOP.name, HTTPX_UVLOOP.name),
        ),
        rates,
        (f"{IN_FLIGHT} tasks in one loop, each sends its next GET when it has read its answer of 3 bytes.",),
    )
