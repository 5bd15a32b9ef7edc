"""Connections kept, shared and limited: what a server sees of many requests at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvloop

from probes.transport import WireTransport
from tests.unit.probes import oracle_server
from tests.unit.probes.oracle_server import Oracle
from tests.unit.probes.raw_server import OK, Peer, Script, always, serving


@asynccontextmanager
async def client(
    timeout: float = 5.0, path: str | None = None, **limits: float | None
) -> AsyncIterator[httpx.AsyncClient]:
    wire = WireTransport(limits=httpx.Limits(**limits), uds=path)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=wire, timeout=timeout) as opened:
        yield opened


@pytest.fixture
def uv() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


async def slow(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await peer.request(reader)
        await asyncio.sleep(0.005)
        writer.write(OK)


async def once(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close, without a word of that."""
    await peer.request(reader)
    writer.write(OK)


def test_one_connection_serves_one_after_the_other(uv: asyncio.Runner) -> None:
    async def main() -> None:
        async with serving(always(OK)) as peer, client() as http:
            for _ in range(20):
                await http.get(peer.url)
            assert peer.opened == 1

    uv.run(main())


async def last(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.request(reader)
    await asyncio.sleep(0.005)
    writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


@pytest.mark.parametrize(("script", "opened"), [(slow, 8), (last, 200)])
def test_many_at_once_never_have_more_than_the_most(uv: asyncio.Runner, script: Script, opened: int) -> None:
    async def main() -> None:
        async with serving(script) as peer, client(max_connections=8) as http:
            answers = await asyncio.gather(*(http.get(peer.url) for _ in range(200)))
            assert {answer.content for answer in answers} == {b"ok"}
            assert len(peer.requests) == 200
            assert (peer.opened, peer.most) == (opened, 8)

    uv.run(main())


def test_who_waits_longest_is_served_first(uv: asyncio.Runner) -> None:
    async def main() -> None:
        async with serving(slow) as peer, client(max_connections=2) as http:
            await asyncio.gather(*(http.get(f"{peer.url}/{index}") for index in range(20)))
            paths = [int(request.split(b" ", 2)[1][1:]) for request in peer.requests]
            assert all(abs(path - place) <= 1 for place, path in enumerate(paths))

    uv.run(main())


def test_a_waiter_of_another_origin_is_served(uv: asyncio.Runner) -> None:
    async def main() -> None:
        async with serving(slow) as one, serving(slow) as other, client(max_connections=2) as http:
            urls = [one.url, one.url, one.url, other.url, one.url, other.url] * 5
            assert {answer.status_code for answer in await asyncio.gather(*map(http.get, urls))} == {200}
            await http.get(one.url)
            await asyncio.sleep(0.02)
            assert one.most <= 3
            assert one.open + other.open <= 2

    uv.run(main())


def test_waiters_that_went_away_are_not_served(uv: asyncio.Runner) -> None:
    async def main() -> None:
        async with serving(slow) as peer, client(max_connections=1) as http:
            tasks = [asyncio.create_task(http.get(f"{peer.url}/{index}")) for index in range(3000)]
            await asyncio.sleep(0)
            for task in tasks[1:-1]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert [request.split(b" ", 2)[1] for request in peer.requests] == [b"/0", b"/2999"]
            assert peer.opened == 1

    uv.run(main())


@pytest.mark.parametrize("turns", range(12))
def test_a_waiter_cancelled_as_its_turn_comes_leaves_room(uv: asyncio.Runner, turns: int) -> None:
    async def main() -> None:
        async with serving(always(OK)) as peer, client(max_connections=1) as http:
            tasks = [asyncio.create_task(http.get(peer.url)) for _ in range(2)]
            await asyncio.wait(tasks[:1])
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[1].cancel()
            assert (await http.get(peer.url)).content == b"ok"
            await asyncio.gather(*tasks, return_exceptions=True)

    uv.run(main())


@pytest.mark.parametrize("turns", range(6))
def test_a_call_cancelled_as_it_is_answered_hurts_no_other(uv: asyncio.Runner, turns: int) -> None:
    async def main() -> None:
        async with serving(always(OK)) as peer, client(max_connections=1) as http:
            for _ in range(5):
                calls = [asyncio.create_task(http.get(peer.url)) for _ in range(4)]
                while not peer.requests:
                    await asyncio.sleep(0)
                for _ in range(turns):
                    await asyncio.sleep(0)
                calls[0].cancel()
                done = await asyncio.gather(*calls, return_exceptions=True)
                assert [answer.content for answer in done[1:] if isinstance(answer, httpx.Response)] == [b"ok"] * 3
                peer.requests.clear()

    uv.run(main())


def test_idle_connections_are_kept_up_to_a_number(uv: asyncio.Runner) -> None:
    async def main() -> None:
        async with serving(slow) as peer, client(max_keepalive_connections=2) as http:
            await asyncio.gather(*(http.get(peer.url) for _ in range(6)))
            await asyncio.sleep(0.2)
            assert (peer.opened, peer.open) == (6, 2)

    uv.run(main())


def test_an_idle_connection_expires(uv: asyncio.Runner) -> None:
    async def main() -> None:
        async with serving(always(OK)) as peer, client(keepalive_expiry=0.1) as http:
            for _ in range(3):  # none is closed between these
                await http.get(peer.url)
            assert (peer.opened, peer.open) == (1, 1)
            await asyncio.sleep(0.2)
            assert peer.open == 0
            await http.get(peer.url)
            assert peer.opened == 2

    uv.run(main())


def test_a_server_that_closes_idle_connections_costs_no_request(uv: asyncio.Runner) -> None:
    async def main() -> None:
        async with serving(once) as peer, client() as http:
            for pause in (0, 0.01, 0, 0.01):
                assert (await http.get(peer.url)).content == b"ok"
                await asyncio.sleep(pause)
            assert len(peer.requests) == 4

    uv.run(main())


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


def test_what_crossed_with_a_close_is_sent_again(uv: asyncio.Runner, oracle: Oracle) -> None:
    async def main() -> None:
        async with client(max_connections=1) as http:
            await http.get(oracle.url("/answer-then-close"))
            time.sleep(0.1)  # the loop stands still: the FIN is in the kernel, and not yet read
            assert (await http.post(oracle.url("/ok"), content=b"once")).content == b"ok"
            assert sum(request.endswith(b"once") for request in oracle.requests) == 1

    uv.run(main())


@pytest.mark.parametrize(("path", "error"), [("/close", httpx.RemoteProtocolError), ("/reset", httpx.ReadError)])
def test_what_the_server_had_is_not_sent_again(
    uv: asyncio.Runner, oracle: Oracle, path: str, error: type[Exception]
) -> None:
    async def main() -> None:
        async with client() as http:
            await http.get(oracle.url("/ok"))
            with pytest.raises(error):
                await http.get(oracle.url(path))
            assert len(oracle.requests) == 2

    uv.run(main())


def test_a_unix_socket_that_was_closed_meanwhile(uv: asyncio.Runner, tmp_path: Path) -> None:
    """Its kernel tells nothing of what was read; only what could not be written is known to be unread."""

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            async with client(path=str(tmp_path / "socket"), max_connections=1) as http:
                for _ in range(2):
                    call = asyncio.create_task(http.get("http://any/"))
                    await asyncio.sleep(0.05)
                    with listener.accept()[0] as accepted:
                        assert accepted.recv(1000).startswith(b"GET")
                        accepted.send(OK)
                        assert (await call).content == b"ok"
                    # it is closed now, and the loop has not looked

    uv.run(main())
