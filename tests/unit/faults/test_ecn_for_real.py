"""ecn: what two kernels agree on when a TCP connection begins; RoCE's settings in files of the layout of the driver."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from chaos.faults.ecn import Ecn
from chaos.run.injector import read
from chaos.targets.local import LocalTarget
from tests.unit.faults.joined_hosts import HERE4, PEER4, Pair, apply, joined, now, undo
from tests.unit.run.namespaced_host import namespaced_host

# linux/tcp.h: the sixth byte of struct tcp_info has TCPI_OPT_ECN (8)
AGREES = """
import socket, sys
s = socket.create_connection((sys.argv[1], 8000), timeout=5)
print(bool(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & 8))
"""
ENABLE = "/sys/class/net/eth1/ecn/roce_{}/enable"
ROCE = f"""
mount -t tmpfs tmpfs /sys/class/net
for point in {ENABLE.format("np")} {ENABLE.format("rp")}; do
    mkdir -p $point; for priority in 0 1 2 3 4 5 6 7; do echo 1 >$point/$priority; done
done
"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with joined() as both:
        yield both


def agrees(of: LocalTarget, to: str) -> bool:
    return of.run(f"{sys.executable} -S -c '{AGREES}' {to}").stdout.strip() == "True"


def test_a_host_that_never_does_agrees_with_nobody_who_asks(pair: Pair) -> None:
    pair.peer.run("sysctl -qw net.ipv4.tcp_ecn=1")
    assert agrees(pair.peer, HERE4), "the kernel's default answers"
    fault = Ecn(tcp="off")
    before = apply(pair, fault)
    assert not agrees(pair.peer, HERE4)
    assert fault.dose(before, now(pair, fault)).confirmed
    undo(pair, fault, before)
    assert agrees(pair.peer, HERE4)


def test_a_host_asks_where_it_is_on(pair: Pair) -> None:
    assert not agrees(pair.host, PEER4)
    fault = Ecn(tcp="on")
    before = apply(pair, fault)
    assert agrees(pair.host, PEER4)
    pair.host.run("echo 2 >/proc/sys/net/ipv4/tcp_ecn")
    assert fault.dose(before, now(pair, fault)).why_not == "no longer as asked: /proc/sys/net/ipv4/tcp_ecn"
    undo(pair, fault, before)
    assert not agrees(pair.host, PEER4)


def test_roce_is_set_in_the_drivers_files_for_the_priorities_that_are_asked() -> None:
    fault = Ecn(notification=False, reaction=True, priorities=(3, 5), interface="eth1")
    with namespaced_host() as pid:
        host = LocalTarget("there", pid)
        assert "NVIDIA's own driver" in (fault.objection(read(host, fault.reading())) or "")
        host.run(f"{ROCE}\necho 0 >{ENABLE.format('rp')}/5")
        before = read(host, fault.reading())
        assert fault.objection(before) is None
        [do], [undoing] = fault.apply(before), fault.revert(before)
        host.perform(do)
        assert fault.is_applied(before, read(host, fault.reading()))
        assert host.run(f"cat {ENABLE.format('np')}/*").stdout.split() == ["1", "1", "1", "0", "1", "0", "1", "1"]
        for _ in range(2):
            host.perform(undoing)
            assert host.run(host.render(undoing).until, check=False).status == 0
        assert fault.is_reverted(before, read(host, fault.reading()))
        assert host.run(f"cat {ENABLE.format('rp')}/5").stdout == "0\n"
        host.close()
