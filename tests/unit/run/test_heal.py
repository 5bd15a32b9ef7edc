"""Finishing what a dead run left, on this machine as the only host of an inventory."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from chaos.run import heal as heal_module
from chaos.run.fuse import Undo
from chaos.run.heal import heal
from chaos.run.ledger import Entry, Ledger
from chaos.run.lock import HostLock
from chaos.spec.inventory import load_inventory
from chaos.targets.local import LocalTarget
from tests.unit.run.running_fuses import fault_of, fuse_for


@pytest.fixture
def runs(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(heal_module, "HOME", str(home))
    monkeypatch.setattr(heal_module, "MARKS", ())  # this machine may bear marks of others' tests
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "runs" / "exp" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "inventory.yaml").write_text("hosts: {here: {connection: local}}\n")
    return tmp_path / "runs"


def healed(runs: Path) -> list[tuple[str, bool, str]]:
    found = heal(load_inventory(runs.parent / "inventory.yaml"), runs)
    return [(result.what, result.clean, result.detail) for result in found]


def test_a_run_that_died_with_its_fault_on(host: LocalTarget, home: Path, runs: Path) -> None:
    fuse, fault, ledger = fuse_for(host, home), fault_of(home), Ledger(runs / "exp" / "1")
    ledger.open(Entry("f-0", "here", "host", "f-0", fuse.undo))
    fuse.arm()
    assert healed(runs)[0] == ("f-0", True, "undone; its fuse said 'armed'")
    assert not fault.exists()
    assert ledger.still_open() == []
    assert all(what == "nothing of ours" for what, _, _ in healed(runs)), "a second time finds nothing"


def test_the_ledger_alone(host: LocalTarget, home: Path, runs: Path) -> None:
    fuse, fault, ledger = fuse_for(host, home), fault_of(home), Ledger(runs / "exp" / "1")
    ledger.open(Entry("f-0", "here", "host", "f-0", fuse.undo))
    assert healed(runs)[0] == ("f-0", True, "undone from the ledger")
    assert not fault.exists()


def test_the_host_alone(host: LocalTarget, home: Path, runs: Path) -> None:
    fuse, fault = fuse_for(host, home), fault_of(home)
    fuse.arm()
    (home / "lock").mkdir()
    assert healed(runs)[0] == ("f-0", True, "undone; its fuse said 'armed'")
    assert not fault.exists()
    assert not home.exists()


def test_a_run_that_is_alive_is_left_alone(host: LocalTarget, home: Path, runs: Path) -> None:
    fuse, fault, ledger = fuse_for(host, home), fault_of(home), Ledger(runs / "exp" / "1")
    ledger.open(Entry("f-0", "here", "host", "f-0", fuse.undo))
    fuse.arm()
    with ledger.alive():
        healed(runs)
    assert fault.exists()
    assert fuse.state() == "armed"
    fuse.disarm()


def test_what_can_not_be_undone_is_said(home: Path, runs: Path) -> None:
    fault_of(home)
    ledger = Ledger(runs / "exp" / "1")
    fuse = fuse_for(LocalTarget("here"), home)
    ledger.open(Entry("f-0", "here", "host", "f-0", type(fuse.undo)("false\n", fuse.undo.clean)))
    found = heal(load_inventory(runs.parent / "inventory.yaml"), runs)
    assert any("still there; run on here as root: cd " in result.detail for result in found if not result.clean)
    assert len(ledger.still_open()) == 1


def test_hosts_are_healed_side_by_side_each_in_its_order_and_those_stuck_are_told(home: Path, runs: Path) -> None:
    names = ("a", "b", "c", "d")
    (runs.parent / "inventory.yaml").write_text(f"hosts: {{{', '.join(f'{n}: {{connection: local}}' for n in names)}}}")
    met, gone = (runs.parent / folder for folder in ("met", "gone"))
    met.mkdir()
    gone.mkdir()
    everybody = f"cd {met}; touch $me; for i in {' '.join(map(str, range(200)))}; do"
    meets = f"{everybody} [ ! -e a ] || [ ! -e b ] || [ ! -e d ] || exit 0; sleep 0.1; done; exit 1"
    ledger, other = Ledger(runs / "exp" / "1"), Ledger(runs / "exp" / "2")
    (runs / "exp" / "2").mkdir()
    for name in names:
        do = "exit 1" if name == "c" else f"(me={name}; {meets}) && touch {gone}/{name}"
        ledger.open(Entry(f"f@{name}", name, "host", f"f@{name}", Undo(f"{do}\n", f"[ -e {gone}/{name} ]\n")))
        second = Undo(f"[ -e {gone}/{name} ] && touch {gone}/{name}.2\n", f"[ -e {gone}/{name}.2 ]\n")
        other.open(Entry(f"g@{name}", name, "host", f"g@{name}", second))
    results = heal(load_inventory(runs.parent / "inventory.yaml"), runs)
    # one machine is all four: what one heal takes away another may be about to look at
    found = {result.what: result.clean for result in results if result.what != "reachable"}
    assert [name for name, clean in found.items() if not clean] == ["f@c", "g@c"], results
    assert {entry.id for entry in (*ledger.still_open(), *other.still_open())} == {"f@c", "g@c"}
    assert not home.joinpath("fuses").exists()


def test_what_a_living_run_elsewhere_has_armed_is_left_alone_and_said(
    host: LocalTarget, home: Path, runs: Path
) -> None:
    lock = HostLock(host, "sre@another-machine pid 1", "drill", 60, str(home))
    lock.take()
    fuse, fault = fuse_for(host, home), fault_of(home)
    fuse.arm()
    found = heal(load_inventory(runs.parent / "inventory.yaml"), runs)
    assert [result.clean for result in found if "sre@another-machine pid 1" in result.detail] == [False]
    assert fault.exists()
    assert fuse.state() == "armed"
    lock.release()
    assert ("f-0", True, "undone; its fuse said 'armed'") in healed(runs)


@pytest.mark.parametrize("owner", ["dead", "abandoned"])
def test_a_lock_that_nobody_alive_holds_is_dropped(owner: str, host: LocalTarget, home: Path, runs: Path) -> None:
    died = subprocess.Popen(["true"])
    died.wait()
    names = {"dead": f"sre@{socket.gethostname()} pid {died.pid}", "abandoned": "sre@another-machine pid 1"}
    HostLock(host, names[owner], "drill", 60 if owner == "dead" else 0, str(home)).take()
    healed(runs)
    assert not (home / "lock").exists()


def test_a_damaged_ledger_is_said_and_the_hosts_are_swept_all_the_same(home: Path, runs: Path) -> None:
    (home / "fuses" / "f-9").mkdir(parents=True)
    (runs / "exp" / "0").mkdir(parents=True)
    (runs / "exp" / "0" / "ledger.jsonl").write_text("not json\n{}\n", encoding="utf-8")
    found = heal(load_inventory(runs.parent / "inventory.yaml"), runs)
    assert [result.clean for result in found if "ledger.jsonl" in result.what] == [False]
    assert [result.clean for result in found if result.what == "f-9"] == [True]


def test_a_fuse_that_was_never_started(home: Path, runs: Path) -> None:
    (home / "fuses" / "f-9").mkdir(parents=True)
    assert healed(runs)[0] == ("f-9", True, "a fuse that was never armed; nothing had been applied")
