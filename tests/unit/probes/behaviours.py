"""What a server can do to one request, right and wrong, as bytes on a socket: one table for every oracle.

Answers are written as bytes, not by a library, so that they can be wrong in exactly one way.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWERS = {
    "/ok": OK,
    "/429": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    "/503": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "/500": b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n",
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    "/interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
    "/too-long": OK + b"and more",
    "/head-only": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
    "/malformed": b"220 mail.example ESMTP\r\n",
}


@dataclass(eq=False)
class Client:
    """One connection as the server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST: a linger time of 0 (socket(7))."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def next_request(self) -> tuple[bytes, bytes]:
        """Return the head and the body of the next request; IncompleteReadError where there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        return head, await self.reader.readexactly(length)

    async def behave(self, path: str) -> bool:
        """Do to a request what the path names; return whether the connection goes on."""
        if path in ANSWERS:
            await self.send(ANSWERS[path])
            return True
        return await BEHAVIOURS[path](self)


async def _slow(client: Client) -> bool:
    await asyncio.sleep(0.05)
    await client.send(OK)
    return True


async def _never(client: Client) -> bool:
    await client.reader.read()  # until the client goes
    return False


async def _reset(client: Client) -> bool:
    client.reset()
    return False


async def _close(_: Client) -> bool:
    return False


async def _answer_then_close(client: Client) -> bool:
    await client.send(OK)
    return False


async def _too_short(client: Client) -> bool:
    await client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    return False


async def _until_eof(client: Client) -> bool:
    await client.send(b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts")
    return False


async def _half_close(client: Client) -> bool:
    """Send FIN in the middle of an answer and go on reading."""
    await client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    client.writer.write_eof()
    await client.reader.read()
    return False


async def _drip(client: Client) -> bool:
    """Send an answer in many packets, 5 ms apart."""
    for index in range(0, len(OK), 8):
        await client.send(OK[index : index + 8])
        await asyncio.sleep(0.005)
    return True


async def _begin_then_wait(client: Client) -> bool:
    await client.send(OK[:10])
    await asyncio.sleep(0.15)
    await client.send(OK[10:])
    return True


async def _endless(client: Client) -> bool:
    await client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await client.send(b"1000\r\n%b\r\n" % bytes(4096))


BEHAVIOURS: dict[str, Callable[[Client], Awaitable[bool]]] = {
    "/slow": _slow,
    "/never": _never,
    "/reset": _reset,
    "/close": _close,
    "/answer-then-close": _answer_then_close,
    "/too-short": _too_short,
    "/until-eof": _until_eof,
    "/half-close": _half_close,
    "/drip": _drip,
    "/begin-then-wait": _begin_then_wait,
    "/endless": _endless,
}
