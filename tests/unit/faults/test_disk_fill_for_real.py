"""disk_fill on an ext4 and a tmpfs of the test's own: who can still write, and what is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from chaos.errors import CommandFailed
from chaos.faults._disk import Disk
from chaos.faults.disk_fill import DiskFill
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.run.sweep import MARKS, sweep
from chaos.targets.local import LocalTarget
from chaos.units import SI
from tests.unit.run.namespaced_host import namespaced_host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
MIB = 2**20
KEEP = SI(4 * MIB)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTarget]:
    """/mnt/a b is an ext4 of 96 MiB, with a tenth of it for root; /mnt/memory a tmpfs, /mnt/small a tiny one."""
    image = tmp_path_factory.mktemp("disk") / "image"
    with namespaced_host() as pid:
        target = LocalTarget("there", pid)
        target.run(f"""set -e
            truncate -s 96M '{image}'; mke2fs -q -t ext4 -m 10 -E lazy_itable_init=0 '{image}'
            mount -t tmpfs tmpfs /mnt; mkdir '/mnt/a b' /mnt/memory /mnt/small
            mount -o loop '{image}' '/mnt/a b'; mount -t tmpfs -o size=64m tmpfs /mnt/memory
            mount -t tmpfs -o size=1m tmpfs /mnt/small; mkdir -m 777 '/mnt/a b/data'""")
        yield target
        target.run("umount '/mnt/a b'")
        target.close()


def act(host: LocalTarget, fault: DiskFill, before: Disk) -> None:
    for action in fault.apply(before):
        host.perform(action)


def undo_of(host: LocalTarget, fault: DiskFill, before: Disk) -> Undo:
    return Undo.of(host.render(action) for action in fault.revert(before))


def writes(host: LocalTarget, size: int, who: str = "") -> bool:
    script = f"head -c {size} /dev/zero >'/mnt/a b/data/{who or 'root'}'"
    become = f"setpriv --reuid={who} --regid=nogroup --clear-groups " if who else ""
    return host.run(f'{become}sh -c "{script}"', check=False).status == 0


def test_nobody_can_write_and_root_can_and_all_is_as_it_was(host: LocalTarget) -> None:
    fault = DiskFill(path="/mnt/a b/data", free=SI(0), keep=KEEP)
    before = read(host, fault.reading())
    assert (fault.objection(before), before.mount, before.kind) == (None, "/mnt/a b", "ext4")
    undo = undo_of(host, fault, before)
    host.run(undo.do)
    assert host.run(undo.clean, check=False).status == 0, "there was nothing to undo"
    assert writes(host, 2 * MIB, "nobody")
    for _ in range(2):
        act(host, fault, before)
        now = read(host, fault.reading())
        assert fault.is_applied(before, now)
        assert 0 <= now.free < 2 * 4096
    assert not writes(host, 4 * MIB, "nobody")
    assert writes(host, 2 * MIB)
    assert host.run(undo.clean, check=False).status != 0
    for _ in range(2):
        host.run(undo.do)
        assert host.run(undo.clean, check=False).status == 0
        assert fault.is_reverted(before, read(host, fault.reading()))
    host.run("rm '/mnt/a b/data/'*")
    assert replace(read(host, fault.reading()), memory=0) == replace(before, memory=0)


@pytest.mark.parametrize("path", ["/mnt/a b", "/mnt/memory"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_share_is_what_df_says(host: LocalTarget, path: str, share: float) -> None:
    fault = DiskFill(path=path, used=SI(share), keep=KEEP)
    before = read(host, fault.reading())
    assert fault.objection(before) is None
    act(host, fault, before)
    now = read(host, fault.reading())
    used, available = map(int, host.run(f"df -Pk '{path}' | tail -n 1").stdout.split("% ")[0].split()[-3:-1])
    dose = fault.dose(before, now)
    assert dose.confirmed
    assert dose.achieved["used_share"] == pytest.approx(share, abs=0.01)
    assert used / (used + available) == pytest.approx(share, abs=0.01)
    host.run(undo_of(host, fault, before).do)
    assert fault.is_reverted(before, read(host, fault.reading()))


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
@pytest.mark.parametrize("way", ["allocated", "written"])
def test_every_shell_fills_and_where_nothing_can_be_allocated_it_is_written(
    host: LocalTarget, shell: str, way: str
) -> None:
    fault = DiskFill(path="/mnt/a b", free=SI(30 * MIB), keep=KEEP)
    before = read(host, fault.reading())
    [apply] = fault.apply(before)
    script = host.render(apply).do.replace("fallocate ", "false " if way == "written" else "fallocate ")
    host.run(f"exec {shell} <<'SCRIPT'\n{script}\nSCRIPT")
    assert fault.is_applied(before, read(host, fault.reading()))
    host.run(f"exec {shell} <<'SCRIPT'\n{undo_of(host, fault, before).do}\nSCRIPT")
    assert fault.is_reverted(before, read(host, fault.reading()))


def test_the_floor_is_kept_by_the_host_too(host: LocalTarget) -> None:
    """Somebody has taken what root was to have, since the host was read."""
    fault = DiskFill(path="/mnt/memory", free=SI(1 * MIB), keep=KEEP)
    before = read(host, fault.reading())
    assert "1 MiB would be left to root; `keep` is 4 MiB" in (fault.objection(before) or "")
    with pytest.raises(CommandFailed, match="it would pass the floor"):
        act(host, fault, before)
    assert read(host, fault.reading()).free == before.free
    host.run(undo_of(host, fault, before).do)


def test_what_others_write_or_free_shows_in_the_dose(host: LocalTarget) -> None:
    fault = DiskFill(path="/mnt/memory", free=SI(20 * MIB), keep=KEEP)
    before = read(host, fault.reading())
    act(host, fault, before)
    host.run("head -c 5242880 /dev/zero >/mnt/memory/log")
    dose = fault.dose(before, read(host, fault.reading()))
    assert (dose.confirmed, dose.why_not) == (False, "15 MiB were free at the end, where 20 MiB were asked for")
    host.run(f"rm /mnt/memory/log; {undo_of(host, fault, before).do}")
    assert not fault.dose(before, read(host, fault.reading())).confirmed
    assert fault.is_reverted(before, read(host, fault.reading()))


def test_while_it_is_not_mounted_nothing_is_clean(host: LocalTarget) -> None:
    fault = DiskFill(path="/mnt/small", free=SI(0), keep=KEEP)
    undo = undo_of(host, fault, read(host, fault.reading()))
    assert host.run(undo.clean, check=False).status == 0
    host.run("umount /mnt/small")
    assert host.run(undo.clean, check=False).status != 0
    host.run("mount -t tmpfs -o size=1m tmpfs /mnt/small")


def test_the_sweep_finds_what_was_left_and_a_leftover_is_objected_to(host: LocalTarget) -> None:
    fault = DiskFill(path="/mnt/a b", free=SI(30 * MIB), keep=KEEP)
    before = read(host, fault.reading())
    act(host, fault, before)
    assert "ours is there already: /mnt/a b/.gameday-fill-" in (fault.objection(read(host, fault.reading())) or "")
    marks = [mark for mark in MARKS if mark.name == "filled disk"]
    [found] = sweep(host, marks, remove=True)
    assert (found.item.startswith("/mnt/a b/.gameday-fill-"), found.gone) == (True, True)
    assert fault.is_reverted(before, read(host, fault.reading()))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/run", "/run holds /run, where the fuse"),
        ("/proc", "/proc is none of ext4, xfs, btrfs, f2fs, tmpfs, overlay, but of type 9fa0"),
        ("/nosuch", "there is no directory /nosuch"),
        ("/mnt/small", "/mnt/small: 10 MiB free were asked for, and 1 MiB are"),
    ],
)
def test_what_is_not_to_be_filled_is_objected_to(host: LocalTarget, path: str, why: str) -> None:
    fault = DiskFill(path=path, free=SI(10 * MIB))
    assert (fault.objection(read(host, fault.reading())) or "").startswith(why)


def test_a_memory_that_would_be_short_is_objected_to() -> None:
    fault = DiskFill(path="/dev/shm", free=SI(100 * MIB))
    disk = Disk("/dev/shm", "tmpfs", 900 * MIB, 900 * MIB, 900 * MIB, writable=True, memory=1000 * MIB)
    assert "may lie in memory: 800 MiB would be taken of the 1,000 MiB" in (fault.objection(disk) or "")


@pytest.mark.parametrize("given", [{}, {"free": "1GB", "used": "90%"}, {"used": "0%"}, {"free": "1GB", "keep": "1MB"}])
def test_one_of_the_two_is_given_and_the_floor_has_one_itself(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        DiskFill.model_validate({"path": str(Path("/"))} | given)
