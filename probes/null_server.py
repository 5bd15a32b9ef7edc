"""`python -m probes.null_server`: answers every HTTP/1.1 request at once with the same bytes.

What a load measures here is itself: nothing queues, nothing is computed. It prints its port on a line of its own when
it listens on 127.0.0.1, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import uvloop

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Connection(asyncio.Protocol):
    """Parses what comes, and writes an answer for each request that is complete."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._complete = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._complete = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()
            return
        if self._complete:
            self._transport.write(_ANSWER * self._complete)

    def on_message_complete(self) -> None:
        """Count a request (httptools calls it)."""
        self._complete += 1


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
