"""sysctl in network and UTS namespaces of the test's own: what the kernel does by it, and the undo to the letter."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from chaos.contracts import Fault
from chaos.errors import CommandFailed
from chaos.faults.sysctl import Setting, Settings, Sysctl
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.targets.local import LocalTarget
from tests.hosts import in_namespace_of
from tests.unit.run.namespaced_host import namespaced_host

ALL = "cat /proc/sys/net/core/* /proc/sys/net/ipv4/* /proc/sys/kernel/hostname 2>/dev/null; true"


@pytest.fixture(scope="module")
def pid() -> Iterator[int]:
    with namespaced_host() as first:
        yield first


@pytest.fixture
def host(pid: int) -> Iterator[LocalTarget]:
    target = LocalTarget("there", pid)
    before = target.run(ALL).stdout
    yield target
    assert target.run(ALL).stdout == before
    target.close()


def act(host: LocalTarget, fault: Fault[Settings], before: Settings) -> None:
    for action in fault.apply(before):
        host.perform(action)


def test_a_listener_gets_the_backlog_that_was_set(host: LocalTarget, pid: int) -> None:
    """The whole way round, twice each: the kernel itself says how long the queue of a new listener may be."""
    fault = Sysctl(values={"net.core.somaxconn": "7", "net.ipv4.tcp_congestion_control": "reno"})
    before = read(host, fault.reading())
    assert fault.objection(before) is None
    undo = Undo.of(host.render(action) for action in fault.revert(before))
    for _ in range(2):
        act(host, fault, before)
        assert fault.is_applied(before, read(host, fault.reading()))
    assert (backlog(host, pid), fault.dose(before, read(host, fault.reading())).confirmed) == (7, True)
    assert host.run(undo.clean, check=False).status != 0
    for _ in range(2):
        host.run(undo.do)
        assert fault.is_reverted(before, read(host, fault.reading()))
        assert host.run(undo.clean, check=False).status == 0
    assert backlog(host, pid) == 999


def backlog(host: LocalTarget, pid: int) -> int:
    with in_namespace_of(pid), socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(999)
        return int(host.run("ss -Hltn").stdout.split()[2])


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_every_shell_sets_and_puts_back(host: LocalTarget, shell: str) -> None:
    """A host name may hold what a shell would read as its own; several numbers come back with the kernel's tabs."""
    fault = Sysctl(values={"kernel.hostname": "a'b$(id)\\n`c", "net.ipv4.tcp_wmem": "4096 8192 16384"}, dangerous=True)
    before = read(host, fault.reading())
    actions = [*fault.apply(before), *fault.revert(before)]
    apply, revert = [host.render(action).do for action in actions]
    run(host, shell, apply)
    assert fault.is_applied(before, read(host, fault.reading()))
    assert host.run("cat /proc/sys/kernel/hostname").stdout == "a'b$(id)\\n`c\n"
    run(host, shell, revert)
    assert fault.is_reverted(before, read(host, fault.reading()))


def run(host: LocalTarget, shell: str, script: str) -> None:
    host.run(f"exec {shell} <<'SCRIPT'\n{script}\nSCRIPT")


def test_what_the_kernel_refuses_fails_and_one_that_can_not_be_put_back_hides_no_other(host: LocalTarget) -> None:
    fault = Sysctl(values={"net.ipv4.tcp_congestion_control": "nosuch", "net.core.somaxconn": "7"})
    before = read(host, fault.reading())
    with pytest.raises(CommandFailed):
        act(host, fault, before)
    assert read(host, fault.reading()) == before, "what stands behind it is not touched"
    host.run("echo 7 >/proc/sys/net/core/somaxconn")
    [undo] = fault.revert(before | {"net.ipv4.tcp_congestion_control": Setting("nosuch")})
    with pytest.raises(CommandFailed):
        host.perform(undo)
    assert read(host, fault.reading()) == before


def test_of_a_pair_the_one_that_was_in_force_is_put_back() -> None:
    """Written by hand: these two are the whole machine's."""
    fault = Sysctl(values={"vm.dirty_bytes": "1048576"})
    before = {"vm.dirty_bytes": Setting("0"), "vm.dirty_ratio": Setting("20")}
    [undo] = map(LocalTarget("none").render, fault.revert(before))
    assert ("put /proc/sys/vm/dirty_ratio 20" in undo.do, "dirty_bytes" in undo.do) == (True, False)
    on = {"vm.dirty_bytes": Setting("1048576"), "vm.dirty_ratio": Setting("0")}
    assert (fault.is_applied(before, on), fault.is_reverted(before, on)) == (True, False)
    assert fault.is_reverted(before, before)


@pytest.mark.parametrize(
    "key", ["net", "net..core", "../../etc/passwd", "net/../../x", "net.core/", "a b.c", "$(x).y", "a.*"]
)
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="is no sysctl; write it as sysctl"):
        Sysctl(values={key: "1"})


def test_a_name_with_a_dot_is_written_as_sysctl_writes_it(host: LocalTarget) -> None:
    host.run("ip link add name d.0 type veth peer name d.1")
    for key in ("net.ipv4.conf.d/0.mc_forwarding", "net/ipv4/conf/d.0/log_martians"):
        fault = Sysctl.model_validate({"values": {key: 1}})
        [(name, found)] = read(host, fault.reading()).items()
        assert (name.split(".")[3], found.value) == ("d/0", "0")
    host.run("ip link del d.0")
