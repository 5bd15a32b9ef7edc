"""A server whose every answer is scripted, so that a measurement can be held against what really happened.

It runs in a thread with sockets of its own; the path of a request names the behaviour. Answers are written as bytes,
not by a library, so that they can be wrong in exactly one way.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWERS = {
    "/ok": OK,
    "/500": b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n",
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    "/interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
    "/too-long": OK + b"and more",
    "/head-only": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
    "/malformed": b"220 mail.example ESMTP\r\n",
}


@dataclass
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
        head = await client.reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        self.requests.append(head + await client.reader.readexactly(length))
        path = head.split(b" ", 2)[1].decode()
        if path in ANSWERS:
            await client.send(ANSWERS[path])
            return True
        return await BEHAVIOURS[path](self, client)


async def _slow(_: Oracle, client: Client) -> bool:
    await asyncio.sleep(0.05)
    await client.send(OK)
    return True


async def _stall(oracle: Oracle, client: Client) -> bool:
    await asyncio.sleep(max(0.0, oracle.gate - time.monotonic()))
    await client.send(OK)
    return True


async def _never(_: Oracle, client: Client) -> bool:
    await client.reader.read()  # until the client goes
    return False


async def _reset(_: Oracle, client: Client) -> bool:
    client.reset()
    return False


async def _close(_: Oracle, _client: Client) -> bool:
    return False


async def _answer_then_close(_: Oracle, client: Client) -> bool:
    await client.send(OK)
    return False


async def _too_short(_: Oracle, client: Client) -> bool:
    await client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    return False


async def _until_eof(_: Oracle, client: Client) -> bool:
    await client.send(b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts")
    return False


async def _half_close(_: Oracle, client: Client) -> bool:
    """Send FIN in the middle of an answer and go on reading."""
    await client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    client.writer.write_eof()
    await client.reader.read()
    return False


async def _drip(_: Oracle, client: Client) -> bool:
    """Send an answer in many packets, 5 ms apart."""
    for index in range(0, len(OK), 8):
        await client.send(OK[index : index + 8])
        await asyncio.sleep(0.005)
    return True


async def _begin_then_wait(_: Oracle, client: Client) -> bool:
    await client.send(OK[:10])
    await asyncio.sleep(0.15)
    await client.send(OK[10:])
    return True


async def _endless(_: Oracle, client: Client) -> bool:
    await client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await client.send(b"1000\r\n%b\r\n" % bytes(4096))


BEHAVIOURS: dict[str, Callable[[Oracle, Client], Awaitable[bool]]] = {
    "/slow": _slow,
    "/stall": _stall,
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
