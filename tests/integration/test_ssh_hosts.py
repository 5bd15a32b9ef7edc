"""SshTarget against real sshds, each on a host of its own."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from chaos.contracts import ControlPath
from chaos.errors import CommandFailed, Unreachable
from chaos.kernel import Flow
from chaos.targets.ssh import SshAddress, SshTarget
from tests.hosts import CONTROLLER, CONTROLLER6, SshHosts, files, objection, ssh_hosts

pytestmark = pytest.mark.skipif(objection() is not None, reason=str(objection()))
FIRST, SECOND, THIRD = "worker-001", "worker-002", "worker-003"

Reach = Callable[..., SshTarget]


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(3) as up:
        yield up


@pytest.fixture
def reach(hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reach]:
    """Make targets in the controller's namespace, with a home that has no ssh files."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = []

    def make(name: str, **but: object) -> SshTarget:
        address = SshAddress(
            hosts.address(name),
            user="root",
            identity_file=str(hosts.folder / "client_key"),
            known_hosts=str(hosts.folder / "known_hosts"),
        )
        made.append(SshTarget(name, replace(address, **but)))  # type: ignore[arg-type]
        return made[-1]

    with hosts.as_controller():
        yield make
        for target in made:
            target.close()


# --- timeouts and threads ---------------------------------------------------------------------------------------------


def test_a_timeout_is_over_the_whole_command(reach: Reach) -> None:
    """A host that says a little now and then never lets a single read time out."""
    target, began = reach(FIRST), time.monotonic()
    target.run("true")
    with pytest.raises(Unreachable, match="no answer within 1 s"):
        target.run("while :; do echo still here; sleep 0.05; done", timeout=1)
    assert time.monotonic() - began < 20


def test_a_timeout_does_not_end_what_others_run(reach: Reach) -> None:
    target = reach(FIRST)
    target.run("true")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(target.run, "sleep 1; echo done")
        with pytest.raises(Unreachable):
            target.run("sleep 30", timeout=0.3)
        assert other.result().stdout == "done\n"
    assert target.run("echo on").stdout == "on\n"


def test_more_commands_at_once_than_sshd_has_sessions(reach: Reach, hosts: SshHosts) -> None:
    target = reach(FIRST)
    with ThreadPoolExecutor(30) as pool:
        said = pool.map(
            lambda n: target.run(f"sleep 0.1; echo {n} $SSH_CONNECTION", timeout=60).stdout.split(), range(30)
        )
        seen = list(said)
    assert [int(words[0]) for words in seen] == list(range(30))
    assert len({tuple(words[1:]) for words in seen}) == 1, "they went over one connection"
    assert hosts.address(FIRST) in seen[0]


def test_both_streams_may_be_long(reach: Reach) -> None:
    """More on standard error than its window holds, before anything on standard output."""
    done = reach(FIRST).run("head -c 5000000 /dev/zero >&2; head -c 5000000 /dev/zero", timeout=60)
    assert (len(done.stdout), len(done.stderr)) == (5_000_000, 5_000_000)


def test_no_command_is_sent_twice(reach: Reach, hosts: SshHosts) -> None:
    target = reach(FIRST)
    target.run("rm -f /run/count")
    with pytest.raises(Unreachable):
        target.run("echo once >>/run/count; kill -KILL $PPID; sleep 1")
    assert target.run("cat /run/count").stdout == "once\n"
    hosts.inside(FIRST, "rm /run/count")


# --- ways to a host ---------------------------------------------------------------------------------------------------


def test_ipv6(reach: Reach, hosts: SshHosts) -> None:
    target = reach(FIRST, address=hosts.address6(FIRST))
    assert target.run("hostname").stdout == f"{FIRST}\n"
    assert target.ask(ControlPath()) == (flow(CONTROLLER6),)
    target.probe_control_path()


def test_ipv6_of_the_link(reach: Reach, hosts: SshHosts) -> None:
    local = hosts.inside(FIRST, "ip -o -6 addr show dev eth0 scope link")
    found = re.search(r"fe80:[0-9a-f:]+", local)
    assert found
    address = f"{found[0]}%data"
    known = hosts.folder / "known_link"
    known.write_text(f"{address} {(hosts.folder / 'host_key.pub').read_text()}")
    target = reach(FIRST, address=address, known_hosts=str(known))
    assert target.run("hostname").stdout == f"{FIRST}\n"
    (seen,) = target.control_path()
    assert str(seen.peer).startswith("fe80:")


def test_through_a_chain_of_jump_hosts(reach: Reach, hosts: SshHosts) -> None:
    chain = f"root@{hosts.address(SECOND)},root@[{hosts.address6(THIRD)}]:22"
    target = reach(FIRST, proxy_jump=chain)
    assert target.run("hostname").stdout == f"{FIRST}\n"
    assert target.ask(ControlPath()) == (flow(hosts.address(THIRD)),), "the host sees the last jump host"
    target.probe_control_path()


