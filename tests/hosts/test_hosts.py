"""Hosts over SSH come up, are hosts, and leave nothing behind."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.errors import Unreachable
from chaos.run.connect import connected, side_by_side
from tests.hosts import SshHosts, objection, ssh_hosts

pytestmark = pytest.mark.skipif(objection() is not None, reason=str(objection()))

_EXPERIMENT = """\
name: pause
load: {url: "http://127.0.0.1:9/", arrivals: {process: constant, rate: 1/s}, slo: {latency: 1s}}
timeline: {warmup: 1s, baseline: 1s, observe: 1s}
faults: [{kind: process_pause, on: workers, match: sleep, for: 1s}]
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(3) as up:
        yield up


def test_each_is_a_host_of_its_own(hosts: SshHosts) -> None:
    inventory = hosts.inventory()
    with hosts.as_controller(), connected(inventory.hosts, hosts.names) as targets:
        script = "hostname; echo $$ >/run/mine; cat /proc/1/comm; ip -o -4 addr show eth0 | awk '{print $4}'"
        said = side_by_side(targets.values(), lambda target: target.run(script).stdout.split())
    assert said == [[name, "sh", f"{hosts.address(name)}/16"] for name in hosts.names]
    assert not Path("/run/mine").exists()


def test_preflight_finds_them_fit(hosts: SshHosts, tmp_path: Path) -> None:
    experiment = tmp_path / "pause.yaml"
    experiment.write_text(_EXPERIMENT)
    command = [*hosts.enter_command, sys.executable, "-m", "chaos", "preflight", str(experiment)]
    done = subprocess.run([*command, "-i", str(hosts.inventory_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(name in done.stdout for name in hosts.names)


def test_the_machine_itself_does_not_reach_them(hosts: SshHosts) -> None:
    seen = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "port-1" not in seen
    entered = subprocess.run([*hosts.enter_command, "ip", "-o", "link"], capture_output=True, text=True, check=True)
    assert "port-1" in entered.stdout


def test_a_path_is_cut_and_mended(hosts: SshHosts) -> None:
    name = hosts.names[0]
    with hosts.as_controller():
        target = hosts.target(name)
        target.run("true")
        hosts.cut(name)
        with pytest.raises(Unreachable):
            target.run("true", timeout=0.3)
        hosts.mend(name)
        assert target.run("echo back", timeout=30).stdout == "back\n"
        target.close()


def test_sshd_goes_and_comes_back(hosts: SshHosts) -> None:
    name = hosts.names[1]
    with hosts.as_controller():
        target = hosts.target(name)
        target.run("sleep 600 >/dev/null 2>&1 & echo $! >/run/kept")
        hosts.stop_sshd(name)
        with pytest.raises(Unreachable):
            target.run("true")
        hosts.start_sshd(name)
        target.run("kill $(cat /run/kept)")
        target.close()


def test_nothing_is_left_when_closed() -> None:
    with ssh_hosts(2) as up:
        first = [up.pid_of(name) for name in up.names]
        folder = up.folder
    assert not any(Path(f"/proc/{pid}").exists() for pid in (*first, up.controller_pid))
    assert not folder.exists()


def test_they_end_with_their_owner(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom tests.hosts import ssh_hosts\n"
        "with ssh_hosts(2) as up:\n"
        "    print(up.folder, up.controller_pid, *map(up.pid_of, up.names), flush=True)\n    time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env) as owner:
        assert owner.stdout is not None
        _, *processes = owner.stdout.readline().split()
        watched = [os.pidfd_open(int(process)) for process in processes]
        owner.kill()
    for process in watched:
        assert select.select([process], [], [], 10)[0], "it outlives its owner"
        os.close(process)
