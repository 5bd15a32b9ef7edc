"""The shards of a load on real Dask workers: processes of their own, one of them with another clock."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import probes
from chaos.clock import NS, SystemClock
from chaos.errors import LoadFailed, Refusal
from chaos.judge.soundness import run_problems
from chaos.overlays import Overlay
from chaos.plan.plan import Plan
from chaos.record.events import EventLog
from chaos.record.recording import Recording
from chaos.run.dask_load import spread
from chaos.run.generators import Load, generators
from chaos.spec.inventory import Host
from probes.plan import LoadPlan
from probes.superposition import schedule_of
from tests.unit.probes.oracle_server import Oracle, running
from tests.unit.run.shared_load import plan_of
from tests.unit.targets.real_sshd import RealSshd

AHEAD = 1000  # s that the clock of the second worker is ahead, by a time namespace: time_namespaces(7)
OTHER_CLOCK = ("unshare", "--time", "--monotonic", str(AHEAD), "--fork", "--kill-child")


@dataclass
class Cluster:
    """A scheduler and its workers, each a process."""

    address: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, prefix: tuple[str, ...] = (), path: str = "") -> subprocess.Popen[bytes]:
        argv = [*prefix, sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            environment = os.environ | {"PYTHONPATH": path, "TMPDIR": str(self.folder)}
            process = subprocess.Popen(argv, env=environment, cwd=self.folder, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def worker(self, prefix: tuple[str, ...] = (), path: str = "") -> subprocess.Popen[bytes]:
        options = ("--no-nanny", "--nthreads", "1", "--host", "127.0.0.1")
        return self.start("worker", self.address, *options, prefix=prefix, path=path)

    def wait_for(self, workers: int) -> None:
        from distributed import Client

        with Client(self.address, timeout=30, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=30)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()  # unshare(1) leaves SIGTERM to its child
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.geteuid():
        pytest.skip("a time namespace needs root")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = Cluster(f"tcp://127.0.0.1:{port}", tmp_path_factory.mktemp("dask"))
    try:
        cluster.start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-show")
        cluster.worker()
        cluster.worker(OTHER_CLOCK)
        cluster.wait_for(2)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def server() -> Iterator[Oracle]:
    with running() as server:
        yield server


@contextmanager
def load_on(folder: Path, plan: Plan, address: str | None, hosts: Mapping[str, Host] | None = None) -> Iterator[Load]:
    """Start a load of a plan whose recording is in `folder`; write the events that a judge wants of a run."""
    clock = SystemClock()
    events = EventLog(folder / "events.jsonl", clock)
    (folder / "plan.json").write_text(plan.model_dump_json(), encoding="utf-8")
    try:
        with generators(plan.load, hosts or {}, address) as crew:
            start = clock.now() + int(crew.lead * NS)
            load = crew.start(folder, start, events, clock)
            events.write("load.started", zero=start + NS)
            yield load
            events.write("load.ended", status=load.stop())
        events.write("run.ended", outcome="done", why="")
    finally:
        events.close()


def wait_until(is_so: Callable[[], bool], within: float = 20) -> None:
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)


def shard_plan(folder: Path, worker: int) -> LoadPlan:
    return LoadPlan.read(folder / "shards" / str(worker) / "load.json")


def test_workers_with_different_clocks_send_one_schedule(cluster: Cluster, server: Oracle, tmp_path: Path) -> None:
    with load_on(tmp_path, plan_of(tmp_path, server.url("/ok"), 2), cluster.address) as load:
        whole = list(schedule_of(replace(shard_plan(tmp_path, 0), worker=0, workers=1)))
        wait_until(lambda: (live := load.live()) is not None and live.ok.sum() > 30)  # heard while it goes on
        assert load.wait(30) == 0
        wait_until(lambda: (live := load.live()) is not None and live.ok.sum() == live.completed.sum() == len(whole))
    recording = Recording.open(tmp_path)
    rows = recording.samples.rows
    assert sorted(rows["scheduled"].tolist()) == [due for _, due, _ in whole], "on the controller's clock, to the ns"
    late = (rows["sent"] - rows["scheduled"]) / 1e9
    assert late.min() >= 0 and late.max() < 5
    numbers = sorted(int(found) for request in server.requests for found in re.findall(rb"<(\d+)>", request))
    assert numbers == [number for number, _, _ in whole]
    offsets = sorted(event["offset_ns"] / 1e9 for event in recording.named("load.clock"))
    assert offsets == pytest.approx([0, 0, AHEAD, AHEAD], abs=0.5)
    assert all(event["uncertainty_ns"] > 0 for event in recording.named("load.clock"))
    assert [problem for problem in run_problems(recording) if "clock" not in problem] == []
    assert not list(cluster.folder.glob("gameday-load-*")), "nothing is left on the workers"


def test_a_worker_that_dies_is_a_shard_that_died_and_its_load_ends_with_it(
    cluster: Cluster, server: Oracle, tmp_path: Path
) -> None:
    victim = cluster.worker()
    cluster.wait_for(3)
    plan = plan_of(tmp_path, server.url("/ok"), 3, rate=300, observe=60)
    with load_on(tmp_path, plan, cluster.address) as load:
        wait_until(lambda: (live := load.live()) is not None and live.ok.sum() > 100)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        with pytest.raises(LoadFailed, match=r"shard \d of 3 on tcp://127.0.0.1:\d+ died: "):
            wait_until(lambda: load.live() is None)
    recording = Recording.open(tmp_path)
    (event,) = recording.named("load.shard_lost")
    due = [(number, at) for number, at, _ in schedule_of(shard_plan(tmp_path, event["worker"]))]
    assert event["numbers"] == [number for number, _ in due[:5]], "it took all of its rows with it"
    assert (event["first"], event["last"]) == (due[0][1], due[event["arrivals"] - 1][1])
    assert len(set(recording.samples.rows["worker"].tolist())) == 2, "the others' rows are here"
    assert any(re.match(r"shard \d of 3 on tcp:\S+ died after .* lost", problem) for problem in run_problems(recording))
    before = len(server.requests)
    time.sleep(0.5)
    assert len(server.requests) == before, "nobody goes on sending"


def test_an_overlay_is_called_off_on_every_machine(cluster: Cluster, server: Oracle, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, server.url("/ok"), 2, rate=20, observe=3)
    burst = Overlay(begin=0.0, end=4.0, requests=2000)
    plan = plan.model_copy(update={"load": plan.load.model_copy(update={"overlays": (burst,)})})
    with load_on(tmp_path, plan, cluster.address) as load:
        wait_until(lambda: (live := load.live()) is not None and live.ok.sum() > 100)
        load.call_off(0)
        wait_until(lambda: (live := load.live()) is not None and live.called_off == 1)
        heard = len(server.requests)
        assert load.wait(30) == 0
    rows = Recording.open(tmp_path).samples.rows
    assert heard < 1500
    assert len(rows) < heard + 150, "what came after is the plain load"
    base = list(schedule_of(replace(shard_plan(tmp_path, 0), worker=0, workers=1, overlays=())))
    assert {due for _, due, _ in base} <= set(rows["scheduled"].tolist()), "which is whole"
    assert [problem for problem in run_problems(Recording.open(tmp_path)) if "clock" not in problem] == []


def test_too_few_workers_and_workers_of_another_version_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    load = plan_of(tmp_path, "http://127.0.0.1:1/", 9).load

    def refused() -> str:
        with pytest.raises(Refusal) as refusal, generators(load, {}, cluster.address):
            pass
        return str(refusal.value)

    assert re.search(r"9 processes need 9 Dask workers of their own, \d there", refused())
    other = shutil.copytree(Path(probes.__file__).parent, tmp_path / "other" / "probes")
    with (other / "lost.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    stranger = cluster.worker(path=str(other.parent))
    cluster.wait_for(3)
    load = load.model_copy(update={"processes": 3})
    assert re.search(r"must have the same chaos-gameday .* found tcp://127.0.0.1:\d+: '[0-9a-f]{16}'", refused())
    stranger.terminate()
    stranger.wait(10)


def test_no_scheduler_is_a_refusal(tmp_path: Path) -> None:
    load = plan_of(tmp_path, "http://127.0.0.1:1/", 2).load
    with pytest.raises(Refusal, match="no Dask scheduler answers there"), generators(load, {}, "tcp//nowhere"):
        pass


def test_no_machine_has_two_shards_before_every_one_has_one() -> None:
    workers = {"tcp://a:1": "a", "tcp://a:2": "a", "tcp://a:3": "a", "tcp://b:1": "b"}
    assert spread(workers, 3) == ["tcp://a:1", "tcp://b:1", "tcp://a:2"]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSshd]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None or os.geteuid():
        pytest.skip("needs sshd and root")
    server = RealSshd.start(program, tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


def sender(sshd: RealSshd, known_hosts: Path) -> Host:
    return Host(
        address="127.0.0.1", port=sshd.port, user=getpass.getuser(), identity_file=sshd.folder / "client_key",
        known_hosts=known_hosts, python=sys.executable,
    )  # fmt: skip


def test_a_cluster_over_ssh_is_for_this_run_alone(sshd: RealSshd, server: Oracle, tmp_path: Path) -> None:
    host = sender(sshd, sshd.known_hosts(tmp_path / "known_hosts"))
    plan = plan_of(tmp_path, server.url("/ok"), 2)
    plan = plan.model_copy(update={"load": plan.load.model_copy(update={"senders": ("g-1", "g-2")})})
    with load_on(tmp_path, plan, None, {"g-1": host, "g-2": host}) as load:
        assert load.wait(30) == 0
        worker = Recording.open(tmp_path).named("load.clock")[0]["host"]
        scheme, address, port = re.split("://|:", worker)
        assert scheme == "tls"
        with pytest.raises((ssl.SSLError, ConnectionError)):  # whoever has not the keys of this run
            _knock(address, port)
    recording = Recording.open(tmp_path)
    whole = list(schedule_of(replace(shard_plan(tmp_path, 0), worker=0, workers=1)))
    assert sorted(recording.samples.rows["scheduled"].tolist()) == [due for _, due, _ in whole]
    assert set(recording.samples.rows["worker"].tolist()) == {0, 1}
    wait_until(lambda: not _listens(address, port))  # the worker has ended with the run


def _listens(address: str, port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, int(port))) == 0


def _knock(address: str, port: str) -> None:
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((address, int(port)), 5) as raw, anyone.wrap_socket(raw) as connection:
        assert connection.recv(1)


def test_a_host_key_that_is_not_known_is_a_refusal(sshd: RealSshd, tmp_path: Path) -> None:
    host = sender(sshd, sshd.known_hosts(tmp_path / "known_hosts", "other_key"))
    load = plan_of(tmp_path, "http://127.0.0.1:1/", 1).load.model_copy(update={"senders": ("g-1",)})
    with (
        pytest.raises(Refusal, match=r"load.on: no Dask cluster over SSH on 127.0.0.1: .*[Hh]ost key"),
        generators(load, {"g-1": host}),
    ):
        pass
