"""A server that goes away and comes back when told: its listener is closed and every connection with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class OutageServer:
    """Answers every request with 200 while it is there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._clients = loop, set[asyncio.StreamWriter]()
        self._server: asyncio.Server | None = None
        self.port = 0

    def go_away(self) -> None:
        self._do(self._close())

    def come_back(self) -> None:
        self._do(self._open())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server:
            self._server.close()
        for writer in self._clients:
            writer.transport.abort()
        while self._clients:
            await asyncio.sleep(0.001)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._clients.discard(writer)


@contextmanager
def outage_server() -> Iterator[OutageServer]:
    """Serve until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="outage server")
    thread.start()
    server = OutageServer(loop)
    try:
        server.come_back()
        yield server
    finally:
        server.go_away()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
