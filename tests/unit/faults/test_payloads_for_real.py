"""Payloads on a host with a real sshd: what they take, that they end with their fuse, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.contracts import Target
from chaos.faults import _payload
from chaos.faults.cpu import Cpu
from chaos.run.fuse import HOME
from chaos.run.sweep import MARKS, sweep
from tests import hosts
from tests.unit.faults.payload_hosts import Standing

pytestmark = pytest.mark.skipif(bool(hosts.objection()), reason=str(hosts.objection()))


@pytest.fixture(scope="module")
def host() -> Iterator[Target]:
    with hosts.ssh_hosts(1) as made, made.as_controller():
        target = made.target(made.names[0])
        yield target
        assert target.run("ls -A /run/gameday").stdout == ""
        target.close()


def cpu(share: str, **more: int) -> Cpu:
    return Cpu.model_validate({"cores": 1, "share": share, **more})


def groups(fault: _payload.PayloadFault) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/gameday-{fault.payload.name}"))


def test_payloads_lie_where_their_keepers_find_the_fuses() -> None:
    assert f"{HOME}/payloads" == _payload.HOME


def test_a_share_of_a_core_and_its_undo(host: Target) -> None:
    standing = Standing(host, cpu("20%", weight=1000))
    standing.apply()
    assert standing.is_applied()
    assert groups(cpu("20%", weight=1000))
    standing.eventually(lambda: standing.now().uptime > standing.now().report["began"] + 2)
    assert standing.confirmed().achieved["cpu_share"] == pytest.approx(0.2, abs=0.02)
    again = standing.fault.objection(standing.now())
    assert again is not None
    assert "is there already" in again
    standing.undo()
    assert groups(cpu("20%", weight=1000)) == []


def test_it_ends_with_its_fuse_or_its_keeper(host: Target) -> None:
    unfused, late, orphan = Standing(host, cpu("1%")), Standing(host, cpu("2%"), lease=2), Standing(host, cpu("3%"))
    host.run(f"kill -9 $(cat {late.fuse.folder}/guardian) $(cat {late.fuse.folder}/pid)")
    host.run(f"rm -rf {unfused.fuse.folder}")
    host.run(f"kill -9 $(cat {_payload.HOME}/{cpu('3%').payload.name}/keeper)")
    unfused.eventually(unfused.is_reverted)
    late.eventually(late.is_reverted)
    orphan.eventually(lambda: orphan.now().processes == 0)
    assert not orphan.is_applied()
    orphan.undo()
    late.fuse.disarm()
    unfused.fuse.disarm()


def test_a_fuse_that_fires_ends_it(host: Target) -> None:
    standing = Standing(host, cpu("4%"))
    assert standing.fuse.fire(10).startswith("clean")
    assert standing.is_reverted()
    standing.fuse.disarm()


def test_the_sweep_ends_one_that_nobody_knows_of(host: Target) -> None:
    standing = Standing(host, cpu("5%"))
    folder = f"{_payload.HOME}/{cpu('5%').payload.name}"
    looking = host.run(f"cd {folder} && {{ sleep 60 >/dev/null 2>&1 & echo $!; }}").stdout.strip()
    found = [(swept.name, swept.item) for swept in sweep(host, MARKS, remove=False)]
    assert ("payload", folder) in found
    marks = [mark for mark in MARKS if mark.name == "payload"]
    assert [swept.gone for swept in sweep(host, marks, remove=True)] == [True]
    assert standing.is_reverted()
    host.run(f"kill {looking}")  # who merely looked into the directory was left alone
    standing.fuse.disarm()
