"""Each kind of outcome, proven by a socket that really behaves so."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.unit.probes import oracle_server
from tests.unit.probes.behaviours import OK
from tests.unit.probes.oracle_server import Oracle
from tests.unit.probes.running_load import run


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


@pytest.mark.parametrize("path", ["/ok", "/chunked", "/interim", "/too-long", "/until-eof", "/slow", "/drip"])
def test_an_answer_that_is_complete_is_ok(oracle: Oracle, tmp_path: Path, path: str) -> None:
    outcome = run(tmp_path, oracle.url(path))
    assert outcome.status == 0
    assert outcome.errors == {"ok": 10}
    assert set(outcome.rows["status"].tolist()) == {200}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/reset", "reset"),
        ("/close", "closed_early"),
        ("/too-short", "closed_early"),
        ("/half-close", "closed_early"),
        ("/malformed", "malformed"),
    ],
)
def test_an_answer_that_breaks_off_is_named_for_how(oracle: Oracle, tmp_path: Path, path: str, kind: str) -> None:
    outcome = run(tmp_path, oracle.url(path))
    assert outcome.status == 0
    assert outcome.errors == {kind: 10}
    assert not outcome.rows["status"].any()


def test_a_status_of_500_is_an_answer(oracle: Oracle, tmp_path: Path) -> None:
    outcome = run(tmp_path, oracle.url("/500"))
    assert outcome.errors == {"ok": 10}
    assert set(outcome.rows["status"].tolist()) == {500}


def test_stamps_follow_each_other_and_bytes_count_the_whole_answer(oracle: Oracle, tmp_path: Path) -> None:
    rows = run(tmp_path, oracle.url("/drip")).rows
    assert (rows["scheduled"] <= rows["sent"]).all()
    assert (rows["sent"] < rows["first"]).all()
    assert (rows["end"] - rows["first"] > 15_000_000).all()  # five packets, 5 ms apart
    assert set(rows["bytes"].tolist()) == {len(OK)}


def test_a_head_request_ends_with_the_head(oracle: Oracle, tmp_path: Path) -> None:
    before = oracle.connections
    assert run(tmp_path, oracle.url("/head-only"), method="HEAD", connections=1).errors == {"ok": 10}
    assert oracle.connections == before + 1


def test_no_answer_in_time_is_a_timeout(oracle: Oracle, tmp_path: Path) -> None:
    outcome = run(tmp_path, oracle.url("/never"), timeout=0.2)
    assert outcome.errors == {"timeout": 10}
    waited = (outcome.rows["end"] - outcome.rows["sent"]) / 1e9
    assert (waited >= 0.2).all()
    assert not outcome.rows["first"].any()


def test_what_is_still_out_after_the_drain_is_cancelled(oracle: Oracle, tmp_path: Path) -> None:
    assert run(tmp_path, oracle.url("/never"), timeout=30.0, drain=0.1).errors == {"cancelled": 10}


def test_what_never_found_a_connection_is_unsent(oracle: Oracle, tmp_path: Path) -> None:
    outcome = run(tmp_path, oracle.url("/never"), connections=3, timeout=30.0, drain=0.1)
    assert outcome.status == 0
    assert outcome.errors == {"cancelled": 3, "unsent": 7}
    assert not outcome.rows["sent"][outcome.rows["error"] == outcome.header["errors"].index("unsent")].any()


def test_an_arrival_that_waits_is_sent_late_and_in_order(oracle: Oracle, tmp_path: Path) -> None:
    outcome = run(tmp_path, oracle.url("/slow"), connections=1)
    assert outcome.errors == {"ok": 10}
    assert (np.diff(outcome.rows["scheduled"]) > 0).all()
    assert (np.diff(outcome.rows["sent"]) >= 50_000_000).all()  # one at a time, each takes 50 ms
    assert outcome.latency[-1] > 0.3


def test_idle_connections_are_kept(oracle: Oracle, tmp_path: Path) -> None:
    before = oracle.connections
    run(tmp_path, oracle.url("/ok"), connections=2)
    assert oracle.connections == before + 2


def test_a_connection_with_bytes_too_many_is_not_used_again(oracle: Oracle, tmp_path: Path) -> None:
    before = oracle.connections
    run(tmp_path, oracle.url("/too-long"), connections=1)
    assert oracle.connections >= before + 10


def test_nobody_listening_is_refused(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = run(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert outcome.errors == {"connect_refused": 10}
    assert outcome.rows["sent"].all()


def test_a_connection_that_is_not_accepted_times_out(tmp_path: Path) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):  # the queue of a backlog of 0 takes one; what comes then is dropped (listen(2))
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        outcome = run(tmp_path, f"http://127.0.0.1:{full.getsockname()[1]}/", connect_timeout=0.2)
    assert outcome.errors == {"connect_timeout": 10}


def test_an_address_without_a_route_fails_to_connect(tmp_path: Path) -> None:
    outcome = run(tmp_path, "http://255.255.255.255:80/")  # TCP has no route to a broadcast address: ENETUNREACH
    assert outcome.errors == {"connect_failed": 10}


def test_an_unknown_name_is_a_dns_failure(tmp_path: Path) -> None:
    name = ".".join(["a" * 60] * 5)  # longer than the 255 octets of RFC 1035: refused before any network is asked
    assert run(tmp_path, f"http://{name}/").errors == {"dns_failed": 10}


def test_a_name_that_can_not_be_encoded_is_a_dns_failure(tmp_path: Path) -> None:
    assert run(tmp_path, f"http://{'a' * 64}.invalid/").errors == {"dns_failed": 10}


def test_ipv6(tmp_path: Path) -> None:
    with oracle_server.running("::1") as server:
        assert run(tmp_path, server.url("/ok", "[::1]")).errors == {"ok": 10}
    assert b"Host: [::1]:" in server.requests[0]


def test_a_unix_socket(tmp_path: Path) -> None:
    with oracle_server.running(str(tmp_path / "oracle.socket")) as server:
        outcome = run(tmp_path, "http://appliance/ok", unix_socket=str(tmp_path / "oracle.socket"))
    assert outcome.errors == {"ok": 10}
    assert b"Host: appliance\r\n" in server.requests[0]


def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    outcome = run(tmp_path, "http://appliance/", unix_socket=str(tmp_path / "none"))
    assert outcome.errors == {"connect_failed": 10}


def test_nothing_of_an_answer_in_time(oracle: Oracle, tmp_path: Path) -> None:
    outcome = run(tmp_path, oracle.url("/never"), first_byte_timeout=0.1)
    assert outcome.errors == {"first_byte_timeout": 10}


def test_an_answer_that_began_in_time_may_take_longer(oracle: Oracle, tmp_path: Path) -> None:
    outcome = run(tmp_path, oracle.url("/begin-then-wait"), first_byte_timeout=0.1, connections=10)
    assert outcome.errors == {"ok": 10}
    assert (outcome.rows["end"] - outcome.rows["sent"] > 150_000_000).all()


def test_an_answer_larger_than_the_limit_is_cut_off(oracle: Oracle, tmp_path: Path) -> None:
    before = oracle.connections
    outcome = run(tmp_path, oracle.url("/endless"), response_limit=100_000, connections=1)
    assert outcome.errors == {"too_large": 10}
    assert (outcome.rows["bytes"] < 1_000_000).all()
    assert oracle.connections == before + 10  # none is used again


def test_an_answer_of_just_the_limit_is_taken(oracle: Oracle, tmp_path: Path) -> None:
    assert run(tmp_path, oracle.url("/ok"), response_limit=len(OK)).errors == {"ok": 10}
