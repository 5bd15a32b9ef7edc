"""partition between two network namespaces that a veth pair joins: what gets through, and what stays untouched."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chaos.contracts import HostView, Output
from chaos.errors import CommandFailed, Misfit
from chaos.faults._table import Seen
from chaos.faults.partition import Partition
from chaos.kernel import Flow
from chaos.run.injector import read
from chaos.targets.local import LocalTarget
from tests.unit.faults.joined_hosts import HERE4, HERE6, PEER4, PEER6, Pair, apply, is_clean, joined, now, undo

FOREIGN = """
table inet theirs {
    chain c {
        type filter hook output priority 0; policy accept;
        tcp dport 1 counter packets 7 bytes 70 drop
    }
}
table ip nat {
    chain p {
        type nat hook postrouting priority 100
        counter packets 3 bytes 9 masquerade
    }
}
"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with joined() as both:
        yield both


def test_a_table_that_goes_between_two_looks_is_gone(pair: Pair, tmp_path: Path) -> None:
    """The fuse's undo, at the worst moment: a fake `nft` takes the table away just before it is shown, then is nft."""
    fault = Partition()
    apply(pair, fault)
    nft = pair.host.run("command -v nft").stdout.strip()
    (tmp_path / "nft").write_text(
        f'#!/bin/sh\n[ $1 != -j ] || {nft} delete table inet {fault.table}\nexec {nft} "$@"\n'
    )
    (tmp_path / "nft").chmod(0o755)
    listing = fault.reading().questions[0]
    assert isinstance(listing, Output)
    printed = pair.host.run(f"PATH={tmp_path}:$PATH\n{listing.script}").stdout
    assert fault.reading().parse(printed, ()).chains is None


def test_a_table_that_can_not_be_shown_is_no_answer(pair: Pair, tmp_path: Path) -> None:
    fault = Partition()
    apply(pair, fault)
    nft = pair.host.run("command -v nft").stdout.strip()
    (tmp_path / "nft").write_text(f'#!/bin/sh\n[ $1 != -j ] || exit 1\nexec {nft} "$@"\n')
    (tmp_path / "nft").chmod(0o755)
    listing = fault.reading().questions[0]
    assert isinstance(listing, Output)
    with pytest.raises(CommandFailed):
        pair.host.run(f"PATH={tmp_path}:$PATH\n{listing.script}")


def test_everybody_is_cut_off_and_comes_back(pair: Pair) -> None:
    fault = Partition()
    before = apply(pair, fault)
    for host in (PEER4, PEER6):
        assert pair.ask(pair.host, "STREAM", host) == "silence"
        assert pair.ask(pair.host, "DGRAM", host) == errno.errorcode[errno.EPERM]
        assert not pair.ping(pair.host, host)
    for host in (HERE4, HERE6):
        assert pair.ask(pair.peer, "STREAM", host) == "silence"
        assert pair.ask(pair.peer, "DGRAM", host) == "silence"
        assert not pair.ping(pair.peer, host)
    for host in ("127.0.0.1", "::1", HERE4, HERE6):
        assert pair.ask(pair.host, "STREAM", host, patience=5) == "ok", "loopback"
    dose = fault.dose(before, now(pair, fault))
    assert dose.confirmed
    assert dose.achieved["packets"] >= 10
    undo(pair, fault, before)
    for host in (PEER4, PEER6):
        for kind in ("STREAM", "DGRAM"):
            assert pair.ask(pair.host, kind, host, patience=5) == "ok"


def test_the_controllers_flow_passes_both_ways(pair: Pair) -> None:
    fault = Partition()
    before = apply(pair, fault, tuple(Flow(ip_address(peer), 22) for peer in (PEER4, PEER6, PEER4)))
    for host in (HERE4, HERE6):
        assert pair.ask(pair.peer, "STREAM", host, 22, patience=5) == "ok", "a new connection"
        assert pair.ask(pair.peer, "STREAM", host, 8000) == "silence"
        assert pair.ask(pair.peer, "DGRAM", host, 22) == "silence", "TCP alone"
    undo(pair, fault, before)


