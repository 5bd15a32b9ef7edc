"""What we leave on a host, and on this machine, is ours alone; a folder that somebody else made is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.contracts import Target
from chaos.errors import CommandFailed, FuseNotArmed
from chaos.run import heal, panic
from chaos.run.connect import controller, controller_home
from chaos.run.fuse import HOME, Fuse, Undo
from chaos.run.lock import HostLock
from chaos.run.preflight import preflight
from chaos.run.signature import signed
from tests.hosts import SshHosts, objection, ssh_hosts
from tests.unit.run.existing_loads import planned

pytestmark = pytest.mark.skipif(objection() is not None, reason=str(objection()))
_EVERY = "find {folder} -xdev -printf '%y %m %U %p\\n'"
_UNDO = "touch /run/trap /run/undone\n"


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    careless = 'ForceCommand umask 000; exec sh -c "$SSH_ORIGINAL_COMMAND"'
    with ssh_hosts(1, sshd_options=[careless]) as up, up.as_controller():
        yield up


@pytest.fixture
def host(hosts: SshHosts) -> Iterator[Target]:
    target = hosts.target(hosts.names[0])
    yield target
    target.close()
    hosts.inside(target.name, f"rm -rf {HOME} /run/theirs /run/trap")


def fuse_on(target: Target, home: str = HOME) -> Fuse:
    return Fuse(target, "f-0", Undo(_UNDO, "[ -e /run/undone ]\n"), 60, 60, home)


def modes(said: str) -> list[tuple[str, int, str, str]]:
    each = (line.split() for line in said.splitlines())
    return [(kind, int(mode, 8), owner, path) for kind, mode, owner, path in each]


def test_folders_are_0700_files_0600_and_both_are_root_s(host: Target) -> None:
    assert host.run("umask").stdout.strip() == "0000", "or this test shows nothing"
    lock, fuse = HostLock(host, "me", "run", 60), fuse_on(host)
    lock.take()
    fuse.arm()
    fuse.fire(5)
    found = modes(host.run(_EVERY.format(folder=HOME)).stdout)
    assert {f"{HOME}/lock", fuse.folder, f"{fuse.folder}/undo", f"{fuse.folder}/log"} <= {path for *_, path in found}
    for kind, mode, owner, path in found:
        assert (mode, owner) == (0o700 if kind == "d" else 0o600, "0"), path
    # what the undo makes elsewhere is the host's, and not ours
    assert host.run("stat -c %a /run/undone; rm /run/undone").stdout.strip() == "644"
    fuse.disarm()
    lock.release()


MADE = {
    "by another user": f"mkdir -m 700 {HOME}; chown 6001 {HOME}",
    "for all to write to": f"mkdir -m 777 {HOME}",
    "for a group to write to": f"mkdir -m 770 {HOME}",
    "as a link": f"mkdir -m 700 /run/theirs; ln -s /run/theirs {HOME}",
    "as a link to nothing": f"ln -s /run/theirs {HOME}",
    "as a file": f": >{HOME}",
}
_PLANT = f"""fuse={HOME}/fuses/f-0
mkdir -p $fuse 2>/dev/null || exit 0
echo '{_UNDO}' >$fuse/undo; echo false >$fuse/clean; echo armed >$fuse/state
"""


@pytest.mark.parametrize("how", MADE)
def test_a_folder_that_somebody_else_made_is_refused_and_left_as_it_is(
    how: str, hosts: SshHosts, host: Target, tmp_path: Path
) -> None:
    hosts.inside(host.name, f"{MADE[how]}\n{_PLANT}")
    listed = _EVERY.format(folder=f"/run {HOME}/.")
    before = hosts.inside(host.name, f"{listed} 2>/dev/null || true")
    with pytest.raises(CommandFailed, match=f"{HOME} is refused: "):
        HostLock(host, "me", "run", 60).take()
    with pytest.raises(FuseNotArmed, match=f"{HOME} is refused: "):
        fuse_on(host).arm()
    inventory = hosts.inventory()
    for found in (
        [finding for finding in heal.heal(inventory, Path("/nowhere")) if finding.host == host.name],
        [finding for finding in heal.check(inventory, Path("/nowhere")) if finding.host == host.name],
        [one for done in panic.panic(inventory, Path("/nowhere")) if done.host == host.name for one in done.found],
    ):
        assert [finding.clean for finding in found] == [False]
        assert f"{HOME} is refused" in found[0].detail
    panic.release(inventory)
    load = '{url: "http://127.0.0.1:9/", arrivals: {process: constant, rate: 1/s}, slo: {latency: 1s}}'
    plan = planned(tmp_path, load, "{warmup: 1s, baseline: 1s, observe: 1s}")
    bad = [f for f in preflight(plan, {host.name: host}) if not f.fine and f.what == f"{HOME} is ours alone"]
    assert [f"{HOME} is refused" in finding.detail for finding in bad] == [True]
    assert hosts.inside(host.name, f"{listed} 2>/dev/null || true") == before
    assert not hosts.inside(host.name, "ls /run/trap 2>/dev/null || true"), "what lay there was run"


def test_this_machine_s_state_folder_is_its_user_s_alone() -> None:
    former = os.umask(0)
    try:
        signed({})
        here, home = controller(), controller_home()
        HostLock(here, "me", "run", 60, home).take()
        (fuse := fuse_on(here, home)).arm()
    finally:
        os.umask(former)
    found = modes(here.run(_EVERY.format(folder=home)).stdout)
    assert f"{home}/ledger.key" in {path for *_, path in found}
    for kind, mode, owner, path in found:
        assert (mode, owner) == (0o700 if kind == "d" else 0o600, str(os.geteuid())), path
    fuse.disarm()


def test_a_state_folder_that_others_can_write_to_is_refused(state_home: Path) -> None:
    home = state_home / "gameday"
    home.mkdir(parents=True)
    home.chmod(0o777)
    with pytest.raises(FuseNotArmed, match="is refused: "):
        fuse_on(controller(), str(home)).arm()
    with pytest.raises(CommandFailed, match="is refused: "):
        HostLock(controller(), "me", "run", 60, str(home)).take()
