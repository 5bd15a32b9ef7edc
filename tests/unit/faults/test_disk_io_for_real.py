"""disk_io on a host with a real sshd and this machine's disk: what the kernel counts, and that nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from chaos.contracts import Target
from chaos.faults.disk_io import DiskIo
from chaos.run.injector import read
from tests import hosts
from tests.unit.faults.payload_hosts import Standing

pytestmark = pytest.mark.skipif(bool(hosts.objection()), reason=str(hosts.objection()))


@pytest.fixture(scope="module")
def host() -> Iterator[Target]:
    with hosts.ssh_hosts(1) as made, made.as_controller():
        target = made.target(made.names[0])
        yield target
        target.close()


def moved(host: Target) -> float:
    """Bytes that all disks have read and written: fields 6 and 10 of /proc/diskstats, sectors of 512 bytes."""
    lines = [line.split() for line in host.run("cat /proc/diskstats").stdout.splitlines()]
    return 512.0 * sum(int(fields[5]) + int(fields[9]) for fields in lines)


def test_the_disks_own_counters_show_it_and_nothing_is_left(host: Target, tmp_path: Path) -> None:
    free = read(host, DiskIo(path="/").reading()).also["statfs"]
    fault = DiskIo.model_validate({"path": str(tmp_path), "workers": 2, "block": "64KiB"})
    counted = moved(host)
    standing = Standing(host, fault)
    standing.apply()
    dose = standing.eventually(standing.dose, lambda dose: dose.achieved.get("disk_bytes_per_s", 0) > 0)
    first = standing.now()
    standing.eventually(standing.now, lambda now: now.uptime > first.uptime + 1)
    last = standing.now()
    assert moved(host) - counted >= int(last.also["moved"]), "what the processes moved, the disk has moved"
    assert int(last.also["moved"]) - int(first.also["moved"]) >= 16 * 65536
    assert (dose.confirmed, dose.achieved["workers"]) == (True, 2)
    assert dose.achieved["disk_bytes_per_s"] == pytest.approx(65536 * dose.achieved["requests_per_s"])
    assert "is there already" in (fault.objection(last) or "")
    standing.undo()
    assert list(tmp_path.iterdir()) == []
    assert free.split()[:3] == read(host, DiskIo(path="/").reading()).also["statfs"].split()[:3]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/nosuch", "there is no directory /nosuch"),
        ("/run", "/run is none of ext4, xfs, btrfs, f2fs, but tmpfs, which is no disk of this host's own"),
    ],
)
def test_what_is_no_disk_is_objected_to(host: Target, path: str, why: str) -> None:
    fault = DiskIo(path=path)
    assert fault.objection(read(host, fault.reading())) == why


@pytest.mark.parametrize("block", ["1KiB", "12KiB", "65537B", "32MiB"])
def test_a_block_is_whole_pages(block: str) -> None:
    with pytest.raises(ValidationError):
        DiskIo.model_validate({"path": "/", "block": block})