def test_a_reject_is_told_at_once(pair: Pair) -> None:
    fault = Partition(peers=(PEER4, PEER6), action="reject")
    before = apply(pair, fault)
    refused = errno.errorcode[errno.ECONNREFUSED]
    for of, hosts in ((pair.host, (PEER4, PEER6)), (pair.peer, (HERE4, HERE6))):
        for host in hosts:
            assert pair.ask(of, "STREAM", host, patience=5) == refused
    for host in (HERE4, HERE6):
        assert pair.ask(pair.peer, "DGRAM", host) == refused
    assert fault.dose(before, now(pair, fault)).confirmed
    undo(pair, fault, before)


@pytest.mark.parametrize(
    ("direction", "ours", "theirs"), [("egress", "EPERM", "silence"), ("ingress", "silence", "silence")]
)
def test_one_direction(pair: Pair, direction: str, ours: str, theirs: str) -> None:
    fault = Partition.model_validate({"peers": [PEER4], "direction": direction})
    before = apply(pair, fault)
    received = "cat /proc/net/snmp | awk '/^Udp:/ {n = $2} END {print n}'"
    arrived = int(pair.peer.run(received).stdout)
    assert pair.ask(pair.host, "DGRAM", PEER4) == ours
    assert int(pair.peer.run(received).stdout) - arrived == (1 if direction == "ingress" else 0)
    assert pair.ask(pair.peer, "DGRAM", HERE4) == theirs
    assert pair.ask(pair.host, "DGRAM", PEER6, patience=5) == "ok", "the other family is no peer"
    undo(pair, fault, before)


def test_ports_at_either_end(pair: Pair) -> None:
    fault = Partition(ports=(8000, 9000), interface="eth0", peers=("10.9.0.0/24", "10.9.1.0/24", "10.9.2.0/24", PEER6))
    before = apply(pair, fault)
    assert pair.ask(pair.host, "STREAM", PEER4) == pair.ask(pair.peer, "STREAM", HERE6) == "silence"
    assert pair.ask(pair.host, "STREAM", PEER4, 22, patience=5) == "ok"
    assert pair.ask(pair.peer, "DGRAM", HERE6, 22, patience=5) == "ok"
    assert pair.ping(pair.host, PEER4, patience=5)
    undo(pair, fault, before)


def test_loopback_is_cut_only_where_it_is_named(pair: Pair) -> None:
    fault = Partition(peers=("127.0.0.1",), forwarded=True)
    before = apply(pair, fault)
    assert fault.dose(before, now(pair, fault)).why_not == "no packet was cut, so it affected nothing"
    assert pair.ask(pair.host, "STREAM", "127.0.0.1") == "silence"
    for host in ("::1", PEER4):
        assert pair.ask(pair.host, "STREAM", host, patience=5) == "ok"
    undo(pair, fault, before)


def test_other_tables_stay_to_the_letter(pair: Pair) -> None:
    pair.host.run(f"nft -f - <<'E'\n{FOREIGN}\nE")
    theirs = "nft -a list table inet theirs; nft -s -a list table ip nat"
    former = pair.host.run(theirs).stdout
    fault = Partition(peers=(PEER4,))
    before = apply(pair, fault)
    assert pair.ask(pair.host, "STREAM", PEER4) == "silence"
    assert pair.host.run(theirs).stdout == former
    undo(pair, fault, before)
    assert pair.host.run(theirs).stdout == former


def test_two_at_once_and_one_left_behind(pair: Pair) -> None:
    one, other = Partition(peers=(PEER4,)), Partition(peers=(PEER6,))
    before = apply(pair, one)
    left = now(pair, other)
    assert left.others == (one.table,)
    assert "gameday heal" in (other.objection(left) or "")
    assert one.table in (one.objection(now(pair, one)) or "")
    for action in other.apply(left):
        pair.host.perform(action)
    undo(pair, one, before)
    assert other.is_applied(left, now(pair, other))


