"""port_exhaustion on a host in namespaces: who finds a port, what is spared, and that all of it goes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chaos.contracts import Target
from chaos.faults._payload import Seen
from chaos.faults.port_exhaustion import PortExhaustion
from tests.hosts import SshHosts, ssh_hosts
from tests.unit.faults.payload_hosts import Standing

# connects to a listener of its own as often as it can, and prints how often and why it can not any more
CONNECT = """
import errno, socket, sys
family, host = (socket.AF_INET6, "::1") if sys.argv[1] == "6" else (socket.AF_INET, "127.0.0.1")
s = socket.socket(family); s.bind((host, 0 if len(sys.argv) < 3 else int(sys.argv[2]))); s.listen(200)
held = []
try:
    while len(held) < 150:
        held.append(socket.create_connection((host, s.getsockname()[1]), timeout=5))
    print(len(held), "enough")
except OSError as error:
    print(len(held), errno.errorcode[error.errno])
"""
UDP = 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.1", 9)); print("ok")'


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1) as made, made.as_controller():
        made.inside(made.names[0], "echo 40000 40199 >/proc/sys/net/ipv4/ip_local_port_range")
        made.inside(made.names[0], "echo 40010-40019 >/proc/sys/net/ipv4/ip_local_reserved_ports")
        yield made


@pytest.fixture
def host(hosts: SshHosts) -> Iterator[Target]:
    target = hosts.target(hosts.names[0])
    yield target
    target.close()


def python(host: Target, program: str, *arguments: object) -> str:
    return host.run(f"{sys.executable} -c '{program}' {' '.join(map(str, arguments))}").stdout.strip()


def test_no_port_is_left_but_for_who_is_there(host: Target) -> None:
    standing = Standing(host, PortExhaustion())
    standing.apply()
    assert standing.is_applied()
    dose = standing.confirmed()
    assert dose.achieved == {"free_ports": 0.0, "held_ports": 190.0}
    for family in ("4", "6"):
        assert python(host, CONNECT, family, 30000) == "0 EADDRNOTAVAIL"
    assert python(host, UDP) == "ok"
    host.probe_control_path()
    settings = host.run("cd /proc/sys/net/ipv4; cat ip_local_port_range ip_local_reserved_ports").stdout.split()
    assert settings == ["40000", "40199", "40010-40019"]
    standing.undo()
    assert python(host, CONNECT, "4", 30000) == "150 enough"


def test_some_are_left_and_a_listener_keeps_its_own(hosts: SshHosts, host: Target) -> None:
    listens = 'import socket; s = socket.create_server(("", 40100)); print(1, flush=True); input()'
    enter = ["nsenter", "--target", str(hosts.pid_of(hosts.names[0])), "--net", sys.executable, "-c", listens]
    with subprocess.Popen(enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        standing = Standing(host, PortExhaustion(free=7))
        assert standing.confirmed().achieved == {"free_ports": 7.0, "held_ports": 182.0}
        server.communicate(b"\n")
    assert python(host, CONNECT, "4", 30000).endswith("EADDRNOTAVAIL")
    assert python(host, CONNECT.replace("150", "0"), "4", 40100) == "0 enough", "it starts again on its own port"
    standing.undo()


def test_one_that_is_killed_is_no_dose(host: Target) -> None:
    standing = Standing(host, PortExhaustion(free=1))
    before = standing.before
    (pid,) = [line.split()[1] for line in host.ask(standing.fault.reading().questions[0]).splitlines()
              if line.startswith("process") and "(python" in line]  # fmt: skip
    host.run(f"kill -{signal.SIGKILL.value} {pid}")
    standing.eventually(standing.dose, lambda dose: not dose.confirmed)
    assert before.gone
    standing.undo()


@pytest.mark.parametrize(
    ("also", "says"),
    [
        ({"ports": "100"}, "fewer must be left free"),
        ({"available": "500000"}, "137 MiB"),
        ({"files": "1024"}, "1024 files open"),
        ({"files": "unlimited"}, None),
        ({}, None),
    ],
)
def test_what_is_refused(also: dict[str, str], says: str | None) -> None:
    seen = Seen(also={"ports": "28232", "available": "9000000", "files": "1048576"} | also)
    objection = PortExhaustion(free=100).objection(seen)
    assert (objection is None) if says is None else (says in (objection or ""))
