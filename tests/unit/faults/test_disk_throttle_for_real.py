"""disk_throttle on a cgroup of the test's own: how long a write takes there, and the limits put back to the letter."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chaos.faults.disk_throttle import DiskThrottle, Limits
from chaos.run.injector import read
from chaos.targets.local import LocalTarget

BLKIO = Path("/sys/fs/cgroup/blkio")
HOST = LocalTarget("here")
NAME = f"throttle-test-{os.getpid()}"
PATH = "/var/tmp"


@pytest.fixture
def group() -> Iterator[Path]:
    if os.geteuid() or not (BLKIO / "blkio.throttle.read_bps_device").exists():
        pytest.skip("needs root and cgroup v1's blkio")
    folder = BLKIO / NAME
    folder.mkdir()
    yield folder
    folder.rmdir()


def fault(**more: Any) -> DiskThrottle:
    return DiskThrottle.model_validate({"cgroup": NAME, "path": PATH} | more)


def act(throttle: DiskThrottle, before: Limits, times: int = 1) -> None:
    for action in throttle.apply(before) * times:
        HOST.perform(action)


def undo(throttle: DiskThrottle, before: Limits) -> bool:
    [action] = [HOST.render(action) for action in throttle.revert(before)]
    HOST.run(action.do)
    return HOST.run(f"({action.until})", check=False).status == 0


def test_a_write_takes_as_long_as_the_limit_says(group: Path, tmp_path: Path) -> None:
    throttle = fault(path=str(tmp_path), write="1mibps")
    before = read(HOST, throttle.reading())
    if throttle.objection(before):
        pytest.skip(throttle.objection(before) or "")
    assert undo(throttle, before), "there was nothing to undo"
    act(throttle, before, 2)
    began = time.monotonic()
    write = f"dd if=/dev/zero of='{tmp_path}/file' bs=64k count=32 oflag=direct 2>/dev/null"
    HOST.run(f"echo $$ >{group}/cgroup.procs; {write}")
    assert time.monotonic() - began > 1.5, "2 MiB at 1 MiB/s"
    now = read(HOST, throttle.reading())
    assert throttle.dose(before, now).achieved == throttle.asked() == {"write_bytes_per_s": 2**20}
    for _ in range(2):
        assert undo(throttle, before)
        assert read(HOST, throttle.reading()) == before
    assert (group / "blkio.throttle.write_bps_device").read_text() == ""


def test_limits_that_were_there_are_put_back(group: Path) -> None:
    throttle = fault(read="1mbps", write="2mbps", reads="10/s", writes="20/s")
    before = read(HOST, throttle.reading())
    (group / "blkio.throttle.read_bps_device").write_text(f"{before.disk} 5000000")
    (group / "blkio.throttle.write_iops_device").write_text(f"{before.disk} 500")
    before = read(HOST, throttle.reading())
    assert throttle.objection(before) is None
    assert dict(before.values) == {"rbps": "5000000", "wbps": "max", "riops": "max", "wiops": "500"}
    act(throttle, before)
    now = read(HOST, throttle.reading())
    assert throttle.is_applied(before, now)
    assert not throttle.is_reverted(before, now)
    assert dict(now.values) == throttle.limits
    assert undo(throttle, before)
    assert read(HOST, throttle.reading()) == before
    assert throttle.objection(now) == f"rbps, wbps, riops, wiops of {NAME} is as tight already"


def test_a_cgroup_that_went_away_has_no_limits(group: Path) -> None:
    throttle = fault(read="1mbps")
    before = read(HOST, throttle.reading())
    act(throttle, before)
    group.rmdir()
    try:
        assert undo(throttle, before)
        now = read(HOST, throttle.reading())
        assert (throttle.is_reverted(before, now), throttle.dose(before, now).confirmed) == (True, False)
    finally:
        group.mkdir()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"path": "/proc"}, "below /proc is no disk"),
        ({"path": "/nosuch"}, "below /nosuch is no disk"),
        ({"cgroup": "no/such"}, "there is no cgroup no/such"),
    ],
)
@pytest.mark.usefixtures("group")
def test_what_is_not_there_is_objected_to(more: dict[str, str], why: str) -> None:
    throttle = fault(read="1mbps", **more)
    assert (throttle.objection(read(HOST, throttle.reading())) or "").startswith(why)


def test_who_asks_is_not_throttled() -> None:
    for asking, cgroup in (("/a.slice/ssh.service", "a.slice"), ("/a.slice", "a.slice"), ("/", "gameday-fuse")):
        found = Limits("8:0", 2, asking=asking)
        assert "the controller's own commands" in (fault(read="1mbps", cgroup=cgroup).objection(found) or "")
    assert fault(read="1mbps", cgroup="a").objection(Limits("8:0", 2, asking="/a.slice")) is None


@pytest.mark.parametrize("cgroup", ["", "/", "..", "a/../b", "a//b", "-a", "a b", "$(x)"])
def test_what_is_no_cgroup_is_refused(cgroup: str) -> None:
    with pytest.raises(ValidationError, match="is no cgroup"):
        fault(read="1mbps", cgroup=cgroup)


@pytest.mark.parametrize(
    ("io_max", "former", "clean"),
    [
        ("", "max", True),
        ("8:0 rbps=max wbps=5 riops=max wiops=max", "max", True),
        ("8:0 rbps=1000000 wbps=5 riops=max wiops=max", "max", False),
        ("8:0 rbps=5000000 wbps=max riops=max wiops=max", "5000000", True),
        ("8:0 rbps=50000001 wbps=max riops=max wiops=max", "5000000", False),
        ("18:0 rbps=5000000 wbps=max riops=max wiops=max", "5000000", False),
    ],
)
def test_io_max_is_written_and_looked_at_limit_by_limit(io_max: str, former: str, clean: bool, tmp_path: Path) -> None:
    """The file is the test's own: not every kernel that runs this has the io controller of version 2."""
    throttle = fault(read="1mbps")
    before = Limits("8:0", 2, (("rbps", former), ("wbps", "max"), ("riops", "max"), ("wiops", "max")))
    [apply], [revert] = (
        [HOST.render(a) for a in actions] for actions in (throttle.apply(before), throttle.revert(before))
    )
    (tmp_path / "io.max").write_text(io_max + "\n")
    here = revert.until.replace(f"/sys/fs/cgroup/{NAME}", str(tmp_path))
    assert (HOST.run(f"({here})", check=False).status == 0) == clean
    for script, value in ((apply.do, "1000000"), (revert.do, former)):
        HOST.run(script.replace(f"/sys/fs/cgroup/{NAME}", str(tmp_path)))
        assert (tmp_path / "io.max").read_text() == f"8:0 rbps={value}\n"
