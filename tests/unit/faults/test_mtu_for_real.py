"""mtu and mtu_black_hole on real interfaces: the largest packet that gets through, what is refused, what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.faults._table import Seen
from chaos.faults.mtu import Mtu
from chaos.faults.mtu_black_hole import MtuBlackHole
from chaos.kernel import Flow
from chaos.run.injector import read
from tests.unit.faults.joined_hosts import HERE4, HERE6, PEER4, PEER6, Pair, apply, joined, now, undo

HEADERS = {4: 20 + 8, 6: 40 + 8}
SHOWN = """{ ip addr show dev eth0; ip route show table all; ip -6 route show table all
cat /proc/sys/net/ipv6/conf/eth0/mtu; } | sed 's/ [0-9]*sec//g'"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with joined() as both:
        yield both


def passes(pair: Pair, size: int, to: str, patience: float = 5) -> bool:
    """Whether one packet of that size, header and all, gets there and back whole, within so many s."""
    source = pair.host if to in (PEER4, PEER6) else pair.peer
    payload = size - HEADERS[ip_address(to).version]
    return source.run(f"ping -c 1 -W {patience} -M do -s {payload} {to}", check=False).status == 0


def test_an_mtu_and_all_that_hangs_on_it(pair: Pair) -> None:
    pair.host.run(
        f"echo 1450 >/proc/sys/net/ipv6/conf/eth0/mtu; ip route add 10.5.0.0/16 via {PEER4} mtu 1450\n"
        f"ip -6 route add fd22::/64 via {PEER6} mtu 1300"
    )
    had = pair.host.run(SHOWN).stdout
    fault = Mtu(interface="eth0", mtu=1350)
    before = apply(pair, fault)
    for to in (PEER4, PEER6):
        assert passes(pair, 1350, to)
        assert not passes(pair, 1351, to, patience=0.3)
    dose = fault.dose(before, now(pair, fault))
    assert (dose.confirmed, dose.achieved) == (True, {"mtu_bytes": 1350.0})
    undo(pair, fault, before)
    assert pair.host.run(SHOWN).stdout == had
    assert passes(pair, 1500, PEER4)


def test_raised_and_what_somebody_else_set(pair: Pair) -> None:
    fault = Mtu(interface="eth0", mtu=9000)
    before = apply(pair, fault)
    pair.peer.run("ip link set dev eth0 mtu 9000")
    assert passes(pair, 9000, PEER4)
    pair.host.run("ip link set dev eth0 mtu 1400")
    assert fault.dose(before, now(pair, fault)).why_not == "the MTU of eth0 is 1400"
    undo(pair, fault, before)


@pytest.mark.parametrize(
    ("made", "parameters", "says"),
    [
        ("true", {"interface": "eth9", "mtu": 1400}, "there is no interface eth9"),
        ("true", {"interface": "lo", "mtu": 1400}, "loopback"),
        ("true", {"interface": "eth0", "mtu": 1500}, "1500 already"),
        ("true", {"interface": "eth0", "mtu": 1279}, "IPv6 on eth0 would end below 1280"),
        ("ip link add dev br0 type bridge", {"interface": "br0", "mtu": 1500}, "1500 already"),
        ("ip link add link eth0 name above type macvlan", {"interface": "eth0", "mtu": 1400}, "above stands on eth0"),
        (f"ip -6 route add fd22::/64 via {PEER6} mtu 1450", {"interface": "eth0", "mtu": 1400}, "fd22::/64 via"),
    ],
)
def test_what_is_refused(pair: Pair, made: str, parameters: dict[str, Any], says: str) -> None:
    pair.host.run(made)
    fault = Mtu.model_validate(parameters)
    assert says in (fault.objection(now(pair, fault)) or "")


def test_what_the_driver_does_not_take_is_refused(pair: Pair) -> None:
    fault = Mtu(interface="eth0", mtu=9000)
    seen = replace(now(pair, fault), limits=(68, 8000))
    assert fault.objection(seen) == "eth0 takes an MTU of 68 to 8000 bytes"


def test_without_ipv6_an_interface_may_shrink_further(pair: Pair) -> None:
    pair.host.run("ip link set dev eth0 mtu 1000")
    fault = Mtu(interface="eth0", mtu=576)
    before = apply(pair, fault)
    assert passes(pair, 576, PEER4)
    assert not passes(pair, 577, PEER4, patience=0.3)
    undo(pair, fault, before)


def test_what_is_too_large_vanishes(pair: Pair) -> None:
    fault = MtuBlackHole(size=1300, peers=(PEER4, PEER6))
    before = apply(pair, fault, (Flow(ip_address(PEER4), 22),))
    for to in (PEER4, PEER6, HERE4, HERE6):
        assert passes(pair, 1300, to)
        assert not passes(pair, 1301, to, patience=0.3)
    dose = fault.dose(before, now(pair, fault))
    assert (dose.confirmed, dose.achieved) == (True, {"size_bytes": 1300.0, "packets": 4.0})
    assert pair.ask(pair.host, "STREAM", PEER4, patience=5) == "ok", "small packets pass"
    undo(pair, fault, before)
    assert passes(pair, 1500, PEER4)


def test_nothing_large_is_no_dose(pair: Pair) -> None:
    fault = MtuBlackHole(size=1300, direction="ingress")
    before = apply(pair, fault)
    assert passes(pair, 1300, HERE4)
    assert "no packet was larger" in fault.dose(before, now(pair, fault)).why_not
    undo(pair, fault, before)


@given(
    size=st.integers(576, 65535),
    peers=st.lists(st.sampled_from(["10.0.0.1", "10.0.0.0/24", "fd00::/64", "127.0.0.1"]), max_size=3),
    direction=st.sampled_from(["both", "egress", "ingress"]),
    forwarded=st.booleans(),
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_kernel_lists_every_rule_as_it_was_meant(pair: Pair, **parameters: Any) -> None:
    fault = MtuBlackHole.model_validate(parameters)
    before = Seen(None, (), (Flow(ip_address("10.0.0.1"), 22),))
    for action in fault.apply(before):
        pair.host.perform(action)
    assert read(pair.host, fault.reading()).chains == fault.chains(before.control)
    undo(pair, fault, before)
