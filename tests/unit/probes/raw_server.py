"""A server that says exactly what a test tells it to, byte by byte, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)


@dataclass
class Peer:
    """The server's side: how many connections were open at once, at `most`; each of the `requests` as it was sent."""

    url: str = ""
    opened: int = 0
    open: int = 0
    most: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request and return its path."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = b""
        if _CHUNKED.search(head):
            while not body.endswith(b"0\r\n\r\n"):
                body += await reader.readuntil(b"\r\n")
        elif length:
            body = await reader.readexactly(int(length[1]))
        self.requests.append(head + body)
        return head.split(b" ", 2)[1]


Script = Callable[[Peer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def always(answer: bytes) -> Script:
    """Answer every request alike."""

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await peer.request(reader)
            writer.write(answer)

    return script


@asynccontextmanager
async def serving(
    script: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, unix: str | None = None
) -> AsyncIterator[Peer]:
    """Run a script on each connection until the block ends; a connection is closed when its script is through."""
    peer, scripts = Peer(), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        scripts.add(task)
        peer.opened, peer.open = peer.opened + 1, peer.open + 1
        peer.most = max(peer.most, peer.open)
        try:
            await script(peer, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            peer.open -= 1
            scripts.discard(task)
            writer.close()

    if unix is not None:
        server = await asyncio.start_unix_server(serve, unix, ssl=tls)
        peer.url = "http://unix"
    else:
        server = await asyncio.start_server(serve, host, 0, ssl=tls)
        shown = f"[{host}]" if ":" in host else host
        peer.url = f"{'https' if tls else 'http'}://{shown}:{server.sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        server.close()
        for task in list(scripts):
            task.cancel()
        await asyncio.gather(*scripts, return_exceptions=True)
        await asyncio.sleep(0)
