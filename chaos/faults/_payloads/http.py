"""A proxy for HTTP/1: LISTEN PORT METHODS PATH SHARE LATENCY JITTER ACTION; it prints `seen=`, `harmed=`, `strange=`.

Connections come redirected from PORT and go on to where they were meant to go. Of the requests whose method (one of
those joined by commas, or any) and target (a regular expression) match, a SHARE is held for LATENCY +- JITTER s, and
then passed on, answered by a status, or reset (ACTION: `pass`, `reset`, or the status). Answers are passed on byte by
byte as they come. What is no HTTP/1 (TLS, HTTP/2), and what comes after an upgrade, passes and is counted as strange.

Requests on a connection before the answer to the former has begun (pipelining) are passed on: an answer of ours would
overtake.
"""

import asyncio
import os
import random
import re
import resource
import socket
import struct
import sys
from pathlib import Path

MARK = 0x67616D65
ORIGINAL = 80  # SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv4.h, netfilter_ipv6/ip6_tables.h)
HEAD = re.compile(rb"([A-Z]{1,32}) (\S+) HTTP/1\.([01])\r?\n")
BEGINS = re.compile(rb"[A-Z]{0,32}$|[A-Z]{1,32} ")
END = re.compile(rb"\r?\n\r?\n")
LINE = re.compile(rb"\r?\n")
MOST = 2**17  # bytes of a head
PIECE = 2**16


class Strange(Exception):
    """What comes is no HTTP/1."""


class Head:
    """The head of a request, and what it says of its body and its connection."""

    def __init__(self, data: bytes) -> None:
        found = HEAD.match(data)
        if not found:
            raise Strange
        self.method, self.target = found.group(1).decode(), found.group(2).decode("latin-1")
        fields = {}
        for line in LINE.split(data)[1:]:
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip().lower()
        self.chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        length = fields.get(b"content-length", b"0")
        if not length.isdigit():
            raise Strange
        self.length = int(length)
        self.waits = b"expect" in fields
        self.leaves = b"upgrade" in fields or self.method == "CONNECT"
        self.closes = found.group(3) == b"0" or b"close" in fields.get(b"connection", b"")


