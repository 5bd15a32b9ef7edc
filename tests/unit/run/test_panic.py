"""A panic on hosts of the test's own: namespaces with real fuses of runs that are alive, and of some that are dead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chaos.cli.app import app
from chaos.contracts import Target
from chaos.errors import Exit, LockedOut
from chaos.run.connect import controller, controller_home
from chaos.run.fuse import Fuse, Undo
from chaos.run.heal import check
from chaos.run.ledger import Entry, Ledger
from chaos.run.lock import HostLock
from chaos.run.panic import panic, release
from chaos.run.preflight import preflight
from chaos.spec.inventory import Inventory, load_inventory
from chaos.targets.local import LocalTarget
from tests.unit.run.existing_loads import planned
from tests.unit.run.namespaced_host import namespaced_host

ELSEWHERE = "sre@another-machine pid 1"


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, LocalTarget]]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with ExitStack() as stack:
        first = {name: stack.enter_context(namespaced_host()) for name in ("one", "two")}
        lines = [f"  {name}: {{connection: netns, pid: {pid}}}\n" for name, pid in first.items()]
        (tmp_path / "inventory.yaml").write_text("hosts:\n" + "".join(lines))
        yield {name: LocalTarget(name, pid) for name, pid in first.items()}


@pytest.fixture
def inventory(hosts: dict[str, LocalTarget], tmp_path: Path) -> Inventory:
    assert hosts
    return load_inventory(tmp_path / "inventory.yaml")


def armed(target: Target, home: str = "/run/gameday", fault: str = "/run/fault") -> Fuse:
    fuse = Fuse(target, "f-0", Undo(f"rm -f '{fault}'\n", f"[ ! -e '{fault}' ]\n"), 60, 60, home)
    fuse.arm()
    target.run(f"touch '{fault}'")
    return fuse


def is_on(target: Target) -> bool:
    return target.run("[ -e /run/fault ]", check=False).status == 0


def test_everything_is_undone_whoever_owns_it(
    hosts: dict[str, LocalTarget], inventory: Inventory, tmp_path: Path
) -> None:
    lock = HostLock(hosts["one"], ELSEWHERE, "drill", 60)
    lock.take()
    living, orphan = armed(hosts["one"]), armed(hosts["two"])
    mine = armed(controller(), controller_home(), str(tmp_path / "fault"))
    hosts["two"].run("ip link add gameday2t0 type ifb")

    found = {result.host: result for result in panic(inventory, tmp_path / "runs")}
    assert {name: result.clean for name, result in found.items()} == {"one": True, "two": True, "controller": True}
    assert not any(is_on(target) for target in hosts.values())
    assert not (tmp_path / "fault").exists()
    assert hosts["two"].run("ip -o link show type ifb").stdout == ""
    assert living.state() == "clean: on request", "it keeps watch while its run, that is alive, ends"
    assert (orphan.state(), mine.state()) == ("", "")
    assert hosts["one"].run(lock.renewal).stdout == "panic\n", "the run's heartbeat finds out"
    living.disarm()
    lock.release()
    assert all(result.clean for result in check(inventory, tmp_path / "runs"))
    again = panic(inventory, tmp_path / "runs")
    assert all(result.clean for result in again)


def test_no_run_begins_until_it_is_released(
    hosts: dict[str, LocalTarget], inventory: Inventory, tmp_path: Path
) -> None:
    panic(inventory, tmp_path / "runs")
    lock = HostLock(hosts["one"], ELSEWHERE, "drill", 60)
    with pytest.raises(LockedOut, match=r"one: `gameday panic` was called by .* pid \d+ at .* UTC; .*--release"):
        lock.take()
    plan = planned(
        tmp_path, "{prometheus: 'http://127.0.0.1:9', query: up, interval: 1s}", "{baseline: 10s, observe: 10s}"
    )
    refused = [finding for finding in preflight(plan, hosts) if not finding.fine]
    assert [(finding.host, finding.what) for finding in refused] == [
        ("one", "no panic"), ("two", "no panic"), ("controller", "no panic"),
    ]  # fmt: skip
    assert all("--release" in finding.detail for finding in refused)
    released = release(inventory)
    assert all(result.detail.startswith("released; it was called by") for result in released)
    assert [result.detail for result in release(inventory)] == ["there was none"] * 3
    lock.take()
    assert hosts["one"].run(lock.renewal).stdout == "held\n"
    lock.release()
    assert hosts["one"].run("[ ! -e /run/gameday ]").status == 0, "nothing of it stays"


def test_a_fuse_whose_program_was_killed(hosts: dict[str, LocalTarget], inventory: Inventory, tmp_path: Path) -> None:
    fuse = armed(hosts["one"])
    hosts["one"].run(f"kill -9 $(cat {fuse.folder}/pid)")
    assert all(result.clean for result in panic(inventory, tmp_path / "runs"))
    assert not is_on(hosts["one"])


def test_a_ledger_alone(hosts: dict[str, LocalTarget], inventory: Inventory, tmp_path: Path) -> None:
    hosts["two"].run("touch /run/fault")
    folder = tmp_path / "runs" / "exp" / "1"
    folder.mkdir(parents=True)
    ledger = Ledger(folder)
    ledger.open(Entry("f-1", "two", "host", "f-1", Undo("rm -f /run/fault\n", "[ ! -e /run/fault ]\n")))
    assert all(result.clean for result in panic(inventory, tmp_path / "runs"))
    assert not is_on(hosts["two"])
    assert ledger.still_open() == []


def test_what_can_not_be_reached_or_undone_is_said_and_stops_nothing(
    hosts: dict[str, LocalTarget], tmp_path: Path
) -> None:
    with (tmp_path / "inventory.yaml").open("a") as file:
        file.write("  lost: {connection: netns, pid: 4194305}\n")
    armed(hosts["one"])
    arguments = ["panic", "-i", str(tmp_path / "inventory.yaml"), "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == Exit.STUCK
    assert "STUCK  lost: " in done.output
    assert "clean  one: " in done.output
    assert not is_on(hosts["one"])
    said = CliRunner().invoke(app, [*arguments, "--release"])
    assert said.exit_code == Exit.STUCK
    assert "clean  one: panic: released; it was called by" in said.output
