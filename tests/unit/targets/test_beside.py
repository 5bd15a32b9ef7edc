"""An impairment beside an interface's own queueing, in a real network namespace: whatever tree is there stays."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial
from ipaddress import ip_address

import pytest

from chaos.contracts import PlantQdisc, UprootQdisc
from chaos.faults._qdisc import Seen
from chaos.faults.bandwidth import Bandwidth
from chaos.kernel import Beside, Flow
from chaos.run.injector import read
from chaos.targets import _tc
from chaos.targets.local import LocalTarget

MATCH = "protocol ip u32 match ip dst 192.0.2.9/32"
TREES = {
    "default": "true",
    "tbf": "tc qdisc add dev data0 root handle 8001: tbf rate 90mbit burst 32kb latency 50ms",
    "pfifo": "tc qdisc add dev data0 root handle 8001: pfifo limit 7",
    "htb": "tc qdisc add dev data0 root handle 1: htb default 10 r2q 5\n"
    "tc class add dev data0 parent 1: classid 1:1 htb rate 90mbit\n"
    "tc class add dev data0 parent 1:1 classid 1:10 htb rate 40mbit ceil 90mbit\n"
    "tc class add dev data0 parent 1:1 classid 1:20 htb rate 50mbit\n"
    "tc qdisc add dev data0 parent 1:10 handle 10: htb default 1\n"
    "tc class add dev data0 parent 10: classid 10:1 htb rate 40mbit\n"
    f"tc filter add dev data0 parent 1: {MATCH} flowid 1:20\n"
    f"tc filter add dev data0 parent 10: {MATCH} flowid 10:1",
    "clsact": "tc qdisc add dev data0 clsact\n"
    f"tc filter add dev data0 ingress {MATCH} flowid :1\n"
    f"tc filter add dev data0 egress {MATCH} flowid :1",
}
EVERYTHING = "tc qdisc show; tc class show dev data0; ip -o link | sed 's/^[0-9]*: //'; " + "; ".join(
    f"tc filter show dev data0 {parent}" for parent in ("", "ingress", "egress", "parent 10:")
)
FAULT = Bandwidth.model_validate({"interface": "data0", "rate": "10mbit"})


def everything(host: LocalTarget) -> str:
    return "\n".join(line.split("direct_packets_stat")[0] for line in host.run(EVERYTHING).stdout.splitlines())


def by_sh(host: LocalTarget, action: PlantQdisc | UprootQdisc) -> str:
    return host.run(_tc.plant(action).do if isinstance(action, PlantQdisc) else _tc.uproot(action).do).stdout


def plan(fault: Bandwidth, before: Seen) -> tuple[PlantQdisc, UprootQdisc]:
    """Return the two actions of a fault."""
    (plant,), (uproot,) = fault.apply(before), fault.revert(before)
    assert isinstance(plant, PlantQdisc)
    assert isinstance(uproot, UprootQdisc)
    return plant, uproot


@pytest.fixture
def wired(namespace: LocalTarget) -> LocalTarget:
    namespace.run("ip address add 192.0.2.1/24 dev data0; sysctl -qw net.ipv6.conf.all.disable_ipv6=1", check=False)
    return namespace


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("way", ["netlink", "sh"])
def test_a_tree_is_left_to_the_letter(wired: LocalTarget, tree: str, way: str) -> None:
    wired.run(TREES[tree])
    before, text = read(wired, FAULT.reading()), everything(wired)
    assert FAULT.objection(before) is None
    plant, uproot = plan(FAULT, before)
    wired.make(plant) if way == "netlink" else by_sh(wired, plant)
    wired.run("ping -c 2 -i 0.01 -W 0.05 192.0.2.2", check=False)
    now = read(wired, FAULT.reading())
    assert FAULT.is_applied(before, now)
    assert FAULT.dose(before, now).confirmed
    assert not FAULT.is_reverted(before, now)
    clean = wired.render(uproot).until
    assert wired.run(clean, check=False).status != 0
    for _ in range(2):
        by_sh(wired, uproot)
        assert everything(wired) == text
        assert FAULT.is_reverted(before, read(wired, FAULT.reading()))
        assert wired.run(clean, check=False).status == 0


def test_netlink_and_tc_make_the_same(wired: LocalTarget) -> None:
    before = read(wired, FAULT.reading())
    plant, uproot = plan(FAULT, before)
    made = []
    for make in (wired.make, partial(by_sh, wired)):
        make(plant)
        seen = everything(wired).splitlines()
        made.append([line for line in seen if "mirred" in line or "qdisc" in line or "match" in line])
        made[-1] = [line.split(" state ")[0] for line in made[-1]]
        by_sh(wired, uproot)
    assert made[0] == made[1]


@pytest.mark.parametrize("done", range(1, 7))
def test_the_undo_is_safe_from_any_half_applied_state(wired: LocalTarget, done: int) -> None:
    """Only the first commands of the whole were run when it was cut off."""
    text, before = everything(wired), read(wired, FAULT.reading())
    plant, uproot = plan(FAULT, before)
    lines = _tc.plant(plant).do.splitlines()
    programs = {"link": "ip", "qdisc": "tc", "filter": "tc"}
    steps = [f"{programs[line.split()[0]]} {line}" for line in lines if line.split()[0] in programs]
    wired.run("\n".join(steps[:done]))
    by_sh(wired, uproot)
    assert everything(wired) == text
    assert wired.run(wired.render(uproot).until, check=False).status == 0


def test_a_clsact_that_somebody_began_to_use_stays(wired: LocalTarget) -> None:
    before = read(wired, FAULT.reading())
    plant, uproot = plan(FAULT, before)
    by_sh(wired, plant)
    wired.run(f"tc filter add dev data0 ingress {MATCH} flowid :1")
    by_sh(wired, uproot)
    assert wired.run("tc filter show dev data0 ingress").stdout.count("c0000209") == 1
    assert wired.run("tc filter show dev data0 egress").stdout == ""
    assert wired.run(wired.render(uproot).until, check=False).status == 0


def test_an_ingress_qdisc_is_left_alone_and_the_root_taken(wired: LocalTarget) -> None:
    wired.run(f"tc qdisc add dev data0 ingress; tc filter add dev data0 ingress {MATCH} flowid :1")
    text, before = everything(wired), read(wired, FAULT.reading())
    assert FAULT.objection(before) is None
    plant, uproot = plan(FAULT, before)
    wired.make(plant)
    assert FAULT.is_applied(before, read(wired, FAULT.reading()))
    wired.make(uproot)
    assert everything(wired) == text


def test_an_ingress_qdisc_over_a_tree_is_objected_to(wired: LocalTarget) -> None:
    wired.run(f"tc qdisc add dev data0 ingress; {TREES['htb']}")
    said = FAULT.objection(read(wired, FAULT.reading()))
    assert said is not None
    assert "htb 1:" in said
    assert "an interface whose ingress qdisc is a clsact" in said


@pytest.mark.parametrize("peer", ["192.0.2.2", "2001:db8::2"])
def test_an_exempt_flow_passes_beside(wired: LocalTarget, peer: str) -> None:
    """Two SYNs leave, from an exempt port and from another; only the other's is seen on the device of ours."""
    if ":" in peer:
        wired.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=0; ip address add 2001:db8::1/64 dev data0 nodad")
    wired.run(f"ip neigh replace {peer} lladdr 02:00:00:00:00:02 dev data0 nud permanent")
    plant, uproot = plan(FAULT, read(wired, FAULT.reading()))
    assert isinstance(plant.place, Beside)
    by_sh(wired, replace(plant, exempt=(Flow(ip_address(peer), 2222),)))
    seen = wired.run(f"{sys.executable} -c {shlex.quote(TWO_SYNS)} {plant.place.device} {peer}").stdout
    by_sh(wired, uproot)
    assert seen.split() == ["2223"]


