"""The lab, for real: hosts that reach each other, power, and nothing left when the keeper is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos import lab
from chaos.errors import Refusal, Unreachable

_SERVER = """
import http.server, socket, socketserver, sys
listen = sys.argv[1]
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
if listen.startswith("fd:"):
    listening = socket.socket(fileno=int(listen[3:]))
else:
    listening = socket.create_server(("0.0.0.0", int(listen.rpartition(":")[2])))
server = socketserver.TCPServer(("", 0), Healthy, bind_and_activate=False)
server.socket = listening
server.serve_forever()
"""
# not the lab's own Python: in an emulated host a start of the system's is quicker, and the server needs nothing more
WORKLOAD = {"gateway": ["/usr/bin/env", "python3", "-SEc", _SERVER, "{listen}"]}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
needs_qemu = pytest.mark.skipif(bool(lab.missing_packages("vm")), reason=f"not here: {lab.missing_packages('vm')}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GAMEDAY_LAB_DIR", str(tmp_path / "lab"))
    yield tmp_path / "lab"
    lab.down()


def on(host: str, command: str) -> subprocess.CompletedProcess[str]:
    shell = [command] if lab.ssh_command(host)[0] == "ssh" else ["sh", "-c", command]
    return subprocess.run([*lab.ssh_command(host), *shell], capture_output=True, text=True, timeout=60)


def healthz(endpoint: str) -> int:
    with urllib.request.urlopen(f"http://{endpoint}/healthz", timeout=10) as answer:
        return int(answer.status)


def kept_by(keeper: int) -> set[int]:
    """Every process below the keeper, itself included."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue
        parents[int(pid)] = int(rest.rpartition(")")[2].split()[1])
    kept, fresh = {keeper}, {keeper}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh}
        kept |= fresh
    return kept


def alive(process: int) -> bool:
    """Whether it runs: one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def network_namespaces(processes: set[int]) -> set[str]:
    found = set()
    for process in processes:
        try:
            found.add(str(Path(f"/proc/{process}/ns/net").readlink()))
        except OSError:
            continue
    return found


def all_processes() -> set[int]:
    return {int(path.name) for path in Path("/proc").glob("[0-9]*")}


def wait_until(condition: Callable[[], bool], within: float) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def assert_killing_the_keeper_leaves_nothing(keeper: int) -> None:
    kept = kept_by(keeper)
    assert len(kept) > 2
    namespaces = network_namespaces(kept) - network_namespaces({os.getpid()})
    interfaces = set(Path("/sys/class/net").iterdir())
    os.kill(keeper, signal.SIGKILL)
    assert wait_until(lambda: not any(alive(process) for process in kept), 2.0)
    assert not namespaces & network_namespaces(all_processes())
    assert set(Path("/sys/class/net").iterdir()) <= interfaces
    assert lab.status() is None


@needs_root
@pytest.mark.usefixtures("folder")
def test_namespaced_hosts_reach_each_other_and_end_with_the_keeper() -> None:
    interfaces = set(Path("/sys/class/net").iterdir())
    made = lab.up("netns", workers=2, workload=WORKLOAD)
    assert lab.status() == made
    assert made.hosts == ("gateway", "worker-1", "worker-2")
    assert on("worker-1", "ping -c 1 -W 2 worker-2").returncode == 0
    assert on("gateway", "ping -6 -c 1 -W 2 fd77::11").returncode == 0
    assert on("worker-1", "hostname").stdout == "worker-1\n"
    assert healthz(made.endpoint) == 200
    assert set(Path("/sys/class/net").iterdir()) == interfaces, "the machine's own namespace got an interface"
    assert lab.up("netns", workers=2, workload=WORKLOAD) == made
    with pytest.raises(Refusal, match="one of kind netns with 2 is up"):
        lab.up("netns", workers=3, workload=WORKLOAD)
    with pytest.raises(Refusal, match="is a namespace"):
        lab.power("worker-1", "off")
    assert_killing_the_keeper_leaves_nothing(made.keeper)
    again = lab.up("netns", workers=2, workload={})
    assert again.keeper != made.keeper, "what a killed keeper left was not cleared"


@needs_root
def test_a_lab_ends_with_its_owner_and_down_is_repeatable(folder: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    made = lab.up("netns", workers=1, owner_pid=owner.pid, workload={})
    owner.communicate()
    assert wait_until(lambda: lab.status() is None and not alive(made.keeper), 5.0)
    assert sorted(path.name for path in folder.iterdir()) == ["keeper.log", "lock"]
    lab.down()
    lab.down()


@needs_root
@pytest.mark.usefixtures("folder")
def test_a_lab_whose_gateway_does_not_serve_says_what_it_said() -> None:
    failing = {"gateway": ["sh", "-c", "echo no such model; exit 1"]}
    with pytest.raises(Unreachable, match="no such model"):
        lab.up("netns", workers=1, workload=failing, serve_within=0.5)
    assert lab.status() is None


@needs_qemu
@pytest.mark.timeout(300)
def test_virtual_hosts_answer_ssh_switch_off_and_on_and_end_with_the_keeper(folder: Path) -> None:
    made = lab.up("vm", workers=1, workload=WORKLOAD)
    assert healthz(made.endpoint) == 200
    seen = on(
        "worker-1",
        "hostname; ping -c 1 -W 5 gateway >/dev/null && tc qdisc add dev eth1 root netem delay 1ms && tc qdisc",
    )
    assert seen.stdout.startswith("worker-1\n"), seen.stderr
    assert "netem" in seen.stdout
    assert_host_keys_are_checked(folder)
    power = [sys.executable, "-m", "chaos.lab", "power", "worker-1"]
    assert subprocess.run([*power, "off"], capture_output=True, text=True).stdout == "off\n"
    assert on("worker-1", "true").returncode == 255
    assert subprocess.run([*power, "on"], capture_output=True, text=True).stdout == "on\n"
    assert wait_until(lambda: on("worker-1", "true").returncode == 0, 90.0)
    assert "netem" not in on("worker-1", "tc qdisc").stdout, "a power cut kept the kernel's state"
    assert_killing_the_keeper_leaves_nothing(made.keeper)


def assert_host_keys_are_checked(folder: Path) -> None:
    known = (folder / "known_hosts").read_text()
    try:
        (folder / "known_hosts").write_text("")
        assert "Host key verification failed" in on("worker-1", "true").stderr
    finally:
        (folder / "known_hosts").write_text(known)
