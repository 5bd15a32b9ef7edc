"""SshTarget against a real sshd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from chaos.contracts import ControlPath, LinkState, Output
from chaos.errors import CommandFailed, Unreachable
from chaos.kernel import Flow
from chaos.targets.ssh import SshTarget
from tests.unit.targets.real_sshd import RealSshd

pytestmark = pytest.mark.usefixtures("empty_home")


@pytest.fixture
def target(sshd: RealSshd, tmp_path: Path) -> Iterator[SshTarget]:
    host = SshTarget("worker-1", sshd.address(sshd.known_hosts(tmp_path / "known")))
    yield host
    host.close()


def test_one_connection_carries_many_commands(target: SshTarget) -> None:
    first = target.run("echo $SSH_CONNECTION; echo complaint >&2")
    assert (first.status, first.stderr) == (0, "complaint\n")
    assert target.run("echo $SSH_CONNECTION").stdout == first.stdout


def test_text_arrives_as_it_is(target: SshTarget) -> None:
    hostile = "printf %s 'a b'\\''$(id)\"\n é' ; exit 0"
    assert target.run(hostile).stdout == "a b'$(id)\"\n é"
    assert target.ask(Output("cat /proc/sys/kernel/ostype")) == "Linux\n"


def test_a_failed_command_says_what_and_why(target: SshTarget) -> None:
    with pytest.raises(CommandFailed, match=r"worker-1: `echo no >&2; exit 7` ended with 7: no"):
        target.run("echo no >&2; exit 7")
    assert target.run("exit 7", check=False).status == 7


def test_a_command_that_takes_too_long(target: SshTarget) -> None:
    with pytest.raises(Unreachable, match="no answer within 0 s"):
        target.run("sleep 3", timeout=0.3)
    assert target.run("echo again").stdout == "again\n", "the next command opens the connection again"


def test_a_command_that_is_killed(target: SshTarget) -> None:
    with pytest.raises((CommandFailed, Unreachable)):
        target.run("kill -KILL $$")


def test_a_connection_that_was_cut_is_opened_again(target: SshTarget, sshd: RealSshd) -> None:
    before = target.run("echo $SSH_CONNECTION").stdout
    sshd.cut_connections()
    again = target.run("echo $SSH_CONNECTION").stdout  # also where this is what notices the loss: it was not sent
    assert again
    assert again != before


def test_a_cut_under_a_command_is_unreachable(target: SshTarget) -> None:
    with pytest.raises(Unreachable, match="worker-1: lost while running `kill"):
        target.run("kill -KILL $PPID; sleep 2")
    assert target.run("echo back").stdout == "back\n"


def test_the_control_path_is_what_sshd_says(target: SshTarget, sshd: RealSshd) -> None:
    assert target.ask(ControlPath()) == (Flow(ip_address("127.0.0.1"), sshd.port),)


def test_a_second_connection_is_made(target: SshTarget, sshd: RealSshd) -> None:
    target.run("true")
    target.probe_control_path()
    sshd.process.send_signal(19)  # SIGSTOP: the listener answers no new connection
    try:
        hasty = SshTarget("worker-1", replace(target._address, connect_timeout=0.5))
        with pytest.raises(Unreachable, match=r"no SSH to 127\.0\.0\.1 port"):
            hasty.probe_control_path()
        assert target.run("echo first").stdout == "first\n", "the connection there is goes on"
    finally:
        sshd.process.send_signal(18)


def test_an_unknown_host_key_is_refused(sshd: RealSshd, tmp_path: Path) -> None:
    empty = tmp_path / "nobody"
    empty.touch()
    with pytest.raises(Unreachable, match=f"host keys are always checked: add the host's key to {empty}"):
        SshTarget("worker-1", sshd.address(empty)).run("true")


def test_a_changed_host_key_is_refused(sshd: RealSshd, tmp_path: Path) -> None:
    known = sshd.known_hosts(tmp_path / "changed", "other_key")
    with pytest.raises(Unreachable, match=f"host keys are always checked: add the host's key to {known}"):
        SshTarget("worker-1", sshd.address(known)).run("true")


def test_a_missing_known_hosts_file_is_named(sshd: RealSshd, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=str(tmp_path / "nix")):
        SshTarget("worker-1", sshd.address(tmp_path / "nix")).run("true")


def test_the_users_own_known_hosts_is_the_default(sshd: RealSshd, empty_home: Path) -> None:
    (empty_home / ".ssh").mkdir()
    sshd.known_hosts(empty_home / ".ssh" / "known_hosts")
    target = SshTarget("worker-1", replace(sshd.address(empty_home), known_hosts=None))
    assert target.run("echo trusted").stdout == "trusted\n"
    target.close()


def test_a_wrong_key_of_ours(sshd: RealSshd, tmp_path: Path) -> None:
    known = sshd.known_hosts(tmp_path / "known")
    address = replace(sshd.address(known), identity_file=str(sshd.folder / "other_key"))
    with pytest.raises(Unreachable, match=r"worker-1: no SSH to 127\.0\.0\.1 port .*Authentication failed"):
        SshTarget("worker-1", address).run("true")


def test_nobody_listens(sshd: RealSshd, tmp_path: Path) -> None:
    address = replace(sshd.address(sshd.known_hosts(tmp_path / "known")), port=1)
    with pytest.raises(Unreachable, match=r"worker-1: no SSH to 127\.0\.0\.1 port 1: "):
        SshTarget("worker-1", address).run("true")


def test_an_interface_over_ssh(target: SshTarget) -> None:
    link = target.ask(LinkState("lo"))
    assert link.exists
    assert not target.ask(LinkState("nix0")).exists


def test_sudo_is_said_only_when_asked_for(sshd: RealSshd, tmp_path: Path) -> None:
    address, secret = sshd.address(sshd.known_hosts(tmp_path / "known")), "s3cret"
    without, asked = replace(address, become="sudo"), replace(address, become="sudo", sudo_password=secret)
    assert "sudo" not in SshTarget("w", address)._command("id")
    assert "sudo -n " in SshTarget("w", without)._command("id")
    assert "sudo -S -p '' " in SshTarget("w", asked)._command("id")
    assert secret not in SshTarget("w", asked)._command("id") + repr(asked)