def test_a_jump_host_whose_key_is_unknown(reach: Reach, hosts: SshHosts, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"{hosts.address(FIRST)} {(hosts.folder / 'host_key.pub').read_text()}")
    target = reach(FIRST, proxy_jump=f"root@{hosts.address(SECOND)}", known_hosts=str(known))
    with pytest.raises(Unreachable, match=r"jump host 10\.78\.1\.3\): .*host keys are always checked"):
        target.run("true")


@pytest.mark.parametrize("text", ["", "root@", "host:ssh", "[::1]:x"])
def test_a_jump_that_is_none(reach: Reach, text: str) -> None:
    target = reach(FIRST, proxy_jump=f"{text},other")
    with pytest.raises(Unreachable, match=r"write \[user@\]host\[:port\]"):
        target.run("true")


def test_the_users_ssh_config(reach: Reach, hosts: SshHosts, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    config = f"""
Host jump
  HostName {hosts.address(SECOND)}
Host far
  HostName {hosts.address6(FIRST)}
  ProxyJump jump
Host *
  User root
  IdentityFile {hosts.folder}/client_key
"""
    (tmp_path / ".ssh/config").write_text(config)
    target = reach(FIRST, address="far", user=None, identity_file=None)
    assert target.run("hostname; echo $SSH_CONNECTION").stdout.startswith(f"{FIRST}\n{hosts.address6(SECOND)} ")


def test_every_host_by_one_jump_host(reach: Reach, hosts: SshHosts, tmp_path: Path) -> None:
    """`Host *` names the jump host for itself too, as in ssh(1) it may."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(f"Host *\n  ProxyJump root@{hosts.address(SECOND)}\n")
    assert reach(FIRST).run("hostname").stdout == f"{FIRST}\n"


def test_a_key_from_the_agent(reach: Reach, hosts: SshHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL) as agent:
        try:
            while not (tmp_path / "agent").exists():
                time.sleep(0.01)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
            subprocess.run(["ssh-add", "-q", hosts.folder / "client_key"], check=True, env=os.environ)
            assert reach(FIRST, identity_file=None).run("hostname").stdout == f"{FIRST}\n"
        finally:
            agent.terminate()
    monkeypatch.delenv("SSH_AUTH_SOCK")
    with pytest.raises(Unreachable):
        reach(SECOND, identity_file=None).run("true")


# --- becoming root ----------------------------------------------------------------------------------------------------


def test_sudo_without_a_password(reach: Reach) -> None:
    assert reach(FIRST, user=files.SUDO_USER).run("id -un").stdout == f"{files.SUDO_USER}\n"
    root = reach(FIRST, user=files.SUDO_USER, become="sudo")
    assert root.run("id -un").stdout == "root\n"
    assert root.ask(ControlPath()) == (flow(CONTROLLER),)
    root.probe_control_path()


def test_sudo_with_a_password(reach: Reach) -> None:
    root = reach(FIRST, user=files.PASSWORD_USER, become="sudo", sudo_password=files.PASSWORD)
    assert root.run("id -un").stdout == "root\n"
    root.probe_control_path()


def test_a_password_that_sudo_does_not_ask_for_reaches_nobody(reach: Reach) -> None:
    root = reach(FIRST, user=files.SUDO_USER, become="sudo", sudo_password=files.PASSWORD)
    assert root.run("id -un; cat").stdout == "root\n"


@pytest.mark.parametrize(
    ("user", "password"), [(files.PASSWORD_USER, "wrong-secret"), (files.PLAIN_USER, "wrong-secret")]
)
def test_sudo_says_no(reach: Reach, user: str, password: str) -> None:
    target = reach(FIRST, user=user, become="sudo", sudo_password=password)
    with pytest.raises(CommandFailed) as caught:
        target.run("true")
    assert password not in str(caught.value)
    with pytest.raises(Unreachable, match="over a second connection `true` ended with 1"):
        target.probe_control_path()


# --- the control path -------------------------------------------------------------------------------------------------


def test_a_probe_is_over_within_its_time(reach: Reach, hosts: SshHosts) -> None:
    """The network takes everything in and gives nothing back: the worst there is to wait for."""
    target, began = reach(SECOND, connect_timeout=1.0), time.monotonic()
    target.run("true")
    hosts.cut(SECOND)
    try:
        with pytest.raises(Unreachable, match="worker-002: no SSH to"):
            target.probe_control_path()
    finally:
        hosts.mend(SECOND)
    assert time.monotonic() - began < 20


def test_a_server_that_says_nothing(reach: Reach, hosts: SshHosts) -> None:
    hosts.inside(SECOND, "kill -STOP $(cat /run/sshd.pid)")
    try:
        with pytest.raises(Unreachable, match="worker-002: no SSH to"):
            reach(SECOND, connect_timeout=0.5).probe_control_path()
    finally:
        hosts.inside(SECOND, "kill -CONT $(cat /run/sshd.pid)")


def flow(peer: str) -> Flow:
    return Flow(ip_address(peer), 22)
