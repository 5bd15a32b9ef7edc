"""The HTTP server and client against bytes that real peers send, and some that none should."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from chaos.lab.appliance import http1
from chaos.lab.appliance.http1 import MAX_BODY, MAX_HEAD, Exchange, Headers, Pool, Server

GET = b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Echo:
    """Answers at once with method, path and body; keeps `/later` until told; streams `/stream`; fails on `/bug`."""

    def __init__(self) -> None:
        self.later: list[Exchange] = []
        self.lost = 0

    def handle(self, exchange: Exchange) -> None:
        if exchange.path == "/bug":
            raise RuntimeError("a bug")
        if exchange.path == "/later":
            exchange.on_gone = self._gone
            self.later.append(exchange)
        elif exchange.path == "/stream":
            exchange.start(200, b"")
            exchange.send(b"one")
            exchange.send(b"two")
            exchange.end()
        else:
            exchange.respond(200, f"{exchange.method} {exchange.path} ".encode() + exchange.body)

    def _gone(self) -> None:
        self.lost += 1


def serving(scenario: Callable[[Echo, Server, int], Awaitable[None]]) -> None:
    """Run a scenario against a server on a free port, and end it."""

    async def run() -> None:
        echo, stopped = Echo(), asyncio.Event()
        server = Server(echo.handle, lambda status, message: f"{status} {message}".encode())
        with bound() as listener:
            port = listener.getsockname()[1]
            task = asyncio.create_task(server.serve(stopped, lambda: 0.2, sock=listener))
            await asyncio.sleep(0.01)
            try:
                await asyncio.wait_for(scenario(echo, server, port), 10)
            finally:
                stopped.set()
                await task

    asyncio.run(run())


def bound() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


async def exchange(port: int, *pieces: bytes) -> bytes:
    """Send the pieces, and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.005)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def answers_to(*pieces: bytes, close: bool = True) -> bytes:
    """Return the bytes that answer the pieces; with `close`, a last request asks the server to close."""
    found: list[bytes] = []
    last = [CLOSING] if close else []

    async def scenario(_echo: Echo, _server: Server, port: int) -> None:
        found.append(await exchange(port, *pieces, *last))

    serving(scenario)
    return found[0].rpartition(b"HTTP/1.1 200 OK")[0] if close else found[0]


def test_a_request_is_answered_whole_with_date_and_length() -> None:
    answer = answers_to(GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert answer.endswith(b"content-length: 7\r\n\r\nGET /a ")


def test_a_request_may_come_byte_by_byte() -> None:
    raw = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    assert answers_to(*(raw[i : i + 1] for i in range(len(raw)))).endswith(b"POST /p hi")


def test_a_chunked_body_is_put_together_and_its_trailers_are_no_headers() -> None:
    raw = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n"
    assert answers_to(raw).endswith(b"POST /p abc")


def test_pipelined_requests_are_answered_in_order_however_many() -> None:
    count = 3000
    answer = answers_to(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(count)))
    assert [int(part.split(b" ")[0]) for part in answer.split(b"GET /")[1:]] == list(range(count))


def test_an_answer_is_streamed_in_chunks() -> None:
    answer = answers_to(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"transfer-encoding: chunked" in answer
    assert answer.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_http_1_0_gets_no_chunks_and_a_closed_connection() -> None:
    answer = answers_to(b"GET /stream HTTP/1.0\r\n\r\n", close=False)
    assert b"chunked" not in answer
    assert answer.endswith(b"connection: close\r\n\r\nonetwo")


def test_connection_close_is_kept_to() -> None:
    answer = answers_to(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET, close=False)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"connection: close\r\n" in answer


def test_head_gets_the_length_and_no_body() -> None:
    answer = answers_to(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"content-length: 8\r\n\r\n")


def test_expect_100_continue_is_answered() -> None:
    head = b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    answer = answers_to(head, b"ok")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * MAX_HEAD + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b"501"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"501"),
    ],
)
def test_what_is_no_request_for_us_is_refused_and_the_connection_closed(raw: bytes, status: bytes) -> None:
    answer = answers_to(raw, close=False)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer


def test_a_body_that_is_too_long_is_refused() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n" % (MAX_BODY + 1) + b"a" * (MAX_BODY + 1)
    answers: list[bytes] = []

    async def scenario(_echo: Echo, _server: Server, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + chunk)
        answers.append(await reader.readuntil(b"\r\n"))
        writer.transport.abort()

    serving(scenario)
    assert answers == [b"HTTP/1.1 413 Request Entity Too Large\r\n"]


