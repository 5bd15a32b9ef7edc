from __future__ import annotations

from pathlib import Path

import pytest

from chaos.errors import Locked
from chaos.run.lock import HostLock
from chaos.targets.local import LocalTarget


def lock(host: LocalTarget, home: Path, owner: str, lease: float = 60) -> HostLock:
    return HostLock(host, owner, lease, str(home))


def test_a_second_run_is_refused_and_told_who(host: LocalTarget, home: Path) -> None:
    mine, theirs = lock(host, home, "ann@desk pid 7"), lock(host, home, "bob's $(id) pid 8")
    mine.take()
    assert theirs.holder() == "ann@desk pid 7"
    with pytest.raises(Locked, match=r"another run holds this host \(ann@desk pid 7\)"):
        theirs.take()
    theirs.release()
    assert mine.holder() == "ann@desk pid 7", "a lock is released by its owner only"
    mine.release()
    theirs.take()
    assert theirs.holder() == "bob's $(id) pid 8"
    theirs.release()
    assert not home.exists()


def test_a_stale_lock_is_taken_over(host: LocalTarget, home: Path) -> None:
    lock(host, home, "ann", lease=0).take()
    bob = lock(host, home, "bob")
    bob.take()
    assert bob.holder() == "bob"


def test_a_stale_lock_stays_while_a_fuse_stands(host: LocalTarget, home: Path) -> None:
    lock(host, home, "ann", lease=0).take()
    (home / "fuses" / "netem-0").mkdir(parents=True)
    with pytest.raises(Locked, match=r"\(ann netem-0\)"):
        lock(host, home, "bob").take()


def test_a_lock_without_an_owner_is_held_too(host: LocalTarget, home: Path) -> None:
    (home / "lock").mkdir()
    with pytest.raises(Locked, match="somebody who did not say who"):
        lock(host, home, "bob").take()
