"""Payloads on a host with a real sshd: what they take, that they end with their fuse, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from chaos.contracts import Target
from chaos.faults import _payload
from chaos.faults.cpu import Cpu
from chaos.faults.memory import Memory
from chaos.faults.memory_bandwidth import MemoryBandwidth
from chaos.run.fuse import HOME
from chaos.run.injector import read
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
    unfused, late, orphan = Standing(host, cpu("1%")), Standing(host, cpu("2%")), Standing(host, cpu("3%"))
    host.run(f"cd {late.fuse.folder} && kill -9 $(cat guardian) $(cat pid) && echo 1 >lease")
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


def memory(**target: str) -> Memory:
    return Memory.model_validate(target)


def test_memory_is_taken_and_locked_and_the_first_that_is_killed_for_it(host: Target) -> None:
    standing = Standing(host, memory(take="50MiB"))
    standing.apply()
    assert standing.confirmed().achieved["memory_taken_bytes"] == pytest.approx(50 << 20, rel=0.01)
    status = host.run("cd /proc/$(pgrep -f '^python3 -I -S ./program taken') && cat status oom_score_adj").stdout
    locked = int(status.split("VmLck:")[1].split()[0])
    assert locked > 40 << 10
    assert status.split()[-1] == "1000"
    standing.undo()


def test_memory_follows_what_others_take(host: Target) -> None:
    total, available = (float(memory_of(host)[name]) * 1024 for name in ("MemTotal", "MemAvailable"))
    standing = Standing(host, memory(available=f"{available - 0.02 * total:.0f}b"))
    asked = standing.fault.asked()["memory_available_bytes"]
    assert standing.confirmed().achieved["memory_available_bytes"] == pytest.approx(asked, abs=0.01 * total)
    standing.undo()


FAKE = """sed 's/^MemAvailable:.*/MemAvailable: {} kB/' /proc/meminfo >/run/fake
dd if=/run/fake of=/run/fake-meminfo conv=notrunc 2>/dev/null"""  # never empty in between


def test_memory_is_given_back_at_the_floor(host: Target) -> None:
    host.run(f"{FAKE.format(4 << 20)}\nmount --bind /run/fake-meminfo /proc/meminfo")
    try:
        standing = Standing(host, memory(take="20MiB", floor="1GiB"))
        assert standing.is_applied()
        host.run(FAKE.format(1000 << 10))
        standing.eventually(lambda: not standing.is_applied())
    finally:
        host.run("umount /proc/meminfo")
    assert "MemAvailable fell to 1000 MiB, below the floor of 1024 MiB" in standing.dose().why_not
    assert int(standing.now().also["taken"]) < 5 << 10
    standing.undo()


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ({"used": "97%"}, "less than the floor"),
        ({"take": "1TiB"}, "less than the floor"),
        ({"available": "70MiB"}, "less than the floor"),
        ({"used": "0.01%"}, "are available, and the target is"),
    ],
)
def test_memory_that_is_not_there_is_not_taken(host: Target, target: dict[str, str], why: str) -> None:
    fault = memory(**target)
    assert why in (fault.objection(read(host, fault.reading())) or "")


def memory_of(host: Target) -> Mapping[str, str]:
    seen: _payload.Seen = read(host, memory(take="16MiB").reading())
    return seen.also


def copying(**given: int | str) -> MemoryBandwidth:
    return MemoryBandwidth.model_validate({"processes": 1, **given})


def test_memory_is_copied_for_as_long_as_it_lasts(host: Target) -> None:
    cache = int(read(host, copying().reading()).also["cache"])
    standing = Standing(host, copying(buffer=f"{max(17 << 20, cache * 1024 + (1 << 20))}b"))
    first = standing.eventually(lambda: standing.now().report.get("copied", 0))
    standing.eventually(lambda: standing.now().report["copied"] > first)
    dose = standing.confirmed()
    assert dose.achieved["copied_bytes_per_s"] > 1e6
    standing.undo()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"processes": 4096}, "4096 processes were asked for, and"),
        ({"buffer": "4TiB"}, "of buffers are too much where"),
    ],
)
def test_copying_that_would_do_harm_is_objected_to(host: Target, given: dict[str, int | str], why: str) -> None:
    fault = copying(**given)
    assert why in (fault.objection(read(host, fault.reading())) or "")
