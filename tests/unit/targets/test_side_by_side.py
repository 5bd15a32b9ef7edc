"""Several impairments on one interface, each for packets of its own, in a real network namespace.

Frames are put on the wire by hand: on data0 they leave by it, on data1 they arrive at data0. tbf stands for any qdisc.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address, ip_network
from itertools import permutations
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.contracts import PlantQdisc, UprootQdisc
from chaos.faults._qdisc import Seen
from chaos.faults.bandwidth import Bandwidth
from chaos.kernel import Beside
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.targets import _tc
from chaos.targets.local import LocalTarget

NETWORKS = ["192.0.2.0/28", "192.0.2.7", "198.51.100.0/24", "2001:db8::/33", "2001:db8:0:1::7"]
ADDRESSES = ["192.0.2.7", "192.0.2.9", "192.0.2.99", "198.51.100.7", "2001:db8::7", "2001:db8:0:1::7", "2001:db9::7"]
PORTS = [22, 80, 8000]
NUMBERS = {"tcp": (6, 6), "udp": (17, 17), "icmp": (1, 58), "sctp": (132, 132)}
EVERYTHING = "tc qdisc show; ip -o link | sed 's/^[0-9]*: //'; tc filter show dev data0 egress; \
tc filter show dev data0 ingress"


class Frame(NamedTuple):
    """A packet: the other end, a protocol, the ports here and there, a DSCP, and whether it leaves data0."""

    peer: str
    protocol: str
    near: int
    far: int
    dscp: int
    leaves: bool

    @property
    def octets(self) -> bytes:
        """The frame; neither end's stack is meant to make sense of it."""
        peer, version = ip_address(self.peer), ip_address(self.peer).version
        here = ip_address("192.0.2.200" if version == 4 else "2001:db8:ffff::1")
        (source, near), (destination, far) = (here, self.near), (peer, self.far)
        if not self.leaves:
            (source, near), (destination, far) = (peer, self.far), (here, self.near)
        ports = near.to_bytes(2, "big") + far.to_bytes(2, "big") + bytes(16)
        number = NUMBERS[self.protocol][version == 6]
        if version == 4:
            head = bytes([0x45, self.dscp << 2, 0, 40, 0, 0, 0, 0, 64, number, 0, 0])
        else:
            head = (6 << 28 | self.dscp << 22).to_bytes(4, "big") + bytes([0, 20, number, 64])
        kind = b"\x08\x00" if version == 4 else b"\x86\xdd"
        return bytes.fromhex("020000000002020000000001") + kind + head + source.packed + destination.packed + ports


FRAMES = st.builds(
    Frame,
    st.sampled_from(ADDRESSES),
    st.sampled_from(sorted(NUMBERS)),
    st.sampled_from(PORTS),
    st.sampled_from(PORTS),
    st.sampled_from([0, 10, 46]),
    st.booleans(),
)
FAULTS = st.fixed_dictionaries(
    {"direction": st.sampled_from(["egress", "ingress"])},
    optional={
        "peers": st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=3),
        "ports": st.lists(st.sampled_from(PORTS), min_size=1, max_size=2),
        "protocols": st.lists(st.sampled_from(["tcp", "udp"]), min_size=1, max_size=2, unique=True),
        "dscp": st.lists(st.sampled_from([0, 10, 46]), min_size=1, max_size=2),
    },
).map(lambda chosen: Bandwidth.model_validate({"interface": "data0", "rate": "10gbit", **chosen}))


def is_meant(fault: Bandwidth, frame: Frame) -> bool:
    """What the parameters say, without a mask or an offset."""
    version = ip_address(frame.peer).version
    networks, has_ports = [ip_network(peer) for peer in fault.peers], frame.protocol in ("tcp", "udp")
    return (
        frame.leaves == (fault.direction == "egress")
        and (not networks or any(n.version == version and ip_address(frame.peer) in n for n in networks))
        and (not fault.ports or (has_ports and not {frame.near, frame.far}.isdisjoint(fault.ports)))
        and (not fault.protocols or frame.protocol in fault.protocols)
        and (not fault.dscp or frame.dscp in fault.dscp)
    )


@pytest.fixture
def wired(namespace: LocalTarget) -> Iterator[LocalTarget]:
    namespace.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip link set data1 arp off; ip link set data0 arp off")
    yield namespace


def plan(fault: Bandwidth, before: Seen) -> tuple[PlantQdisc, UprootQdisc]:
    (plant,), (uproot,) = fault.apply(before), fault.revert(before)
    assert isinstance(plant, PlantQdisc)
    assert isinstance(uproot, UprootQdisc)
    return plant, uproot


def by_sh(host: LocalTarget, action: PlantQdisc | UprootQdisc) -> str:
    return host.run(_tc.plant(action).do if isinstance(action, PlantQdisc) else _tc.uproot(action).do).stdout


def everything(host: LocalTarget) -> str:
    return host.run(EVERYTHING).stdout


SENDER = """
import socket, sys
wires = []
for name in ("data1", "data0"):
    wires.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    wires[-1].bind((name, 0))
for line in sys.stdin:
    for word in line.split():
        wires[word[0] == "+"].send(bytes.fromhex(word[1:]))
    print("sent", flush=True)
"""


