"""A command that the network holds back until its fuse is gone must do nothing: nobody would undo it a second time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chaos import catalog
from chaos.clock import SystemClock
from chaos.contracts import Target
from chaos.errors import TargetError
from chaos.record.events import EventLog
from chaos.run.fingerprint import drift, fingerprint
from chaos.run.fuse import HOME
from chaos.run.heartbeat import Heartbeat
from chaos.run.injector import Injection, Site, read
from chaos.run.ledger import Ledger
from tests.hosts import SshHosts, objection, ssh_hosts

pytestmark = pytest.mark.skipif(objection() is not None, reason=str(objection()))

LEASE = 1.0  # s; the fuse keeps watch for as long again once it has let go
KINDS: dict[str, dict[str, Any]] = {
    "partition": {"action": "reject"},
    "bandwidth": {"interface": "eth0", "rate": "5mbit"},
}
OVER = "for i in $(seq 150); do [ ! -e /run/gameday/fuses/{0}/over ] || exit 0; sleep 0.1; done; exit 1"


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(len(KINDS)) as up:
        for name in up.names:
            up.inside(name, "while ip -6 address show tentative | grep -q .; do sleep 0.1; done")
        yield up


def test_what_comes_after_its_fuse_is_not_done(hosts: SshHosts, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        lives = [
            threads.submit(_late, hosts, name, kind, tmp_path) for name, kind in zip(hosts.names, KINDS, strict=True)
        ]
    assert [life.result() for life in lives] == [("its fuse is not armed", True)] * len(KINDS)


def _late(hosts: SshHosts, name: str, kind: str, tmp_path: Path) -> tuple[str, bool]:
    """Apply over a network that is gone until the fuse is over; return what was said, and whether it stayed off."""
    with hosts.as_controller():
        target = hosts.target(name)
        before, injection = fingerprint(target), _armed(target, kind, tmp_path / kind)
        assert injection.fuse is not None
        hosts.cut(name)
        with ThreadPoolExecutor() as apart:
            applied = apart.submit(injection.act)  # on its way, and sent again and again
            hosts.inside(name, OVER.format(injection.fuse.name))
            hosts.mend(name)
            with pytest.raises(TargetError) as refused:
                applied.result()
        found = read(target, injection.fault.reading())
        assert injection.try_revert() == ""
        assert drift(before, fingerprint(target)) == []
        injection.events.close()
        target.close()
    return str(refused.value).splitlines()[-1].split(": ")[-1], found == injection.before


def _armed(target: Target, kind: str, folder: Path) -> Injection:
    folder.mkdir()
    beat = Heartbeat(target, LEASE, lambda _: None, lambda _: None)  # that never starts: the network is gone
    fault = catalog.faults().get(kind).model_validate(KINDS[kind])
    events, site = EventLog(folder / "events.jsonl", SystemClock()), Site(target, target, HOME, beat)
    injection = Injection(f"f-{kind}", fault, site, events, Ledger(folder), SystemClock(), LEASE, hold=60)
    injection.prepare()
    injection.arm()
    return injection
