"""A real Locust, master and workers, under the runner: against a server whose every answer is known."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chaos.clock import NS
from chaos.errors import LoadFailed
from chaos.judge import judge
from chaos.judge.series import series_of
from chaos.judge.verdict import Verdict
from chaos.plan.existing import PlannedLocust
from chaos.record.recording import Recording
from chaos.record.samples import read_samples
from chaos.report.terminal import verdict_text
from chaos.run.locust import LocustLoad
from tests.unit.probes import oracle_server
from tests.unit.probes.oracle_server import Oracle
from tests.unit.run import existing_loads

LOCUSTFILE = Path(__file__).parent / "locustfile.py"


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def recording(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("locust")
    shutil.copy(LOCUSTFILE, folder)
    load = f'{{locust: {LOCUSTFILE.name}, host: "{oracle.url("")}", users: 4, spawn_rate: 100/s, workers: 2'
    load += ", classes: [Content, Critic], timeout: 2s, slo: {latency: 5s}}"
    return existing_loads.run(folder, load, "{warmup: 3s, baseline: 1s, observe: 1s}")


@pytest.fixture(scope="module")
def verdict(recording: Recording) -> Verdict:
    return judge(recording)


def test_every_request_the_server_saw_has_its_row(recording: Recording, oracle: Oracle) -> None:
    assert len(recording.samples.rows) == len(oracle.requests)
    assert set(recording.samples.rows["worker"]) == {0, 1}


def test_success_is_what_locust_calls_so(recording: Recording) -> None:
    samples = recording.samples
    said = Counter(zip(samples.rows["status"].tolist(), samples.rows["error"].tolist(), strict=True))
    named = {(status, samples.errors[error]) for status, error in said}
    assert named == {(200, "ok"), (500, "rejected"), (200, "rejected"), (500, "ok")}


def test_times_are_the_controllers_and_lie_within_the_run(recording: Recording) -> None:
    rows, zero = recording.samples.rows, recording.zero or 0
    assert (rows["scheduled"] == rows["sent"]).all()
    assert (rows["end"] > rows["sent"]).all()
    assert (rows["sent"] >= zero - 6 * NS).all()
    assert (rows["sent"] <= zero + 2 * NS).all()  # the run lasts 1 s from zero; what was under way may finish
    assert float(np.median(rows["end"] - rows["sent"])) < NS


def test_the_verdict_knows_it_for_a_closed_loop(verdict: Verdict, recording: Recording) -> None:
    assert (verdict.generator.loop, verdict.generator.offered_rate, verdict.generator.sound) == ("closed", None, True)
    assert verdict.figures["offered_rate"].value is None
    answered = np.sum(recording.samples.rows["error"] == 0) / len(recording.samples.rows)
    assert verdict.figures["goodput_ratio"].value == pytest.approx(answered, abs=0.15)
    assert any("closed loop" in reason and "latency_p50_s" in reason for reason in verdict.reasons)
    assert "closed loop by Locust" in verdict_text(verdict, series_of(recording))


def test_the_crew_was_complete_before_the_baseline(recording: Recording) -> None:
    crew = json.loads((recording.path / "locust.json").read_text())
    assert (crew["users"], crew["workers"], crew["fewest"]) == (4, 2, 4)
    assert crew["complete"] < (recording.zero or 0) - NS
    assert [used["busiest"] > 0 for used in json.loads((recording.path / "generator.json").read_text())] == [True, True]


def planned(
    oracle: Oracle, locustfile: Path = LOCUSTFILE, user: str = "Content", duration: float = 60
) -> PlannedLocust:
    return PlannedLocust(
        locustfile=str(locustfile), host=oracle.url(""), users=1, spawn_rate=100, workers=1, classes=(user,),
        warmup=30, duration=duration, timeout=1, slo_latency=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("user", "reset"),
    [("Unlucky", "reset"), ("UnluckyToo", "closed_early")],  # geventhttpclient takes a reset for an end
)
def test_failures_have_the_kinds_of_our_own_load(oracle: Oracle, tmp_path: Path, user: str, reset: str) -> None:
    load = LocustLoad.start(tmp_path, planned(oracle, user=user, duration=3), time.monotonic_ns())
    assert load.wait(30) == 0
    assert load.stop() == 0
    samples = read_samples(tmp_path / "samples.bin")
    kinds = [samples.errors[error] for error in samples.rows["error"]]
    assert kinds[:7] == ["closed_early", reset, "malformed", "connect_refused", "dns_failed", "timeout", "ok"]


def test_a_lost_worker_is_a_failed_load(oracle: Oracle, tmp_path: Path) -> None:
    load = LocustLoad.start(tmp_path, planned(oracle), time.monotonic_ns())
    try:
        wait_for_requests(load)
        live = load.live()
        assert live is not None and live.scheduled.sum() == live.ok.sum() + live.failed.sum()
        load.processes[1].kill()
        load.processes[1].wait()
        with pytest.raises(LoadFailed, match=r"locust-worker-0 ended with -9"):
            load.live()
    finally:
        load.stop()
    assert all(process.returncode is not None for process in load.processes)


def test_a_broken_locustfile_says_why(oracle: Oracle, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('out of locusts')\n")
    load = LocustLoad.start(tmp_path, planned(oracle, broken), time.monotonic_ns())
    try:
        load.wait(30)
        with pytest.raises(LoadFailed, match="out of locusts"):
            load.live()
    finally:
        load.stop()


def test_locust_ends_with_its_controller(oracle: Oracle, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from chaos.plan.existing import PlannedLocust\n"
        "from chaos.run.locust import LocustLoad\n"
        "plan = PlannedLocust.model_validate_json(sys.argv[2])\n"
        "load = LocustLoad.start(Path(sys.argv[1]), plan, time.monotonic_ns())\n"
        "print(*(process.pid for process in load.processes), flush=True)\n"
        "time.sleep(60)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path), planned(oracle).model_dump_json()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout
        children = [int(pid) for pid in controller.stdout.readline().split()]
        assert len(children) == 2
        time.sleep(2)
        controller.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)


def wait_for_requests(load: LocustLoad) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        live = load.live()
        if live is not None and live.ok.sum():
            return
        time.sleep(0.05)
    raise AssertionError("no user sent anything")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