@pytest.fixture
def sender(wired: LocalTarget) -> Iterator[subprocess.Popen[str]]:
    argv = [*wired._enter, sys.executable, "-S", "-c", SENDER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def send(sender: subprocess.Popen[str], frames: list[Frame]) -> None:
    assert sender.stdin is not None
    assert sender.stdout is not None
    print(*(f"{'+' if f.leaves else '-'}{f.octets.hex()}" for f in frames), file=sender.stdin, flush=True)
    assert sender.stdout.readline() == "sent\n"


@given(fault=FAULTS, frames=st.lists(FRAMES, min_size=60, max_size=60), netlink=st.booleans())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_packets_that_are_meant_are_held_and_no_others(
    wired: LocalTarget, sender: subprocess.Popen[str], fault: Bandwidth, frames: list[Frame], netlink: bool
) -> None:
    before = read(wired, fault.reading())
    plant, uproot = plan(fault, before)
    wired.make(plant) if netlink else by_sh(wired, plant)
    try:
        send(sender, frames)
        now = read(wired, fault.reading())
        assert fault.is_applied(before, now)
        assert now.link.steers == _tc.parse_link("data0", wired.run(_tc.link_script("data0")).stdout).steers
        assert fault.dose(before, now).achieved["packets"] == sum(is_meant(fault, frame) for frame in frames)
    finally:
        by_sh(wired, uproot)
    assert fault.is_reverted(before, read(wired, fault.reading()))


@given(fault=FAULTS)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_netlink_and_tc_make_the_same_filters(wired: LocalTarget, fault: Bandwidth) -> None:
    before = read(wired, fault.reading())
    plant, uproot = plan(fault, before)
    made = []
    for make in (wired.make, partial(by_sh, wired)):
        make(plant)
        made.append(wired.run("tc filter show dev data0 egress; tc filter show dev data0 ingress").stdout)
        made[-1] = "\n".join(line for line in made[-1].splitlines() if not line.startswith("\tindex "))
        by_sh(wired, uproot)
    assert made[0] == made[1]


THREE: list[dict[str, Any]] = [
    {"peers": ["192.0.2.7"], "rate": "10mbit"},
    {"peers": ["192.0.2.9", "2001:db8::/64"], "rate": "20mbit"},
    {"direction": "ingress", "rate": "30mbit"},
]


def three() -> list[Bandwidth]:
    faults = [Bandwidth.model_validate({"interface": "data0", **given}) for given in THREE]
    return [fault.among(faults, at) for at, fault in enumerate(faults)]


@pytest.mark.parametrize("gone", list(permutations(range(3))), ids=lambda gone: "".join(map(str, gone)))
def test_three_come_in_one_order_and_go_in_another(wired: LocalTarget, gone: tuple[int, ...]) -> None:
    """The first two are read before either is there; each undo is what a fuse would run, and knows of no other."""
    wired.run("tc qdisc add dev data0 clsact" if gone[0] == 1 else "true")
    text, faults = everything(wired), three()
    befores = [read(wired, fault.reading()) for fault in faults[:2]]
    come = [1, 0, 2]
    undos: dict[int, Undo] = {}
    for at in come:
        if at == 2:
            befores.append(read(wired, faults[2].reading()))
            assert faults[2].objection(befores[2]) is None
        plant, uproot = plan(faults[at], befores[at])
        undos[at] = Undo.of([wired.render(uproot)])
        wired.make(plant) if at else by_sh(wired, plant)
    for index, at in enumerate(gone):
        assert holds(wired, faults, befores) == [other not in gone[:index] for other in range(3)]
        wired.run(undos[at].do)
        assert [not wired.run(undos[o].clean, check=False).status for o in gone] == [
            o in gone[: index + 1] for o in gone
        ]
    assert holds(wired, faults, befores) == [False] * 3
    assert all(f.is_reverted(b, read(wired, f.reading())) for f, b in zip(faults, befores, strict=True))
    assert everything(wired) == text


def holds(host: LocalTarget, faults: list[Bandwidth], befores: list[Seen]) -> list[bool]:
    """Which are applied; a fault is reverted where it is not, whatever the others are."""
    now = read(host, faults[0].reading())
    applied = [fault.is_applied(before, now) for fault, before in zip(faults, befores, strict=True)]
    assert [not fault.is_reverted(before, now) for fault, before in zip(faults, befores, strict=True)] == applied
    return applied


def test_one_of_ours_that_was_left_over_is_objected_to_in_its_lane_alone(wired: LocalTarget) -> None:
    first, second, _ = three()
    plant, uproot = plan(first, read(wired, first.reading()))
    by_sh(wired, plant)
    now = read(wired, first.reading())
    assert first.objection(now) == "a fault of ours is still on data0; `gameday heal` takes it away"
    assert second.objection(now) is None
    by_sh(wired, uproot)


def test_a_selection_needs_the_hooks(wired: LocalTarget) -> None:
    wired.run("tc qdisc add dev data0 ingress")
    chosen: dict[str, Any] = {"interface": "data0", "rate": "10mbit", "protocols": ["udp"]}
    fault = Bandwidth.model_validate(chosen)
    said = fault.objection(read(wired, fault.reading()))
    assert said is not None
    assert "can go on an interface whose ingress qdisc is a clsact" in said


def test_a_lane_has_a_device_and_filters_of_its_own() -> None:
    places = [Beside(2, adds, lane) for adds in (True, False) for lane in range(12)]
    assert len({place.device for place in places}) == len(places)
    assert len({number for place in places[:12] for number in place.preferences}) == 36
    assert min(number for place in places for number in place.preferences) == 65500