def test_rules_that_somebody_changed_are_not_ours(pair: Pair) -> None:
    fault = Partition(peers=(PEER4,))
    before = apply(pair, fault)
    pair.host.run(f"nft insert rule inet {fault.table} egress ip daddr {PEER4} accept")
    assert not fault.is_applied(before, now(pair, fault))
    assert not fault.dose(before, now(pair, fault)).confirmed
    undo(pair, fault, before)


def test_an_nft_that_fails_is_no_absence(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Partition(peers=(PEER4,))
    before = apply(pair, fault)
    (tmp_path / "nft").write_text("#!/bin/sh\necho netlink: no memory >&2\nexit 1\n")
    (tmp_path / "nft").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(CommandFailed, match="no memory"):
            now(pair, fault)
        assert not is_clean(pair, fault, before)
    undo(pair, fault, before)


PEERS = st.one_of(
    st.builds(
        lambda a, n: f"10.0.{a >> 8}.{a & 255 & ~((1 << n) - 1)}/{32 - n}", st.integers(0, 1023), st.integers(0, 8)
    ),
    st.builds(lambda a, n: f"fd00::{a & ~((1 << n) - 1):x}/{128 - n}", st.integers(0, 1023), st.integers(0, 8)),
)


@pytest.fixture(scope="module")
def alone() -> Iterator[LocalTarget]:
    script = "echo up; exec sleep 300"
    with subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        target = LocalTarget("alone", process.pid)
        yield target
        target.close()
        process.kill()


@given(
    peers=st.lists(PEERS, max_size=6),
    ports=st.lists(st.integers(1, 65535), max_size=4),
    direction=st.sampled_from(["both", "egress", "ingress"]),
    action=st.sampled_from(["drop", "reject"]),
    interface=st.sampled_from(["", "eth0", "lo", "br-0.5@x"]),
    forwarded=st.booleans(),
    control=st.lists(st.sampled_from([Flow(ip_address("10.0.0.1"), 22), Flow(ip_address("fd00::1"), 22)]), max_size=2),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_kernel_lists_every_rule_as_it_was_meant(
    alone: LocalTarget, control: list[Flow], **parameters: object
) -> None:
    fault = Partition.model_validate(parameters)
    before = Seen(None, (), tuple(control))
    for _ in range(2):
        for action in fault.apply(before):
            alone.perform(action)
    assert read(alone, fault.reading()).chains == fault.chains(before.control)
    for _ in range(2):
        for action in fault.revert(before):
            alone.perform(action)
    assert fault.is_reverted(before, read(alone, fault.reading()))


@pytest.mark.parametrize(
    "wrong",
    [{"peers": ["10.0.0.1/24"]}, {"peers": [""]}, {"ports": [0]}, {"interface": 'eth0"; }'}, {"interface": "eth*"}],
)
def test_what_is_no_partition(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Partition.model_validate(wrong)


GROUP = {"w1": ("10.0.0.1", "fd00::1"), "w2": ("10.0.0.2",)}
VIEW = HostView("w1", peers={"w1": {"w1": GROUP["w1"]}, "workers": GROUP, "far": {"far": ()}})


def test_names_become_addresses() -> None:
    assert Partition(peers=("workers", "192.0.2.0/24")).bind(VIEW).peers == ("10.0.0.2", "192.0.2.0/24")
    assert Partition().bind(VIEW).peers == ()


@pytest.mark.parametrize(
    ("name", "says"), [("w1", "nobody but w1"), ("far", "no numeric address"), ("w9", "no host or group")]
)
def test_names_that_can_not(name: str, says: str) -> None:
    with pytest.raises(Misfit, match=says):
        Partition(peers=(name,)).bind(VIEW)
