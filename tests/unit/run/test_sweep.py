"""Marks of ours in a network namespace of the test's own: real qdiscs, devices, filters and tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.run.heal import check, heal
from chaos.run.lock import HostLock
from chaos.run.sweep import MARKS, Mark, sweep
from chaos.spec.inventory import Inventory, load_inventory
from chaos.targets.local import LocalTarget
from tests.unit.run.namespaced_host import namespaced_host

OURS = """
ip link add d0 type veth peer name d1
ip link add d8 index 77 type veth peer name d9 && tc qdisc add dev d8 clsact
ip link add gameday7fk0 type ifb && ip link add other7 type ifb && ip link set gameday7fk0 up
ip link add gameday4dt1 type ifb && ip link set gameday4dt1 up
tc filter add dev d8 ingress pref 65532 protocol all u32 match u32 0 0 action mirred egress redirect dev gameday4dt1
tc qdisc add dev d0 root handle c4a6: tbf rate 1mbit burst 10k limit 10k
tc qdisc add dev gameday7fk0 root handle c4a6: tbf rate 1mbit burst 10k limit 10k
tc qdisc add dev d1 root handle 7: tbf rate 1mbit burst 10k limit 10k
tc qdisc add dev d1 clsact
tc filter add dev d1 egress pref 7 protocol all u32 match u32 0 0 action mirred egress redirect dev other7
tc filter add dev d1 egress pref 65533 protocol ip u32 match ip dport 22 0xffff flowid :1
tc filter add dev d1 egress pref 65533 protocol ip u32 match ip sport 22 0xffff flowid :1
tc filter add dev d1 egress pref 65535 protocol all u32 match u32 0 0 action mirred egress redirect dev gameday7fk0
nft add table inet gameday_partition && nft add table ip gameday_x && nft add table inet mine_gameday_not
"""
SHOWN = """
tc qdisc show; ip -o link show type ifb; tc filter show dev d1 egress; nft list tables
"""
FOUND = {
    ("filter", "d1 egress pref 65533 protocol ip"),
    ("filter", "d8 ingress pref 65532 protocol all"),
    ("filter", "d1 egress pref 65535 protocol all"),
    ("root qdisc", "d0"),
    ("ifb device", "gameday7fk0"),
    ("ifb device", "gameday4dt1"),
    ("nftables table", "inet gameday_partition"),
    ("nftables table", "ip gameday_x"),
}


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalTarget, Inventory]]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with namespaced_host() as pid:
        file = tmp_path / "inventory.yaml"
        file.write_text(f"hosts: {{there: {{connection: netns, pid: {pid}}}}}\n")
        target = LocalTarget("there", pid)
        target.run(f"set -e; {OURS}")
        yield target, load_inventory(file)
        target.close()


def test_the_sweep_takes_what_is_ours_and_nothing_else(marked: tuple[LocalTarget, Inventory], tmp_path: Path) -> None:
    target, inventory = marked
    looked = sweep(target, MARKS, remove=False)
    assert sorted((found.name, found.item) for found in looked) == sorted(FOUND)
    assert not any(found.gone for found in looked), "looking removes nothing"

    assert not all(result.clean for result in check(inventory, tmp_path / "runs"))
    first = heal(inventory, tmp_path / "runs")
    assert sum(result.detail == "swept away" for result in first) == len(FOUND)
    assert all(result.clean for result in first)
    left = target.run(SHOWN).stdout
    assert "c4a6:" not in left
    assert "gameday" not in left.replace("mine_gameday_not", "")
    assert "qdisc clsact ffff: dev d8" not in left, "its device said that it was ours"
    assert "qdisc clsact ffff: dev d1" in left
    assert "qdisc tbf 7: dev d1 root" in left
    assert "pref 7 " in left
    assert "to device other7" in left
    assert "other7:" in left
    assert [line for line in left.splitlines() if line.startswith("table")] == ["table inet mine_gameday_not"]

    again = heal(inventory, tmp_path / "runs")
    assert {result.what for result in again} == {"nothing of ours"}
    assert target.run(SHOWN).stdout == left, "a second time changes nothing"
    assert all(result.clean for result in check(inventory, tmp_path / "runs"))


def test_what_a_living_run_elsewhere_made_stays(marked: tuple[LocalTarget, Inventory], tmp_path: Path) -> None:
    target, inventory = marked
    HostLock(target, "sre@another-machine pid 1", "drill", 60).take()
    before = target.run(SHOWN).stdout
    assert all(result.clean for result in heal(inventory, tmp_path / "runs"))
    assert target.run(SHOWN).stdout == before
    assert all(result.clean for result in check(inventory, tmp_path / "runs")), "nothing is left over: it is in use"


@pytest.mark.usefixtures("shell")
def test_what_stays_is_said_with_the_command_to_run_by_hand(host: LocalTarget, tmp_path: Path) -> None:
    for name in ("a b", "$(touch c)"):
        (tmp_path / "found" / name).mkdir(parents=True)
    marks = [
        Mark("folder", f"ls {tmp_path}/found", f'rmdir {tmp_path}/found/"$item"'),
        Mark("file", f"ls {tmp_path}/inventory", "false"),
    ]
    (tmp_path / "inventory").touch()
    swept = sweep(host, marks, remove=True)
    assert [(found.item, found.gone) for found in swept] == [
        ("$(touch c)", True),
        ("a b", True),
        (f"{tmp_path}/inventory", False),
    ]
    assert swept[2].by_hand == f"item={tmp_path}/inventory; false"


def test_a_host_that_can_not_be_reached_is_not_clean_and_stops_no_other(
    marked: tuple[LocalTarget, Inventory], tmp_path: Path
) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(f"{file.read_text().rstrip()[:-1]}, lost: {{connection: netns, pid: 4194305}}}}\n")
    inventory = load_inventory(file)
    assert [result.clean for result in check(inventory, tmp_path / "runs") if result.host == "lost"] == [False]
    found = heal(inventory, tmp_path / "runs")
    assert [(result.what, result.clean) for result in found if result.host == "lost"] == [("reachable", False)]
    assert "c4a6:" not in marked[0].run(SHOWN).stdout
