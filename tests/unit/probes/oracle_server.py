"""A server whose every answer is scripted, so that a measurement can be held against what really happened.

It runs in a thread with sockets of its own; the path of a request names the behaviour. Where times must be true to a
millisecond, the thread's share of this interpreter is not enough: see tests/truth/oracle.py.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.unit.probes.behaviours import Client


@dataclass
class Oracle:
    """What was asked, in order; `gate` is when (CLOCK_MONOTONIC, s) answers at /stall begin to flow."""

    port: int = 0
    gate: float = 0.0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        client = Client(reader, writer)
        try:
            while await self._exchange(client):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _exchange(self, client: Client) -> bool:
        """Answer one request; return whether the connection goes on."""
        head, body = await client.next_request()
        self.requests.append(head + body)
        path = head.split(b" ", 2)[1].decode()
        if path == "/stall":
            await asyncio.sleep(max(0.0, self.gate - time.monotonic()))
            path = "/ok"
        return await client.behave(path)


@contextmanager
def running(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Oracle]:
    """Serve until the block ends; a host that is a path is a unix socket."""
    oracle, ready = Oracle(), threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        if host.startswith("/"):
            server: asyncio.Server = await asyncio.start_unix_server(oracle.serve, host, ssl=tls)
        else:
            server = await asyncio.start_server(oracle.serve, host, 0, ssl=tls)
            oracle.port = server.sockets[0].getsockname()[1]
        ready.set()
        await ended.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="oracle")
    thread.start()
    try:
        assert ready.wait(5)
        yield oracle
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
