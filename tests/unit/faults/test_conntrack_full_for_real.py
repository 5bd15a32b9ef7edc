"""conntrack_full between two network namespaces: flows that are there go on, and none begins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from chaos.faults.conntrack_full import ConntrackFull
from chaos.kernel import Flow
from tests.unit.faults.joined_hosts import HERE4, HERE6, PEER4, PEER6, Pair, apply, joined, now, undo

# whoever tracks connections: here a rule of somebody else's
TRACKS = "nft 'add table ip theirs; add chain ip theirs c { type filter hook input priority 0; }'; \
nft add rule ip theirs c ct state new counter; nft add table ip6 theirs; \
nft 'add chain ip6 theirs c { type filter hook input priority 0; }; add rule ip6 theirs c ct state new counter'"
# a connection that stays: says a byte for every line it gets
SERVE = """
import socket
s = socket.create_server(("", 9000))
print("ready", flush=True)
c = s.accept()[0]
while c.send(c.recv(9)): pass
"""
TALK = f"""
import socket, sys
s = socket.create_connection(("{HERE4}", 9000), timeout=5)
for line in sys.stdin:
    s.send(b"x"); print(s.recv(9).decode(), flush=True)
"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with joined() as both:
        yield both


def started(pair: Pair, target: int, program: str) -> subprocess.Popen[bytes]:
    argv = ["nsenter", "--target", str(target), "--net", sys.executable, "-c", program]
    pair.started.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    return pair.started[-1]


def said(talker: subprocess.Popen[bytes]) -> bytes:
    assert talker.stdin is not None
    assert talker.stdout is not None
    talker.stdin.write(b"\n")
    talker.stdin.flush()
    return talker.stdout.readline()


def test_flows_go_on_and_none_begins(pair: Pair) -> None:
    pair.host.run(TRACKS)
    server = started(pair, pair.started[0].pid, SERVE)
    assert server.stdout is not None
    server.stdout.readline()
    talker = started(pair, pair.started[1].pid, TALK)
    assert said(talker) == b"x\n"
    fault = ConntrackFull()
    before = apply(pair, fault, (Flow(ip_address(PEER4), 22), Flow(ip_address(PEER6), 22)))
    count = "cat /proc/sys/net/netfilter/nf_conntrack_count"
    tracked = int(pair.host.run(count).stdout)
    for to in (HERE4, HERE6):
        assert pair.ask(pair.peer, "STREAM", to) == "silence"
        assert pair.ask(pair.peer, "DGRAM", to) == "silence"
        assert pair.ask(pair.peer, "STREAM", to, 22, patience=5) == "ok", "a new connection of the controller"
    assert pair.ask(pair.host, "STREAM", PEER4) == pair.ask(pair.host, "STREAM", "127.0.0.1") == "silence"
    assert pair.ask(pair.host, "DGRAM", PEER6) == "EPERM"
    assert said(talker) == b"x\n", "a connection that is tracked"
    assert int(pair.host.run(count).stdout) == tracked + 2, "the controller's two"
    dose = fault.dose(before, now(pair, fault))
    assert dose.confirmed
    assert dose.achieved["packets"] >= 7
    undo(pair, fault, before)
    assert pair.ask(pair.peer, "STREAM", HERE4, patience=5) == pair.ask(pair.host, "DGRAM", PEER6, patience=5) == "ok"


def test_a_host_that_tracks_nothing_is_refused(pair: Pair) -> None:
    fault = ConntrackFull()
    assert pair.ask(pair.peer, "STREAM", HERE4, patience=5) == "ok"
    assert "tracks no connections" in (fault.objection(now(pair, fault)) or "")


def test_where_no_flow_begins_none_is_refused(pair: Pair) -> None:
    pair.host.run(TRACKS)
    assert pair.ask(pair.peer, "STREAM", HERE4, patience=5) == "ok"
    fault = ConntrackFull()
    before = apply(pair, fault)
    assert fault.dose(before, now(pair, fault)).why_not == "no flow began, so none was refused"
    pair.host.run(f"nft flush chain inet {fault.table} tracked_ingress")
    assert not fault.is_applied(before, now(pair, fault))
    undo(pair, fault, before)
