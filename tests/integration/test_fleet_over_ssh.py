"""Runs over many hosts at once: each a namespace with a real sshd, a real tbf on each, and one real controller."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chaos.clock import NS, SystemClock
from chaos.errors import NotApplied, TargetError
from chaos.faults.bandwidth import Bandwidth
from chaos.record.events import EventLog, read_jsonl
from chaos.run.fleet import Fleet
from chaos.run.fuse import HOME, SLEEPER
from chaos.run.heartbeat import Heartbeat
from chaos.run.injector import Injection, Site
from chaos.run.ledger import Ledger
from chaos.run.stop import Stop
from tests.hosts import SshHosts, ssh_hosts
from tests.punctual import on_time, tried_again_where_late

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

EXPERIMENT = """
name: narrow links
load:
  url: http://127.0.0.1:{port}/
  arrivals: {{process: constant, rate: 20/s}}
timeline: {{warmup: 0s, baseline: {baseline}s, observe: {observe}s}}
faults:
  - {{kind: bandwidth, on: {{group: workers, pick: all}}, for: {hold}s, rate: 20mbit, interface: eth0, {more}}}
"""
COUNT = 20


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(COUNT) as hosts:
        yield hosts


@contextmanager
def service(hosts: SshHosts) -> Iterator[str]:
    """Serve on the controller's loopback; yields the port."""
    argv = [*hosts.enter_command, sys.executable, "-m", "probes.null_server"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


@contextmanager
def running(hosts: SshHosts, tmp_path: Path, **given: Any) -> Iterator[subprocess.Popen[str]]:
    """A run of the experiment, as a process in the controller's namespace."""
    experiment = tmp_path / "narrow.yaml"
    with service(hosts) as port:
        experiment.write_text(EXPERIMENT.format(port=port, **given), encoding="utf-8")
        options = ["-i", str(hosts.inventory_path), "--out", str(tmp_path / "runs"), "--json"]
        argv = [*hosts.enter_command, sys.executable, "-m", "chaos", "run", str(experiment), *options]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            yield run


def events(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    return [e for log in tmp_path.glob("runs/*/2*/events.jsonl") for e in read_jsonl(log) if e["event"] == name]


def wait_for(tmp_path: Path, name: str, count: int, within: float = 60) -> None:
    end = time.monotonic() + within
    while len(events(tmp_path, name)) < count:
        assert time.monotonic() < end, f"{count} of {name} did not come within {within:.0f} s"
        time.sleep(0.05)


def tree(hosts: SshHosts, name: str) -> str:
    return hosts.inside(
        name, "tc qdisc show; ip -o link show | sed 's/^[0-9]*: //'; ls -A /run/gameday 2>/dev/null; true"
    )


@tried_again_where_late
def test_a_stop_reads_every_host_clean_within_two_seconds(hosts: SshHosts, tmp_path: Path) -> None:
    before = {name: tree(hosts, name) for name in hosts.names}
    with running(hosts, tmp_path, baseline=3, observe=60, hold=55, more="start: together") as run:
        wait_for(tmp_path, "fleet.applied", 1)
        assert all("tbf" in tree(hosts, name) for name in hosts.names)
        stopped = datetime.now(UTC)
        os.kill(controller_of(run), signal.SIGINT)
        out, _ = run.communicate(timeout=60)
    cleared = [datetime.fromisoformat(event["utc"]) for event in events(tmp_path, "fault.cleared")]
    assert len(cleared) == COUNT
    assert run.returncode == 4
    assert json.loads(out)["verdict"] == "unknown"
    assert {name: tree(hosts, name) for name in hosts.names} == before
    [applied] = events(tmp_path, "fleet.applied")
    assert (applied["hosts"], applied["together"]) == (COUNT, True)
    assert applied["spread_s"] < 5
    on_time((max(cleared) - stopped).total_seconds(), 2.0)


@contextmanager
def together(hosts: SshHosts, folder: Path, names: Sequence[str]) -> Iterator[Fleet]:
    """A fleet that is armed, in this process, on some of the hosts."""
    clock, ledger = SystemClock(), Ledger(folder)
    log, fault = (
        EventLog(folder / "events.jsonl", clock),
        Bandwidth.model_validate({"rate": "20mbit", "interface": "eth0"}),
    )
    with hosts.as_controller():
        targets = [hosts.target(name) for name in names]
        sites = [Site(t, t, HOME, Heartbeat(t, 60, lambda _: None, lambda _: None)) for t in targets]
        injections = [Injection(f"f@{s.host.name}", fault, s, log, ledger, clock, 60, 60) for s in sites]
        fleet = Fleet("f", injections, log, ledger, clock, len(names), together=True)
        try:
            fleet.prepare()
            fleet.arm()
            yield fleet
        finally:
            stuck = fleet.revert()
            for target in targets:
                target.close()
            log.close()
    assert stuck == []


def waiting(hosts: SshHosts, name: str) -> bool:
    return bool(hosts.inside(name, f"ls {HOME}/fuses/*/{SLEEPER} 2>/dev/null; true"))


def sleeps_on(hosts: SshHosts, name: str) -> list[str]:
    """Sleeps for a moment that is called off; the host's own is one of 3600 s, and a fuse's are short."""
    return re.findall(r"sleep [1-9]\d\..*", hosts.inside(name, "ps -eo args"))


def wait_until_waiting(hosts: SshHosts, names: Sequence[str]) -> None:
    end = time.monotonic() + 30
    while not all(waiting(hosts, name) for name in names):
        assert time.monotonic() < end, "they do not come to wait for their moment"
        time.sleep(0.05)


def test_a_stop_before_the_common_moment_calls_it_off(hosts: SshHosts, tmp_path: Path) -> None:
    names = hosts.names[:4]
    before = {name: tree(hosts, name) for name in names}
    with together(hosts, tmp_path, names) as fleet:
        stop, moment = Stop(fleet.clock), fleet.clock.now() + 60 * NS

        def interrupt() -> None:
            wait_until_waiting(hosts, names)
            stop.set("interrupted", "by this test")

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(NotApplied, match="called off before its moment"):
            fleet.apply(moment, stop.wait_until)
        thread.join()
    assert SystemClock().now() < moment
    assert {name: tree(hosts, name) for name in names} == before
    assert not any(sleeps_on(hosts, name) for name in names)


def test_what_waits_for_its_moment_on_a_host_that_was_lost_is_called_off_before_its_undo(
    hosts: SshHosts, tmp_path: Path
) -> None:
    name = hosts.names[4]
    before = tree(hosts, name)
    with together(hosts, tmp_path, [name]) as fleet:
        moment = fleet.clock.now() + 60 * NS

        def lose_it() -> None:
            wait_until_waiting(hosts, [name])
            hosts.stop_sshd(name)
            hosts.start_sshd(name)

        thread = threading.Thread(target=lose_it)
        thread.start()
        with pytest.raises(TargetError, match="lost while running"):
            fleet.apply(moment, lambda _: True)
        thread.join()
        assert waiting(hosts, name), "nobody has told it"
        [injection] = fleet.injections
        assert injection.try_revert() == ""
    assert SystemClock().now() < moment
    assert tree(hosts, name) == before
    assert not sleeps_on(hosts, name)


def test_a_host_that_is_gone_is_left_out_where_so_many_are_enough(hosts: SshHosts, tmp_path: Path) -> None:
    gone = hosts.names[3]
    hosts.cut(gone)
    try:
        with running(hosts, tmp_path, baseline=3, observe=4, hold=2, more=f"min_hosts: {COUNT - 1}") as run:
            out, err = run.communicate(timeout=90)
    finally:
        hosts.mend(gone)
    assert [event["host"] for event in events(tmp_path, "host.left_out")] == [gone], out + err
    assert len(events(tmp_path, "fault.cleared")) == COUNT - 1


def test_nobody_is_touched_where_every_host_is_wanted(hosts: SshHosts, tmp_path: Path) -> None:
    gone = hosts.names[3]
    hosts.cut(gone)
    try:
        with running(hosts, tmp_path, baseline=3, observe=4, hold=2, more="start: each") as run:
            _, err = run.communicate(timeout=90)
    finally:
        hosts.mend(gone)
    assert run.returncode == 3
    assert f"{gone}: reachable: {gone}: no SSH to" in err
    assert not list(tmp_path.glob("runs/*"))


def controller_of(run: subprocess.Popen[str]) -> int:
    """`nsenter --net` becomes the command: it forks only to enter a PID namespace (nsenter(1))."""
    return run.pid