class Source:
    """What a client sends, a piece at a time."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader, self.held = reader, b""

    async def more(self) -> None:
        """Hold what comes next. Raises EOFError at the end."""
        data = await self.reader.read(PIECE)
        if not data:
            raise EOFError
        self.held += data

    async def until(self, end: "re.Pattern[bytes]") -> bytes:
        """Return everything up to the end of a match."""
        found = end.search(self.held)
        while not found:
            if len(self.held) > MOST:
                raise Strange
            await self.more()
            found = end.search(self.held)
        return self.take(found.end())

    def take(self, most: int) -> bytes:
        """Return so many bytes of those held."""
        data, self.held = self.held[:most], self.held[most:]
        return data

    async def head(self) -> bytes:
        """Return the head of the next request; an empty line before it is left out (RFC 9112, 2.2)."""
        while not self.held.strip(b"\r\n"):
            await self.more()
        self.held = self.held.lstrip(b"\r\n")
        while b" " not in self.held[:33]:
            if not BEGINS.match(self.held):
                raise Strange
            await self.more()
        if not BEGINS.match(self.held) or self.held.startswith(b"PRI * HTTP/2"):
            raise Strange
        return await self.until(END)

    async def body(self, head: Head) -> "asyncio.AsyncIterator[bytes]":  # type: ignore[name-defined]
        """Yield the pieces of a body as they come (RFC 9112, 6 and 7.1)."""
        left, line = head.length, b""
        while head.chunked or left:
            if not left:
                line = await self.until(LINE)
                left = chunk(line)
                yield line
                if not left:
                    break
            if not self.held:
                await self.more()
            piece = self.take(left)
            left -= len(piece)
            yield piece
        while head.chunked and line.strip():  # trailers, up to an empty line
            line = await self.until(LINE)
            yield line


def chunk(line: bytes) -> int:
    """Return how many bytes follow the line that begins a chunk, with those that end it; 0 after the last."""
    try:
        size = int(line.split(b";")[0].strip(), 16)
    except ValueError:
        raise Strange from None
    return size + 2 if size else 0


class Proxy:
    """What is met, what it meets with, and how often."""

    def __init__(self, methods: str, path: str, share: str, latency: str, jitter: str, action: str) -> None:
        self.methods, self.path = [m for m in methods.split(",") if m], re.compile(path)
        self.share, self.latency, self.jitter, self.action = float(share), float(latency), float(jitter), action
        self.seen = self.harmed = self.strange = 0

    def meets(self, head: Head) -> bool:
        """Whether a request is one of those that are harmed; drawn at random where a share is."""
        named = not self.methods or head.method in self.methods
        return bool(named and self.path.search(head.target)) and random.random() < self.share


class Connection:
    """One connection of a client, and the one that goes on from here."""

    def __init__(self, proxy: Proxy, client: "tuple[asyncio.StreamReader, asyncio.StreamWriter]") -> None:
        self.proxy, self.source, self.client = proxy, Source(client[0]), client[1]
        self.idle = True

    async def run(self, port: int) -> None:
        """Serve it to its end."""
        try:
            reader, self.server = await onward(self.client.get_extra_info("socket"), port)
        except OSError:
            reset(self.client)
            return
        tasks = [asyncio.ensure_future(self.answers(reader)), asyncio.ensure_future(self.requests())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done() and not self.client.transport.is_closing():
            await asyncio.wait(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.client.close()
        self.server.close()

    async def answers(self, reader: asyncio.StreamReader) -> None:
        """Pass on what the server says, until it ends."""
        data = await reader.read(PIECE)
        while data:
            self.idle = True
            self.client.write(data)
            await self.client.drain()
            data = await reader.read(PIECE)

    async def requests(self) -> None:
        """Meet one request after another, until the client ends."""
        try:
            while await self.request():
                pass
            return
        except Strange:
            self.proxy.strange += 1
        except EOFError:
            pass
        await self.rest()

    async def rest(self) -> None:
        """Pass on, unread, what is left."""
        data = self.source.take(len(self.source.held)) or await self.source.reader.read(PIECE)
        while data:
            await self.forward(data)
            data = await self.source.reader.read(PIECE)
        if self.server.can_write_eof():
            self.server.write_eof()

    async def request(self) -> bool:
        """Meet a request; return whether another may come."""
        data = await self.source.head()
        try:
            head = Head(data)
        except Strange:
            self.source.held = data + self.source.held
            raise
        self.proxy.seen += 1
        if self.idle and self.proxy.meets(head):
            self.proxy.harmed += 1
            await asyncio.sleep(max(0.0, self.proxy.latency + random.uniform(-1, 1) * self.proxy.jitter))
            if self.proxy.action == "reset":
                reset(self.client)
                return False
            if self.proxy.action != "pass":
                return await self.answer(head)
        self.idle = False
        await self.forward(data)
        async for piece in self.source.body(head):
            await self.forward(piece)
        if head.leaves:
            raise Strange
        return True

    async def answer(self, head: Head) -> bool:
        """Answer with the status, and return whether the connection goes on; the body is read and thrown away."""
        closes = head.closes or head.waits
        if not head.waits:
            async for _ in self.source.body(head):
                pass
        said = b'{"error": {"message": "injected by gameday", "type": "injected"}}\n'
        lines = ["HTTP/1.1 " + self.proxy.action + " Injected", "Content-Type: application/json"]
        lines += ["Content-Length: " + str(len(said)), "Connection: " + ("close" if closes else "keep-alive")]
        self.client.write("\r\n".join([*lines, "", ""]).encode() + (said if head.method != "HEAD" else b""))
        await self.client.drain()
        return not closes

    async def forward(self, data: bytes) -> None:
        """Pass data on to the server."""
        self.server.write(data)
        await self.server.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    made = writer.get_extra_info("socket")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def onward(met: socket.socket, port: int) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter]":
    """Connect to where a redirected connection was to go. Raises OSError for one that was not redirected from PORT."""
    inet6 = met.family == socket.AF_INET6
    level, where = (socket.IPPROTO_IPV6, slice(8, 24)) if inet6 else (socket.IPPROTO_IP, slice(4, 8))
    named = met.getsockopt(level, ORIGINAL, 28 if inet6 else 16)
    if struct.unpack("!H", named[2:4])[0] != port:
        raise OSError("it was not redirected")
    made = socket.socket(met.family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_MARK", 36), MARK)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = socket.inet_ntop(met.family, named[where])
        await asyncio.get_event_loop().sock_connect(made, (address, port))
        return await asyncio.open_connection(sock=made)
    except OSError:
        made.close()
        raise


def listening(family: int, port: int) -> socket.socket:
    """Return a socket that listens on every address of a family."""
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("", port))
    return made


async def serve(listen: int, port: int, proxy: Proxy) -> None:
    """Serve for as long as the parent lives."""
    parent, told = os.getppid(), ""
    families = [socket.AF_INET, *([socket.AF_INET6] if Path("/proc/net/if_inet6").exists() else [])]

    async def met(*client: "asyncio.StreamReader | asyncio.StreamWriter") -> None:
        try:
            await Connection(proxy, client).run(port)  # type: ignore[arg-type]
        except OSError:
            client[1].transport.abort()  # type: ignore[union-attr]

    for family in families:
        await asyncio.start_server(met, sock=listening(family, listen), backlog=4096)
    while os.getppid() == parent:
        counts = f"seen={proxy.seen} harmed={proxy.harmed} strange={proxy.strange}\n"
        if told != counts:
            told = counts
            sys.stdout.write(told)
            sys.stdout.flush()
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.get_event_loop_policy().new_event_loop().run_until_complete(
        serve(int(sys.argv[1]), int(sys.argv[2]), Proxy(*sys.argv[3:9]))
    )