TWO_SYNS = """
import socket, struct, sys
device, peer = sys.argv[1:]
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.bind((device, 0))
for port in (2222, 2223):
    syn = socket.socket(socket.AF_INET6 if ":" in peer else socket.AF_INET)
    syn.bind(("", port))
    syn.setblocking(False)
    syn.connect_ex((peer, 9))
tap.settimeout(0.5)
seen = set()
try:
    while True:
        packet = tap.recv(2000)
        seen |= {port for port in (2222, 2223) if struct.pack(">HH", port, 9) in packet}
except TimeoutError:
    print(*seen)
"""


def test_no_packet_is_lost_by_letting_go(wired: LocalTarget) -> None:
    """60 kB at 1 Mbit/s wait half a second in the tbf; it is taken away while they do."""
    wired.run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev data0 nud permanent")
    slow = Bandwidth.model_validate({"interface": "data0", "rate": "1mbit", "burst": "2kB", "latency": "900ms"})
    before = read(wired, slow.reading())
    plant, uproot = plan(slow, before)
    by_sh(wired, plant)
    at_first = sent(wired)
    wired.run(f"python3 -c {shlex.quote(SIXTY_PACKETS)}")
    assert sent(wired) - at_first < 60
    assert " 0 packets dropped" in by_sh(wired, uproot)
    assert sent(wired) - at_first == 60


def test_what_letting_go_drops_is_counted(wired: LocalTarget) -> None:
    wired.run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev data0 nud permanent")
    slow = Bandwidth.model_validate({"interface": "data0", "rate": "80kbit", "burst": "2kB", "latency": "9s"})
    before = read(wired, slow.reading())
    plant, uproot = plan(slow, before)
    by_sh(wired, plant)
    at_first = sent(wired)
    wired.run(f"python3 -c {shlex.quote(SIXTY_PACKETS)}")
    dropped = int(by_sh(wired, uproot).split()[1])
    assert 0 < dropped <= 60 - (sent(wired) - at_first) + 1  # one may leave between the count and the end
    assert slow.is_reverted(before, read(wired, slow.reading()))


SIXTY_PACKETS = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(60):
    s.sendto(bytes(1000), ("192.0.2.2", 9))
"""


def sent(host: LocalTarget) -> int:
    (link,) = json.loads(host.run("ip -s -j link show dev data0").stdout)
    return int(link["stats64"]["tx"]["packets"])


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_it_parses_in_every_shell(shell: str) -> None:
    place = Beside(2, True)
    impairment = plan(FAULT, FAULT.typical())[0].impairment
    for made in (
        _tc.plant(PlantQdisc("eth0", impairment, (Flow(ip_address("192.0.2.1"), 22),), place)),
        _tc.uproot(UprootQdisc("eth0", place, 0.3)),
    ):
        for script in (made.do, made.until, _tc.link_script("eth0")):
            done = subprocess.run([*shell.split(), "-n", "-c", script], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
