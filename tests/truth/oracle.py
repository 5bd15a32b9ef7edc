"""`python -m tests.truth.oracle`: a server that follows a script and keeps a journal of what it really did.

It reads a `Script` (one line of JSON) on standard input, writes its port, serves until standard input ends, and then
writes its journal: a JSON list of `Entry`. A request's body is its number.

It is a process of its own, so that it shares no interpreter with the load it is the truth for; and it keeps time with
select(2), whose timeouts are exact to the microsecond, where those of epoll(7) and of uvloop are whole milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import sys
from time import monotonic_ns

from tests.truth.script import Entry, Outage, Script
from tests.unit.probes.behaviours import Client

NS = 1_000_000_000


class Bucket:
    """A token bucket that is full at first."""

    def __init__(self, rate: float, burst: float, start: int) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, start

    def take(self, now: int) -> bool:
        """Return whether there was a token."""
        now = max(now, self._at)
        self._tokens = min(self._burst, self._tokens + (now - self._at) / NS * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Oracle:
    """Serves by a script, and remembers."""

    def __init__(self, script: Script) -> None:
        self.journal: list[Entry] = []
        self._script = script
        self._bucket = Bucket(script.rate, script.burst, script.start) if script.rate else None
        self._clients: set[Client] = set()
        self._server: asyncio.Server | None = None
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))  # never listens: it keeps the port ours while nobody does
        self.port: int = self._reserved.getsockname()[1]

    async def listen(self) -> None:
        host = "127.0.0.1"
        self._server = await asyncio.start_server(self._serve, host, self.port, reuse_port=True, backlog=1024)

    async def refuse(self, outage: Outage) -> None:
        """Stop listening and reset what is open, for the length of the outage."""
        await self._sleep_until(self._time(outage.begin))
        if self._server:
            self._server.close()
        for client in self._clients:
            client.reset()
        await self._sleep_until(self._time(outage.end))
        await self.listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        self._clients.add(client)
        try:
            while await self._exchange(client):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._clients.discard(client)
            writer.close()

    async def _exchange(self, client: Client) -> bool:
        """Answer one request; return whether the connection goes on."""
        _, body = await client.next_request()
        seq, received = int(body), monotonic_ns()
        fate = self._fate(seq, received)
        await self._sleep_until(self._due(seq, received))
        if client.writer.is_closing():
            return False
        self.journal.append(entry := Entry(seq, received, monotonic_ns(), fate, []))
        return await (self._stream(client, entry) if fate == "/stream" else client.behave(fate))

    async def _stream(self, client: Client, entry: Entry) -> bool:
        """Send the pieces as bytes: one may end within a line or a character."""
        await client.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for wait, text in self._script.pieces:
            await asyncio.sleep(wait)
            data = text.encode("latin-1")
            entry.pieces.append(monotonic_ns())
            await client.send(b"%x\r\n%b\r\n" % (len(data), data))
        await client.send(b"0\r\n\r\n")
        return True

    def _fate(self, seq: int, now: int) -> str:
        for outage in self._script.outages:
            if self._time(outage.begin) <= now < self._time(outage.end):
                return "/reset" if outage.how == "refuse" else outage.how
        if self._bucket and not self._bucket.take(now):
            return "/429"
        return self._script.fates[seq % len(self._script.fates)]

    def _due(self, seq: int, received: int) -> int:
        due = received + round(self._script.delays[seq % len(self._script.delays)] * NS)
        for begin, end in self._script.stalls:
            if self._time(begin) <= due < self._time(end):
                due = self._time(end)
        return due

    def _time(self, offset: float) -> int:
        return self._script.start + round(offset * NS)

    async def _sleep_until(self, when: int) -> None:
        if (left := when - monotonic_ns()) > 0:
            await asyncio.sleep(left / NS)


async def _main() -> list[Entry]:
    script = Script.loads(sys.stdin.readline())
    oracle = Oracle(script)
    await oracle.listen()
    outages = [asyncio.create_task(oracle.refuse(outage)) for outage in script.outages if outage.how == "refuse"]
    sys.stdout.write(f"{oracle.port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for outage in outages:
        outage.cancel()
    return oracle.journal


def main() -> None:
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        json.dump(runner.run(_main()), sys.stdout)


if __name__ == "__main__":
    main()
