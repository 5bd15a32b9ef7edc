"""The lock of a host, on this machine as the host: takers that really run at once, in every shell."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chaos.errors import Locked
from chaos.run.lock import HostLock, is_dead, this_process
from chaos.targets.local import LocalTarget

TAKERS = 20


def lock(host: LocalTarget, home: Path, owner: str, lease: float = 60, run: str = "drill") -> HostLock:
    return HostLock(host, owner, run, lease, str(home))


def holder(lock: HostLock) -> str:
    held = lock.held()
    return held.owner if held else ""


def stand_fuse(home: Path, state: str = "") -> Path:
    fuse = home / "fuses" / "netem-0"
    fuse.mkdir(parents=True)
    if state:
        (fuse / "state").write_text(f"{state}\n")
    return fuse


def dead_owner() -> str:
    died = subprocess.Popen(["true"])
    died.wait()
    name = this_process()
    return name.replace(f"pid {name.partition(' pid ')[2].split()[0]}", f"pid {died.pid}")


def renewed(mine: HostLock) -> str:
    return mine.target.run(mine.renewal).stdout.strip()


@pytest.mark.usefixtures("shell")
def test_a_second_run_is_refused_and_told_who(host: LocalTarget, home: Path) -> None:
    mine, theirs = lock(host, home, "ann@desk pid 7"), lock(host, home, "bob's $(id) pid 8", run="`it's`")
    mine.take()
    assert holder(theirs) == "ann@desk pid 7"
    with pytest.raises(
        Locked, match=r"another run holds this host \(ann@desk pid 7, run drill, since \d+ s; its lease lasts another"
    ):
        theirs.take()
    theirs.release()
    assert holder(mine) == "ann@desk pid 7", "a lock is released by its owner only"
    mine.release()
    theirs.take()
    assert holder(theirs) == "bob's $(id) pid 8"
    assert renewed(theirs) == "held"
    theirs.release()
    assert not home.exists()


def test_another_run_of_the_same_owner_is_refused_too(host: LocalTarget, home: Path) -> None:
    first, second = lock(host, home, this_process()), lock(host, home, this_process(), run="other")
    first.take()
    with pytest.raises(Locked, match="run drill"):
        second.take()
    second.release()
    assert holder(first) == this_process()


@pytest.mark.usefixtures("shell")
def test_a_stale_lock_is_taken_over(host: LocalTarget, home: Path) -> None:
    lock(host, home, "ann", lease=0).take()
    bob = lock(host, home, "bob")
    assert holder(bob) == ""
    bob.take()
    assert holder(bob) == "bob"


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("state", ["", "armed", "reverting 2: why", "STUCK: why"])
def test_a_stale_lock_stays_while_a_fuse_has_not_let_go(host: LocalTarget, home: Path, state: str) -> None:
    lock(host, home, "ann", lease=0).take()
    stand_fuse(home, state)
    with pytest.raises(Locked, match=r"ann, run drill, .*; not let go yet: netem-0\)"):
        lock(host, home, "bob").take()
    assert holder(lock(host, home, "bob")) == "ann"


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("state", ["clean: the lease was not renewed", "disarmed"])
def test_a_fuse_that_has_let_go_keeps_no_stale_lock(host: LocalTarget, home: Path, state: str) -> None:
    lock(host, home, "ann", lease=0).take()
    stand_fuse(home, state)
    lock(host, home, "bob").take()
    assert holder(lock(host, home, "eve")) == "bob"


def test_a_dead_owner_s_lock_is_taken_over_once_its_fuse_let_go(host: LocalTarget, home: Path) -> None:
    lock(host, home, dead_owner()).take()
    fuse = stand_fuse(home, "armed")
    with pytest.raises(Locked):
        lock(host, home, "bob").take()
    (fuse / "state").write_text("clean: on request\n")
    lock(host, home, "bob").take()
    assert holder(lock(host, home, "eve")) == "bob"


def test_who_is_known_to_be_dead() -> None:
    assert is_dead(dead_owner())
    assert not is_dead(this_process())
    assert not is_dead("ann@another-machine pid 999999999")
    assert not is_dead(f"ann@{socket.gethostname()} pid 999999999 in pid:[1]"), "in another namespace nobody can tell"


def test_a_lock_without_an_owner_is_held_too_and_heal_may_drop_it(host: LocalTarget, home: Path) -> None:
    (home / "lock").mkdir()
    with pytest.raises(Locked, match="somebody who did not say who"):
        lock(host, home, "bob").take()
    lock(host, home, "bob").drop_abandoned()
    assert not home.exists()


@pytest.mark.parametrize("lease", [0, 60])
def test_only_an_abandoned_lock_is_dropped(host: LocalTarget, home: Path, lease: float) -> None:
    lock(host, home, "ann", lease).take()
    lock(host, home, "bob").drop_abandoned()
    assert (home / "lock").exists() == bool(lease)


@pytest.mark.usefixtures("shell")
def test_a_renewal_says_whose_the_lock_is(host: LocalTarget, home: Path) -> None:
    ann = lock(host, home, "ann", lease=0.5)
    assert renewed(ann) == "gone"
    assert list(home.iterdir()) == [], "a renewal makes no lock"
    ann.take()
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        assert renewed(ann) == "held"
        time.sleep(0.1)
    bob = lock(host, home, "bob", run="other")
    with pytest.raises(Locked):
        bob.take()
    assert renewed(bob) == "ann, run drill"
    time.sleep(0.6)
    assert renewed(ann) == "held", "what ran out and was not taken over is still ours"
    time.sleep(0.6)
    bob.take()
    assert renewed(ann) == "bob, run other"
    assert holder(bob) == "bob"


def test_a_renewal_in_time_waits_for_nobody(host: LocalTarget, home: Path) -> None:
    ann = lock(host, home, "ann")
    ann.take()
    with subprocess.Popen(["flock", str(home / "mutex"), "cat"], stdin=subprocess.PIPE) as holds:
        try:
            assert host.run(ann.renewal, timeout=10).stdout == "held\n"
        finally:
            holds.kill()


def win(take: Callable[[], None]) -> bool:
    try:
        take()
    except Locked:
        return False
    return True


@pytest.mark.parametrize("former", ["none", "stale", "dead", "vanishing"])
def test_of_many_takers_at_once_exactly_one_wins(host: LocalTarget, home: Path, former: str) -> None:
    owners = [lock(host, home, f"owner {number}") for number in range(TAKERS)]
    dead = dead_owner()
    with ThreadPoolExecutor(TAKERS) as pool:
        for _ in range(4):
            match former:
                case "stale":
                    lock(host, home, "ann", lease=0).take()
                case "dead":
                    lock(host, home, dead).take()
                case "vanishing":  # the folder goes away under the takers
                    ann = lock(host, home, "ann")
                    ann.take()
                    pool.submit(ann.release)
            won = [owner for owner, won in zip(owners, pool.map(win, (o.take for o in owners)), strict=True) if won]
            if former == "vanishing" and not won:
                continue  # all came before the release
            assert len(won) == 1
            assert holder(won[0]) == won[0].owner
            won[0].release()
            assert not (home / "lock").exists()


def test_a_taker_that_dies_with_the_mutex_stops_nobody(host: LocalTarget, home: Path) -> None:
    held = ["flock", str(home / "mutex"), "sh", "-c", "echo held; exec cat"]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taker:
        assert taker.stdout is not None
        assert taker.stdout.readline() == b"held\n"
        taker.kill()
        assert taker.stdin is not None
        taker.stdin.close()
        lock(host, home, "bob").take()
    assert holder(lock(host, home, "eve")) == "bob"
