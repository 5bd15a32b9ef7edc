"""`python -m scripts.benchmarks.closed_loop CLIENT LOOP URL IN_FLIGHT SECONDS`: requests one after another, as JSON.

CLIENT is httpx (an AsyncClient as it comes), wire (an AsyncClient over our transport) or aiohttp; LOOP is asyncio or
uvloop. IN_FLIGHT tasks send their next request as soon as they have read their last answer; what ends in the first
WARM_UP seconds is not counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import uvloop

WARM_UP = 0.5
Get = Callable[[], Awaitable[int]]
"""Sends one request, reads its whole answer and returns the status."""


@asynccontextmanager
async def _httpx(url: str) -> AsyncIterator[Get]:
    async with httpx.AsyncClient() as client:
        yield lambda: _get(client, url)


@asynccontextmanager
async def _wire(url: str) -> AsyncIterator[Get]:
    from probes.transport import WireTransport

    async with httpx.AsyncClient(transport=WireTransport()) as client:
        yield lambda: _get(client, url)


async def _get(client: httpx.AsyncClient, url: str) -> int:
    return (await client.get(url)).status_code


@asynccontextmanager
async def _aiohttp(url: str) -> AsyncIterator[Get]:
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def get() -> int:
            async with session.get(url) as response:
                await response.read()
                status: int = response.status
            return status

        yield get


CLIENTS = {"httpx": _httpx, "wire": _wire, "aiohttp": _aiohttp}
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


async def measure(client: str, url: str, in_flight: int, seconds: float) -> dict[str, float]:
    """Return how many answers with status 200 came in how many seconds, and how many others."""
    statuses: list[int] = []
    began = time.monotonic() + WARM_UP
    until = began + seconds

    async def user(get: Get) -> None:
        while (now := time.monotonic()) < until:
            status = await get()
            if now >= began:
                statuses.append(status)

    async with CLIENTS[client](url) as get:
        await asyncio.gather(*(user(get) for _ in range(in_flight)))
    ok = statuses.count(200)
    return {"ok": ok, "failed": len(statuses) - ok, "seconds": time.monotonic() - began}


def main() -> None:
    """Measure, and print the outcome as JSON."""
    client, loop, url, in_flight, seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        found = runner.run(measure(client, url, int(in_flight), float(seconds)))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
