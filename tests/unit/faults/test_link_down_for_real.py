"""link_down on real interfaces: what is cut, what comes back to the letter, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from chaos.faults.link_down import LinkDown
from chaos.run.injector import read
from tests.hosts import ssh_hosts
from tests.unit.faults.joined_hosts import HERE4, HERE6, PEER4, PEER6, Pair, apply, is_clean, joined, now, perform

# what an interface loses with its link, of every sort
FURNITURE = f"""
ip addr add 10.9.0.7/32 dev eth0 label eth0:x; ip addr add 10.1.1.1 peer 10.1.1.2/32 dev eth0
ip addr add fd10::1/64 dev eth0 nodad; ip addr add fd11::1/64 dev eth0 nodad noprefixroute
ip addr add fd12::1/64 dev eth0 nodad valid_lft 5000 preferred_lft 4000
ip route add default via {PEER4} metric 100 proto static; ip route add 10.7.0.0/16 via 172.16.0.1 dev eth0 onlink
ip route add 10.5.0.0/16 via 10.9.0.3 table 77 mtu 1400; ip route add 10.6.0.0/16 via inet6 {PEER6}
ip route add blackhole 10.99.0.0/16; ip -6 route add default via {PEER6}
ip -6 route add fd22::/64 via fd09::3 table 9 src {HERE6}; ip -6 route add fd23::/64 dev eth0 expires 600
ip -6 route add fd24::/64 via fd23::7
echo 1400 >/proc/sys/net/ipv6/conf/eth0/mtu
ip neigh add 10.9.0.99 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
ip neigh add fd09::99 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
"""
SHOWN = """{ ip addr show dev eth0; ip route show table all; ip -6 route show table all
ip neigh show nud permanent; cat /proc/sys/net/ipv6/conf/eth0/mtu; } | sed 's/ [0-9]*sec//g'"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with joined() as both:
        assert "tentative" not in both.host.run("ip addr show dev eth0").stdout
        both.host.run("echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_dad")
        yield both


def test_all_that_goes_with_it_comes_back(pair: Pair) -> None:
    pair.host.run(FURNITURE)
    had = pair.host.run(SHOWN).stdout
    fault = LinkDown(interface="eth0")
    before = apply(pair, fault)
    assert pair.ask(pair.host, "STREAM", PEER4) == "ENETUNREACH"
    assert not pair.ping(pair.peer, HERE4)
    assert not pair.ping(pair.peer, HERE6)
    assert "fd09::1" not in pair.host.run(SHOWN).stdout
    assert fault.dose(before, now(pair, fault)).confirmed
    perform(pair, fault.revert(before) * 2)
    end = time.monotonic() + fault.settle
    while not fault.is_reverted(before, now(pair, fault)) and time.monotonic() < end:
        time.sleep(0.05)
    assert fault.is_reverted(before, now(pair, fault))
    assert is_clean(pair, fault, before)
    assert pair.host.run(SHOWN).stdout == had
    for kind in ("STREAM", "DGRAM"):
        assert pair.ask(pair.host, kind, PEER6, patience=5) == "ok"
        assert pair.ask(pair.peer, kind, HERE4, patience=5) == "ok"


def test_an_undo_that_has_nothing_to_undo_changes_nothing(pair: Pair) -> None:
    pair.host.run(FURNITURE)
    fault = LinkDown(interface="eth0")
    had, before = pair.host.run(SHOWN).stdout, now(pair, fault)
    perform(pair, fault.revert(before) * 2)
    assert pair.host.run(SHOWN).stdout == had
    assert is_clean(pair, fault, before)


def test_a_route_that_somebody_took_is_missed(pair: Pair) -> None:
    pair.host.run("ip route add 10.5.0.0/16 via 10.9.0.3 table 77")
    fault = LinkDown(interface="eth0")
    before = now(pair, fault)
    pair.host.run("ip route del 10.5.0.0/16 table 77")
    assert not fault.is_reverted(before, now(pair, fault))
    assert not is_clean(pair, fault, before)
    perform(pair, fault.revert(before))
    assert fault.is_reverted(before, now(pair, fault))


@pytest.mark.parametrize(
    ("made", "interface", "says"),
    [
        ("true", "eth9", "there is no interface eth9"),
        ("true", "lo", "loopback"),
        ("ip link set eth0 down", "eth0", "down already"),
        ("ip link add link eth0 name above type macvlan", "eth0", "above stands on eth0"),
        ("ip route add 10.8.0.0/16 nexthop via 10.9.0.4 nexthop via 10.9.0.5", "eth0", "over several"),
        ("ip nexthop add id 7 via 10.9.0.4 dev eth0", "eth0", "nexthop"),
        ("ip addr add fd77::1/64 dev eth0", "eth0", "tentative"),
    ],
)
def test_what_is_refused(pair: Pair, made: str, interface: str, says: str) -> None:
    pair.host.run(made)
    fault = LinkDown(interface=interface)
    assert says in (fault.objection(now(pair, fault)) or "")


def test_the_way_of_the_controller_is_refused_and_another_taken_down() -> None:
    with ssh_hosts(1) as hosts, hosts.as_controller():
        (name,) = hosts.names
        target = hosts.target(name)
        try:
            hosts.inside(
                name,
                "ip link add br0 type bridge; ip link add d0 type veth peer name d1; ip link set d1 master br0\n"
                "ip link set d0 up; ip link set d1 up; ip link set br0 up; ip addr add 10.77.0.1/24 dev d0",
            )
            control = LinkDown(interface="eth0")
            assert "the controller reaches" in (control.objection(read(target, control.reading())) or "")
            hosts.inside(
                name,
                f"ip addr add {hosts.address(name)}/16 dev br0; ip addr del {hosts.address(name)}/16 dev eth0\n"
                "ip link set eth0 master br0; ip addr flush dev d0; ip -6 addr flush dev d0; sleep 0.2",
            )
            for interface in ("eth0", "br0", "d1"):
                fault = LinkDown(interface=interface)
                assert "the controller reaches" in (fault.objection(read(target, fault.reading())) or ""), interface
        finally:
            target.close()
