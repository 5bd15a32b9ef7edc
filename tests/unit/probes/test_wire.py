"""One connection, where its timing has to be forced: what a load meets only by chance."""

from __future__ import annotations

import asyncio
import errno
import gc
import resource
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from probes.endpoint import Endpoint
from probes.errors import ErrorKind
from probes.wire import Connection, _why_lost
from tests.unit.probes import oracle_server
from tests.unit.probes.oracle_server import Oracle

REQUEST = b"GET %b HTTP/1.1\r\nHost: oracle\r\n\r\n"


class Owner:
    """Sends the given paths one after the other, `pause` s after each answer without looking at the socket between."""

    def __init__(self, port: int, paths: list[str], pause: float = 0.0) -> None:
        self.paths, self.pause, self.was_closed = paths, pause, 0
        self.ends: list[ErrorKind] = []
        self.done = asyncio.get_running_loop().create_future()
        self.connection = Connection(Endpoint("127.0.0.1", port), self)

    def idle(self, connection: Connection) -> None:
        if self.ends:
            time.sleep(self.pause)  # the loop stands still: what the server does is in the kernel, and not yet read
        if self.paths:
            connection.send(REQUEST % self.paths.pop(0).encode(), "token", time.monotonic_ns())

    def ended(self, _connection: Connection, error: ErrorKind) -> None:
        self.ends.append(error)

    def closed(self, _connection: Connection) -> None:
        self.was_closed += 1
        self.done.set_result(None)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


def exchange(*args: Any) -> Owner:
    async def main() -> Owner:
        owner = Owner(*args)
        owner.connection.open()
        await asyncio.wait_for(owner.done, 5)
        return owner

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_a_request_that_crosses_with_the_close_of_an_idle_connection_is_stale(oracle: Oracle) -> None:
    owner = exchange(oracle.port, ["/answer-then-close", "/ok"], 0.1)
    assert owner.ends == [ErrorKind.OK, ErrorKind.STALE_CONNECTION]
    assert owner.was_closed == 1


@pytest.mark.parametrize(("path", "kind"), [("/close", ErrorKind.CLOSED_EARLY), ("/reset", ErrorKind.RESET)])
def test_a_server_that_dies_over_a_request_it_has_read_is_not_stale(oracle: Oracle, path: str, kind: ErrorKind) -> None:
    owner = exchange(oracle.port, ["/ok", path])
    assert owner.ends == [ErrorKind.OK, kind]


def test_a_connection_closed_while_idle_costs_no_request(oracle: Oracle) -> None:
    owner = exchange(oracle.port, ["/answer-then-close"])
    assert owner.ends == [ErrorKind.OK]
    assert owner.was_closed == 1


def test_a_connection_that_can_not_be_had_here_is_not_the_target_s_fault(oracle: Oracle) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> list[ErrorKind]:
        owner = Owner(oracle.port, [])
        owner.connection.send(REQUEST % b"/ok", "token", time.monotonic_ns())
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            owner.connection.open()
            await asyncio.wait_for(owner.done, 5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return owner.ends

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [ErrorKind.LOCAL_RESOURCES]


def _connections() -> int:
    return sum(isinstance(one, Connection) for one in gc.get_objects())


@pytest.mark.parametrize("path", ["/ok", "/answer-then-close", "/reset", "refused"])
def test_a_connection_that_is_gone_leaves_nothing_for_the_collector(oracle: Oracle, path: str) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            owner = Owner(unused.getsockname()[1] if path == "refused" else oracle.port, [path])
            owner.connection.open()
            await asyncio.sleep(0.05)
        owner.connection.give_up(ErrorKind.CANCELLED)
        await asyncio.wait_for(owner.done, 5)
        del owner.connection
        await asyncio.sleep(0.05)
        assert _connections() == before

    gc.collect()
    gc.disable()
    before = _connections()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    finally:
        gc.enable()


def test_a_connection_the_kernel_gives_up_on_is_lost() -> None:
    assert _why_lost(OSError(errno.EHOSTUNREACH, "No route to host")) is ErrorKind.CONNECTION_LOST
    assert _why_lost(ConnectionResetError()) is ErrorKind.RESET
