"""Runs over hosts with real sshds that a panic, a signal or a guard ends: each host reads clean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.record.events import read_jsonl
from chaos.run.connect import side_by_side
from tests.hosts import SshHosts, ssh_hosts
from tests.punctual import on_time, tried_again_where_late

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

EXPERIMENT = """
name: narrow links
load:
  url: http://127.0.0.1:{port}/
  arrivals: {{process: constant, rate: 20/s}}
timeline: {{warmup: 0s, baseline: 2s, observe: 60s}}
{rest}
faults:
  - {{kind: bandwidth, on: {{group: workers, pick: all}}, for: 50s, rate: 20mbit, interface: eth0}}
"""
LATER = "  - {kind: partition, on: {group: workers, pick: all}, at: 2s, for: 40s, peers: [192.0.2.9]}\n"
COUNT = 20


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(COUNT) as hosts:
        yield hosts


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # a panic marks this machine too


@contextmanager
def service(hosts: SshHosts) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve on the controller's loopback; yields the port and the server."""
    argv = [*hosts.enter_command, sys.executable, "-m", "probes.null_server"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip(), server
        server.kill()


def inventory(hosts: SshHosts, folder: Path, names: tuple[str, ...]) -> Path:
    """Write an inventory of some of the hosts."""
    whole = yaml.safe_load(hosts.inventory_path.read_text())
    whole["hosts"] = {name: whole["hosts"][name] for name in names}
    whole["groups"] = {"workers": list(names)}
    path = folder / "inventory.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


class Run:
    """A run in a folder of its own, as a process in the controller's namespace."""

    def __init__(
        self, hosts: SshHosts, folder: Path, names: tuple[str, ...], port: str, rest: str = "", more: str = ""
    ):
        folder.mkdir()
        self.folder, self.names, self.hosts = folder, names, hosts
        self.inventory = inventory(hosts, folder, names)
        (folder / "narrow.yaml").write_text(EXPERIMENT.format(port=port, rest=rest) + more)
        self.process = self.gameday("run", str(folder / "narrow.yaml"))

    def gameday(self, command: str, *arguments: str, out: str = "runs") -> subprocess.Popen[str]:
        options = ["-i", str(self.inventory), "--out", str(self.folder / out), "--json"]
        argv = [*self.hosts.enter_command, sys.executable, "-m", "chaos", command, *arguments, *options]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for log in self.folder.glob("runs/*/2*/events.jsonl") for e in read_jsonl(log) if e["event"] == name]

    def wait_for(self, name: str, within: float = 60) -> None:
        end = time.monotonic() + within
        while not self.events(name):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, f"{name} did not come within {within:.0f} s"
            time.sleep(0.05)

    def is_over(self) -> dict[str, Any]:
        """The verdict of a run that was stopped, which is unknown."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 4, out + err
        verdict: dict[str, Any] = json.loads(out)
        assert verdict["verdict"] == "unknown"
        return verdict

    def took(self, since: datetime) -> float:
        """Seconds from then until the last host was read clean."""
        cleared = [datetime.fromisoformat(event["utc"]) for event in self.events("fault.cleared")]
        assert len(cleared) == len(self.names)
        return (max(cleared) - since).total_seconds()


def promised(hosts: SshHosts) -> float:
    """Two seconds; on a machine that is busy beside, five times what it takes to greet every host."""
    began = time.monotonic()

    def greet(name: str) -> None:
        target = hosts.target(name)
        target.run("true")
        target.close()

    with hosts.as_controller():
        side_by_side(hosts.names, greet)
    return max(2.0, 5 * (time.monotonic() - began))


def shaped(hosts: SshHosts, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if "tbf" in hosts.inside(name, "tc qdisc show; nft list tables | grep gameday || :")]


def left(hosts: SshHosts, names: tuple[str, ...]) -> list[str]:
    """What is ours on hosts."""
    look = "tc qdisc show; nft list tables; ls -A /run/gameday 2>/dev/null; ip -o link show type ifb; true"
    seen = {name: hosts.inside(name, look) for name in names}
    return [
        f"{name}: {text}" for name, text in seen.items() if any(w in text for w in ("tbf", "gameday", "fuses", "lock"))
    ]


@tried_again_where_late
def test_two_signals_and_a_guard_each_end_a_run_within_two_seconds(hosts: SshHosts, tmp_path: Path) -> None:
    """Side by side: SIGTERM to the one, SIGHUP to another; of the third the service falls silent."""
    parts = hosts.names[:5], hosts.names[5:10], hosts.names[10:15]
    guard, took = "abort: [goodput < 50% for 1s]", []
    with service(hosts) as (port, _), service(hosts) as (other, server):
        terminated = Run(hosts, tmp_path / "a", parts[0], port)
        hung_up = Run(hosts, tmp_path / "b", parts[1], port)
        guarded = Run(hosts, tmp_path / "c", parts[2], other, guard)
        for run in (terminated, hung_up, guarded):
            run.wait_for("fleet.applied")
        assert shaped(hosts, hosts.names[:15]) == list(hosts.names[:15])
        limit = promised(hosts)
        server.send_signal(signal.SIGSTOP)
        for run, number in ((terminated, signal.SIGTERM), (hung_up, signal.SIGHUP)):
            sent = datetime.now(UTC)
            run.process.send_signal(number)
            assert f"stopped by {number.name}" in str(run.is_over()["reasons"])
            took.append(run.took(sent))
        assert "`goodput < 50% for 1s`" in str(guarded.is_over()["reasons"])
        server.send_signal(signal.SIGCONT)
    [abort] = guarded.events("abort")
    took.append(guarded.took(datetime.fromisoformat(abort["utc"])))
    assert left(hosts, hosts.names) == []
    on_time(max(took), limit)


@tried_again_where_late
def test_a_panic_elsewhere_ends_the_run_and_locks_the_next_out(hosts: SshHosts, tmp_path: Path) -> None:
    with service(hosts) as (port, _):
        run = Run(hosts, tmp_path / "a", hosts.names, port, more=LATER)
        run.wait_for("fleet.applied")
        limit = promised(hosts)
        out, err = run.gameday("panic", out="elsewhere").communicate(timeout=60)
        found = {result["host"]: result for result in json.loads(out)}
        over = datetime.now(UTC)
        assert found.keys() == {*hosts.names, "controller"}, err
        assert all(result["clean"] for result in found.values()), out
        assert shaped(hosts, hosts.names) == []
        assert "panic" in str(run.is_over()["reasons"])
        assert [e for e in run.events("fault.applied") if datetime.fromisoformat(e["utc"]) > over] == []

        refused = run.gameday("run", str(run.folder / "narrow.yaml"))
        _, err = refused.communicate(timeout=60)
        assert refused.returncode == 3
        assert "`gameday panic` was called by" in err
        assert "UTC; `gameday panic --release` lets runs begin again" in err
        release = run.gameday("panic", "--release")
        release.communicate(timeout=60)
        assert release.returncode == 0
        assert left(hosts, hosts.names) == []
        on_time(max(found[name]["seconds"] for name in hosts.names), limit)
