"""What httpx's documentation promises of a transport: timeouts, streams, TLS, its errors, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import transport
from probes.errors import ErrorKind
from probes.exchange import ExchangeConnection
from probes.transport import WireTransport
from tests.unit.probes.raw_server import OK, Peer, always, serving

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    def running(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, 20))

    return running


Run = Callable[[Coroutine[Any, Any, None]], None]


async def silent(peer: Peer, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Answer /ok; read anything else and never answer it."""
    while await peer.request(reader) == b"/ok":
        _writer.write(OK)
    await reader.read()


async def half(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.request(reader)
    writer.write(BEGUN)
    await reader.read()


async def deaf(_peer: Peer, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(20)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1 << 20)


# --- timeouts ---------------------------------------------------------------------------------------------------------


def test_connect_timeout(run: Run) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(2):  # the queue of a backlog of 0 takes one; what comes then is dropped (listen(2))
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            client = await stack.enter_async_context(httpx.AsyncClient(transport=WireTransport(), timeout=0.1))
            with pytest.raises(httpx.ConnectTimeout) as raised:
                await client.get(f"http://127.0.0.1:{full.getsockname()[1]}/")
            assert raised.value.request.url.path == "/"

    run(main())


def test_a_handshake_that_is_not_answered_is_a_connect_timeout(run: Run) -> None:
    async def main() -> None:
        async with serving(deaf) as peer, httpx.AsyncClient(transport=WireTransport(), timeout=0.1) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await client.get(peer.url.replace("http", "https"))

    run(main())


@pytest.mark.parametrize("script", [silent, half])
def test_read_timeout(run: Run, script: Any) -> None:
    async def main() -> None:
        async with serving(script) as peer, httpx.AsyncClient(transport=WireTransport(), timeout=0.1) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(peer.url)

    run(main())


def test_a_slow_drip_is_no_read_timeout(run: Run) -> None:
    async def drip(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.request(reader)
        for piece in (OK[:10], OK[10:20], OK[20:30], OK[30:-1], OK[-1:]):
            await asyncio.sleep(0.06)
            writer.write(piece)

    async def main() -> None:
        async with serving(drip) as peer, httpx.AsyncClient(transport=WireTransport(), timeout=0.25) as client:
            assert (await client.get(peer.url)).content == b"ok"

    run(main())


@pytest.mark.parametrize("content", [bytes(50 << 20), None])
def test_write_timeout(run: Run, content: bytes | None) -> None:
    async def main() -> None:
        timeout = httpx.Timeout(5, write=0.1)
        async with serving(deaf) as peer, httpx.AsyncClient(transport=WireTransport(), timeout=timeout) as client:
            with pytest.raises(httpx.WriteTimeout):
                await client.post(peer.url, content=content or endless())

    run(main())


def test_a_body_that_takes_longer_to_send_than_an_answer_may_is_no_read_timeout(run: Run) -> None:
    async def slow(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.7)
        await peer.request(reader)
        writer.write(OK)

    async def main() -> None:
        timeout = httpx.Timeout(5, read=0.5)
        async with serving(slow) as peer, httpx.AsyncClient(transport=WireTransport(), timeout=timeout) as client:
            assert (await client.post(peer.url, content=bytes(8 << 20))).status_code == 200

    run(main())


def test_pool_timeout(run: Run) -> None:
    async def main() -> None:
        limits, timeout = httpx.Limits(max_connections=1), httpx.Timeout(5, pool=0.1)
        client = httpx.AsyncClient(transport=WireTransport(limits=limits), timeout=timeout)
        async with serving(half) as peer, client, client.stream("GET", peer.url):
            with pytest.raises(httpx.PoolTimeout):
                await client.get(peer.url)

    run(main())


# --- streams ----------------------------------------------------------------------------------------------------------


def test_pieces_come_as_they_are_sent(run: Run) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def two_pieces(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.request(reader)
            writer.write(BEGUN)
            await go.wait()
            writer.write(b"-a-half")

        async with serving(two_pieces) as peer, httpx.AsyncClient(transport=WireTransport()) as client:
            pieces = []
            async with client.stream("GET", peer.url) as response:
                async for piece in response.aiter_raw():
                    pieces.append(piece)
                    go.set()
            assert pieces == [b"half", b"-a-hal"]

    run(main())


def test_who_does_not_read_holds_the_server_back(run: Run) -> None:
    async def main() -> None:
        sent = 0

        async def flood(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await peer.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (50 << 20))
            for _ in range(800):
                writer.write(bytes(1 << 16))
                await writer.drain()
                sent += 1 << 16
            await reader.read()

        async with serving(flood) as peer, httpx.AsyncClient(transport=WireTransport(), timeout=0.2) as client:
            async with client.stream("GET", peer.url) as response:
                await asyncio.sleep(0.3)  # longer than the read timeout, which doesn't run while nobody reads
                assert sent < 30 << 20
                got = 0
                async for piece in response.aiter_raw():
                    got += len(piece)
            assert got == sent == 50 << 20

    run(main())


def test_an_upload_ends_early_for_an_error_and_goes_on_for_any_other_answer(run: Run) -> None:
    async def early(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/413 " in head:
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            return
        writer.write(OK)
        while not (await reader.readline()).startswith(b"0"):
            pass
        await reader.readline()
        peer.requests.append(b"all of it")
        await peer.request(reader)
        writer.write(OK)

    async def slow_lines() -> AsyncIterator[bytes]:
        for _ in range(10):
            await asyncio.sleep(0.01)
            yield b"line\n"

    async def main() -> None:
        async with serving(early) as peer, httpx.AsyncClient(transport=WireTransport()) as client:
            refused = await client.post(peer.url + "/413", content=endless())
            assert (refused.status_code, refused.content) == (413, b"big")
            assert (await client.post(peer.url, content=slow_lines())).content == b"ok"
            assert (await client.get(peer.url)).content == b"ok"
            assert peer.requests[0] == b"all of it"
            assert peer.opened == 2  # what was sent completely is kept, what was cut short is not

    run(main())


def test_an_answer_that_is_left_early_is_closed_and_spoils_nothing(run: Run) -> None:
    async def main() -> None:
        client = httpx.AsyncClient(transport=WireTransport(limits=httpx.Limits(max_connections=1)), timeout=2)
        async with serving(half) as peer, client:
            for _ in range(3):
                async with client.stream("GET", peer.url) as response:
                    assert response.status_code == 200
            await asyncio.sleep(0.05)
            assert (peer.opened, peer.open) == (3, 0)

    run(main())


def test_closing_ends_what_is_out_and_what_waits(run: Run) -> None:
    async def main() -> None:
        wire = WireTransport(limits=httpx.Limits(max_connections=1))
        client = httpx.AsyncClient(transport=wire)
        async with serving(silent) as peer:
            calls = [asyncio.create_task(client.get(peer.url)) for _ in range(3)]
            await asyncio.sleep(0.05)
            await client.aclose()
            assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == [
                httpx.ReadError
            ] * 3
            await asyncio.sleep(0.05)
            assert (peer.opened, peer.open) == (1, 0)

    run(main())


# --- TLS, IPv6, unix sockets ------------------------------------------------------------------------------------------


class Authority:
    def __init__(self, folder: Path) -> None:
        self.authority, self.client = trustme.CA(), folder / "client.pem"
        self.authority.issue_cert("probe@gameday.test").private_key_and_cert_chain_pem.write_to_path(self.client)

    def server(self, name: str, wants_certificate: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(name).configure_cert(context)
        self.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED if wants_certificate else ssl.CERT_NONE
        return context

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def test_tls_is_verified(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async with serving(always(OK), tls=authority.server("127.0.0.1")) as peer:
            async with httpx.AsyncClient(transport=WireTransport(verify=authority.trusting())) as client:
                answer = await client.get(peer.url)
                assert answer.content == (await client.get(peer.url)).content == b"ok"
                assert answer.extensions["network_stream"].get_extra_info("ssl_object").version() == "TLSv1.3"
                assert peer.opened == 1
            async with httpx.AsyncClient(transport=WireTransport()) as client:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get(peer.url)
            async with httpx.AsyncClient(transport=WireTransport(verify=False)) as client:
                assert (await client.get(peer.url)).content == b"ok"

    run(main())


def test_a_certificate_is_for_a_name(run: Run, authority: Authority) -> None:
    async def main() -> None:
        wire = WireTransport(verify=authority.trusting())
        server, client = serving(always(OK), tls=authority.server("appliance.test")), httpx.AsyncClient(transport=wire)
        async with server as peer, client:
            with pytest.raises(httpx.ConnectError, match="mismatch"):
                await client.get(peer.url)
            named = await client.get(peer.url, extensions={"sni_hostname": "appliance.test"})
            assert named.content == b"ok"

    run(main())


@pytest.mark.filterwarnings("ignore:.cert=:DeprecationWarning")  # by httpx, of its own argument of that name
def test_a_client_s_certificate(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async with serving(always(OK), tls=authority.server("127.0.0.1", wants_certificate=True)) as peer:
            wire = WireTransport(verify=authority.trusting(), cert=str(authority.client))
            async with httpx.AsyncClient(transport=wire) as client:
                assert (await client.get(peer.url)).content == b"ok"
            async with httpx.AsyncClient(transport=WireTransport(verify=authority.trusting())) as client:
                with pytest.raises(httpx.TransportError):  # with TLS 1.3 the client's own handshake is done by then
                    await client.get(peer.url)

    run(main())


def test_ipv6_and_what_is_known_of_a_connection(run: Run) -> None:
    async def main() -> None:
        async with serving(always(OK), host="::1") as peer, httpx.AsyncClient(transport=WireTransport()) as client:
            answer = await client.get(peer.url)
            stream = answer.extensions["network_stream"]
            assert stream.get_extra_info("server_addr")[:2] == ("::1", answer.url.port)
            assert stream.get_extra_info("client_addr")[0] == "::1"
            assert stream.get_extra_info("anything else") is None

    run(main())


def test_unix_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        client = httpx.AsyncClient(transport=WireTransport(uds=path))
        async with serving(always(OK), unix=path) as peer, client:
            assert [(await client.get("http://any/")).content for _ in range(2)] == [b"ok", b"ok"]
            assert peer.opened == 1

    run(main())


# --- errors, retries, loops, leftovers --------------------------------------------------------------------------------


def test_every_kind_of_error_has_one_of_httpx_s() -> None:
    of_other_tools = {ErrorKind.UNHEALTHY, ErrorKind.REJECTED}
    assert set(transport._ERRORS) == set(ErrorKind) - {ErrorKind.OK} - of_other_tools


@pytest.mark.parametrize("host", [".".join(["a" * 60] * 5), "a" * 64 + ".invalid"])
def test_a_host_that_can_not_be_is_a_connect_error(run: Run, host: str) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(transport=WireTransport()) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://{host}/")

    run(main())


def test_connecting_is_tried_again(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        async with httpx.AsyncClient(transport=WireTransport(retries=2)) as client:
            call = asyncio.create_task(client.post(f"http://127.0.0.1:{port}/", content=_once()))
            await asyncio.sleep(0.1)
            server = await asyncio.start_server(_answer_chunks, "127.0.0.1", port)
            assert (await call).content == b"ok"
            server.close()

    run(main())


async def _once() -> AsyncIterator[bytes]:
    yield b"abc"


async def _answer_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    writer.write(OK)
    writer.close()


def test_a_client_outlives_its_loop(run: Run) -> None:
    client = httpx.AsyncClient(transport=WireTransport())

    async def main(last: bool) -> None:
        async with serving(always(OK)) as peer:
            assert (await client.get(peer.url)).content == b"ok"
        if last:
            await client.aclose()
        await asyncio.sleep(0.02)

    run(main(False))
    run(main(True))


def test_mounted_and_used_as_a_context(run: Run) -> None:
    async def main() -> None:
        wire = WireTransport()
        async with serving(always(OK)) as peer, wire, httpx.AsyncClient(mounts={"http://": wire}) as client:
            assert (await client.get(peer.url)).content == b"ok"

    run(main())


def test_a_request_leaves_nothing_for_the_collector(run: Run) -> None:
    async def main() -> None:
        async with serving(always(OK)) as peer, WireTransport() as wire:
            for _ in range(3):
                await _get(wire, peer.url)
            gc.collect()
            gc.disable()
            try:
                for _ in range(50):
                    await _get(wire, peer.url)
                assert gc.collect() < 50  # fewer than one a request
            finally:
                gc.enable()

    run(main())


async def _get(wire: WireTransport, url: str) -> bytes:
    response = await wire.handle_async_request(httpx.Request("GET", url))
    return await response.aread()


PHASES: dict[str, tuple[Any, float]] = {
    "at once": (silent, 0),
    "waiting for the head": (silent, 0.03),
    "in the body": (half, 0.03),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_call_that_is_cancelled_leaves_room_for_the_next(run: Run, phase: str) -> None:
    script, after = PHASES[phase]

    async def main() -> None:
        wire = WireTransport(limits=httpx.Limits(max_connections=1))
        async with serving(script) as peer, httpx.AsyncClient(transport=wire, timeout=2) as client:
            for _ in range(3):
                await _cancelled(client.get(peer.url), after)
            await asyncio.sleep(0.05)
            assert peer.open == 0
            assert await _status(client, peer.url + "/ok") == 200
        await asyncio.sleep(0.02)
        gc.collect()
        assert not [one for one in gc.get_objects() if isinstance(one, ExchangeConnection)]

    run(main())


async def _status(client: httpx.AsyncClient, url: str) -> int:
    async with client.stream("GET", url) as response:
        return response.status_code


async def _cancelled(call: Awaitable[httpx.Response], after: float) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("steps", range(8))
def test_a_call_that_is_cancelled_while_it_connects_leaves_room(run: Run, steps: int) -> None:
    async def main() -> None:
        wire = WireTransport(limits=httpx.Limits(max_connections=1))
        async with serving(always(OK)) as peer, httpx.AsyncClient(transport=wire, timeout=2) as client:
            task = asyncio.create_task(client.get(peer.url))
            for _ in range(steps):  # turns of the loop
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await client.get(peer.url)).content == b"ok"

    run(main())


# --- any cut ----------------------------------------------------------------------------------------------------------

CUT = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 Fine\r\nX-A: one\r\nX-B:  two \r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\n"
)
HEADERS = [(b"X-A", b"one"), (b"X-B", b"two"), (b"Transfer-Encoding", b"chunked")]


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(1, len(CUT) - 1), max_size=12))
def test_an_answer_is_the_same_wherever_it_is_cut(cuts: set[int]) -> None:
    async def pieces(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await peer.request(reader)
        edges = [0, *sorted(cuts), len(CUT)]
        for begin, end in pairwise(edges):
            writer.write(CUT[begin:end])
            await asyncio.sleep(0.0005)
        await reader.read()

    async def main() -> None:
        async with serving(pieces) as peer, httpx.AsyncClient(transport=WireTransport()) as client:
            answer = await client.get(peer.url)
        assert (answer.status_code, answer.reason_phrase, answer.headers.raw) == (200, "Fine", HEADERS)
        assert answer.content == b"abc0123456789"

    asyncio.run(main())