def test_a_good_request_before_a_bad_one_is_answered_first() -> None:
    answer = answers_to(GET + b"NONSENSE\r\n\r\n", close=False)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1 400") == 1


def test_a_client_that_leaves_is_told_of_and_forgotten() -> None:
    async def scenario(echo: Echo, server: Server, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: echo.later)
        writer.transport.abort()
        await until(lambda: not server.connections)
        assert echo.lost == 1
        echo.later[0].respond(200, b"to nobody")

    serving(scenario)


def test_a_client_that_does_not_read_is_cut_off() -> None:
    async def scenario(echo: Echo, server: Server, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: echo.later)
        echo.later[0].start(200, b"")
        for _ in range(1000):
            echo.later[0].send(b"a" * 65536)
        await until(lambda: not server.connections)
        assert echo.lost == 1
        writer.transport.abort()

    serving(scenario)


def test_a_connection_that_only_lies_there_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "IDLE_TIMEOUT", 0.1)
    monkeypatch.setattr(http1, "REQUEST_TIMEOUT", 0.1)

    async def scenario(_echo: Echo, server: Server, port: int) -> None:
        idle, half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        half[1].write(b"GET / HTTP/1.1\r\n")
        await until(lambda: len(server.connections) == 2)
        await until(lambda: not server.connections)
        for _, writer in (idle, half):
            writer.transport.abort()

    serving(scenario)


def test_a_bug_in_a_handler_cuts_that_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(_echo: Echo, _server: Server, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /bug HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            assert not await reader.read()
            raise ConnectionResetError  # an abort may show as either
        writer.transport.abort()
        assert (await exchange(port, CLOSING)).startswith(b"HTTP/1.1 200")

    serving(scenario)
    assert "a bug" in caplog.text


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


# --- the client side --------------------------------------------------------------------------------------------------


class Answer:
    """A receiver that keeps what comes."""

    def __init__(self) -> None:
        self.status, self.body, self.lost = 0, b"", ""
        self.done = asyncio.Event()

    def on_head(self, status: int, headers: Headers) -> None:
        del headers
        self.status = status

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_end(self) -> None:
        self.done.set()

    def on_lost(self, why: str) -> None:
        self.lost = why
        self.done.set()


def scripted(reply: bytes, *, close: bool = False) -> tuple[Answer, int]:
    """Return what a client makes of a reply, and how many connections its pool keeps afterwards."""

    async def run() -> tuple[Answer, int]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            if not close:
                await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        pool = Pool("127.0.0.1", server.sockets[0].getsockname()[1])
        connection = await pool.connect(1.0)
        answer = Answer()
        connection.send(GET, answer)
        await asyncio.wait_for(answer.done.wait(), 5)
        kept = pool.take()
        connection.abort()
        await asyncio.sleep(0.01)
        server.close()
        await server.wait_closed()
        return answer, int(kept is not None)

    return asyncio.run(run())


def test_a_complete_answer_leaves_the_connection_in_the_pool() -> None:
    answer, kept = scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (answer.status, answer.body, answer.lost, kept) == (200, b"ok", "", 1)


def test_an_interim_answer_is_passed_over() -> None:
    answer, _ = scripted(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n1")
    assert (answer.status, answer.body) == (201, b"1")


def test_an_answer_that_closes_leaves_nothing_in_the_pool() -> None:
    answer, kept = scripted(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert (answer.lost, kept) == ("", 0)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_lost(reply: bytes) -> None:
    answer, kept = scripted(reply, close=True)
    assert answer.lost.startswith("connection lost")
    assert kept == 0


def test_what_is_no_http_is_lost() -> None:
    answer, kept = scripted(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert answer.lost.startswith("not an answer")
    assert kept == 0


def test_a_dropped_pool_keeps_neither_idle_connections_nor_those_in_use() -> None:
    async def scenario(echo: Echo, server: Server, port: int) -> None:
        pool = Pool("127.0.0.1", port)
        idle, used = [await pool.connect(1.0) for _ in range(2)]
        pool.give_back(idle)
        answer = Answer()
        used.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n", answer)
        await until(lambda: echo.later)
        pool.drop()
        echo.later[0].respond(200, b"ok")
        await answer.done.wait()
        assert (answer.body, pool.take()) == (b"ok", None)
        await until(lambda: not server.connections)

    serving(scenario)
