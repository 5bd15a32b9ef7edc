"""node_hang on a host in namespaces with cgroups of its own, of version 2 and 1: who stands still, and who not."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chaos.contracts import Target
from chaos.faults.node_hang import NodeHang
from chaos.run.injector import read
from chaos.run.sweep import MARKS, sweep
from tests.hosts import SshHosts, ssh_hosts
from tests.unit.faults.payload_hosts import Standing

SERVER = 'import http.server as h; h.HTTPServer(("", %d), h.SimpleHTTPRequestHandler).serve_forever()'
ROOTS = {2: "/sys/fs/cgroup/unified", 1: "/sys/fs/cgroup/freezer"}


@pytest.fixture(scope="module", params=[2, 1])
def hosts(request: pytest.FixtureRequest) -> Iterator[SshHosts]:
    """A host with a service (and a `sleep`) at the top of its cgroups, and one in a cgroup below another."""
    with ssh_hosts(1) as made, made.as_controller():
        (name,), root = made.names, ROOTS[request.param]
        if request.param == 1:
            made.inside(name, "mount -t tmpfs none /sys/fs/cgroup/unified")
        target = made.target(name)
        start = f"cd / && setsid {sys.executable} -c '{SERVER}' </dev/null >/dev/null 2>&1 &"
        target.run(f"{start % 8001}\nmkdir -p {root}/a/b && echo $$ >{root}/a/b/cgroup.procs; {start % 8002}\n"
                   f"echo $$ >{root}/cgroup.procs")  # fmt: skip
        yield made
        target.run("pkill -9 -f '[h]ttp.server'; sleep 0.3")
        target.run(f"rmdir {root}/a/b {root}/a", check=False)
        target.close()


@pytest.fixture
def host(hosts: SshHosts) -> Iterator[Target]:
    target = hosts.target(hosts.names[0])
    yield target
    target.close()


def answers(hosts: SshHosts, port: int) -> bool:
    """Whether a connection that is accepted is answered, too."""
    with socket.create_connection((hosts.address(hosts.names[0]), port), timeout=20) as made:
        made.settimeout(0.3)
        made.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        try:
            return made.recv(4) == b"HTTP"
        except TimeoutError:
            return False


def test_all_stands_still_but_the_kernel_and_the_way_in(hosts: SshHosts, host: Target) -> None:
    before = read(host, NodeHang().reading())
    standing = Standing(host, NodeHang())
    groups = host.run("cat /proc/self/cgroup").stdout
    assert not standing.fuse.reads_clean()
    for _ in range(2):
        assert standing.is_applied()
        standing.apply()
    dose = standing.confirmed()
    assert dose.achieved == {"stuck_share": 1.0, "processes": 3.0}
    assert [answers(hosts, port) for port in (8001, 8002)] == [False, False], "it accepts, and says nothing"
    ping = ["ping", "-c", "1", "-W", "5", hosts.address(hosts.names[0])]
    assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
    host.probe_control_path()
    assert standing.fuse.state() == "armed"
    assert "are frozen already" in (standing.fault.objection(standing.now()) or "")
    standing.undo()
    standing.eventually(lambda: answers(hosts, 8001) and answers(hosts, 8002))
    assert read(host, NodeHang().reading()) == before, "each is in the cgroup in which it was"
    assert host.run("cat /proc/self/cgroup").stdout == groups


def test_the_fuse_thaws_it_and_heal_does_where_the_fuse_is_lost(hosts: SshHosts, host: Target) -> None:
    standing = Standing(host, NodeHang())
    assert not answers(hosts, 8001)
    assert standing.fuse.fire(patience=20) == "clean: on request"
    assert standing.is_reverted()
    standing.fuse.disarm()
    standing = Standing(host, NodeHang())
    standing.fuse.disarm()
    assert not answers(hosts, 8002)
    marks = [mark for mark in MARKS if mark.name in ("undo that is due", "cgroup")]
    assert [(found.name, found.gone) for found in sweep(host, marks, remove=True)] == [("undo that is due", True)]
    standing.eventually(lambda: answers(hosts, 8001) and answers(hosts, 8002))
    assert standing.is_reverted()
