"""What `ControlPath` answers keeps SSH alive when a host drops everything else, and spares nothing but SSH.

The fault is nftables' own, made from the flows: whatever kind of fault asks for the control path, this is what it has.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from chaos.errors import Unreachable
from chaos.kernel import Flow
from chaos.targets.ssh import SshAddress, SshTarget
from tests.hosts import CONTROLLER, CONTROLLER6, SshHosts, in_namespace_of, objection, ssh_hosts

pytestmark = pytest.mark.skipif(objection() is not None, reason=str(objection()))
FIRST, JUMP = "worker-001", "worker-002"
HTTP = 8000
_OUTSIDE = "10.79.0.2"


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(2) as up:
        serve = f"{sys.executable} -m http.server --bind :: {HTTP} >/dev/null 2>&1 </dev/null & echo $! >/run/http.pid"
        listens = f"tries=0; until ss -Hltn sport = :{HTTP} | grep -q .; do"
        up.inside(FIRST, f"{serve}; {listens} [ $((tries += 1)) -lt 300 ] || exit 1; sleep 0.1; done")
        yield up


@pytest.fixture
def outside(hosts: SshHosts) -> Iterator[int]:
    """A process in a network namespace that reaches the hosts only through the controller's, which masquerades."""
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up; echo up; read -r _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        as_router = f"""set -e
            ip link add out0 type veth peer name eth0 netns {process.pid}
            ip addr add 10.79.0.1/24 dev out0; ip link set out0 up; echo 1 >/proc/sys/net/ipv4/ip_forward
            nft 'table ip behind {{ chain out {{
                type nat hook postrouting priority srcnat; oifname data masquerade; }}; }}'"""
        as_client = f"""set -e
            ip addr add {_OUTSIDE}/24 dev eth0; ip link set eth0 up; ip route add default via 10.79.0.1"""
        subprocess.run([*hosts.enter_command, "sh", "-c", as_router], check=True)
        subprocess.run(["nsenter", f"--net=/proc/{process.pid}/ns/net", "sh", "-c", as_client], check=True)
        yield process.pid
        subprocess.run([*hosts.enter_command, "sh", "-c", "nft delete table ip behind; ip link del out0"], check=True)
        process.kill()


@pytest.mark.parametrize("way", ["ipv4", "ipv6", "jump", "nat"])
def test_ssh_lives_and_nothing_else_does(
    hosts: SshHosts, way: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    place = request.getfixturevalue("outside") if way == "nat" else hosts.controller_pid
    address = hosts.address6(FIRST) if way == "ipv6" else hosts.address(FIRST)
    seen_as = {"ipv4": CONTROLLER, "ipv6": CONTROLLER6, "jump": hosts.address(JUMP), "nat": CONTROLLER}[way]
    with in_namespace_of(place):
        target = target_on(hosts, address, f"root@{hosts.address(JUMP)}" if way == "jump" else None)
        flows = target.control_path()
        assert flows == (Flow(ip_address(seen_as), 22),)
        serves(address)
        with only(hosts, flows):
            target.probe_control_path()
            assert target.run("echo still").stdout == "still\n"
            with pytest.raises(OSError):
                serves(address, 0.5)
        serves(address)
        target.close()


def test_without_the_flows_the_probe_fails(hosts: SshHosts) -> None:
    with hosts.as_controller():
        target = target_on(hosts, hosts.address(FIRST), None, connect_timeout=0.5)
        with only(hosts, ()), pytest.raises(Unreachable, match="no SSH to"):
            target.probe_control_path()
        target.probe_control_path()


def test_a_name_with_two_addresses_may_be_reached_by_either(hosts: SshHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is lost may come back over the other family."""

    def both(_host: str, port: int, **_: object) -> list[object]:
        addresses = [(hosts.address(FIRST), port), (hosts.address6(FIRST), port, 0, 0)]
        return [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    with hosts.as_controller():
        target = target_on(hosts, hosts.address(FIRST), None)
        monkeypatch.setattr(socket, "getaddrinfo", both)
        assert set(target.control_path()) == {Flow(ip_address(peer), 22) for peer in (CONTROLLER, CONTROLLER6)}
        target.close()


def target_on(hosts: SshHosts, address: str, jump: str | None, connect_timeout: float = 10.0) -> SshTarget:
    keys = {"identity_file": str(hosts.folder / "client_key"), "known_hosts": str(hosts.folder / "known_hosts")}
    return SshTarget(FIRST, SshAddress(address, 22, "root", **keys, proxy_jump=jump, connect_timeout=connect_timeout))


def serves(address: str, timeout: float = 10.0) -> None:
    socket.create_connection((address, HTTP), timeout).close()


@contextmanager
def only(hosts: SshHosts, flows: tuple[Flow, ...]) -> Iterator[None]:
    """Have the host drop all it receives and sends but the flows, and what finds neighbours."""
    rules = {"input": [], "output": []}  # type: dict[str, list[str]]
    for flow in flows:
        family = "ip" if flow.peer.version == 4 else "ip6"
        rules["input"].append(f"{family} saddr {flow.peer} tcp dport {flow.port} accept")
        rules["output"].append(f"{family} daddr {flow.peer} tcp sport {flow.port} accept")
    neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
    chains = "\n".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; policy drop;\n{neighbours}\n" + "\n".join(own) + "\n}"
        for hook, own in rules.items()
    )
    hosts.inside(FIRST, f"nft -f - <<'END'\ntable inet only {{\n{chains}\n}}\nEND")
    try:
        yield
    finally:
        hosts.inside(FIRST, "nft delete table inet only")
