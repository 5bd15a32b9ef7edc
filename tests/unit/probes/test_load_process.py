"""The load as its callers see it: a process that starts on time, keeps time, and never outlives its owner."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.live import LiveReader
from probes.plan import LoadPlan, RequestClass
from probes.samples import ROW
from tests.unit.probes import oracle_server
from tests.unit.probes.oracle_server import Oracle
from tests.unit.probes.running_load import Outcome, plan_for, read, run


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


def command(plan: LoadPlan, folder: Path) -> list[str]:
    plan.write(folder / "plan.json")
    return [sys.executable, "-m", "probes.load", str(folder / "plan.json")]


def wait_until_running(plan: LoadPlan) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if Path(plan.live).exists() and LiveReader(plan.live).read().state == "running":
            return
        time.sleep(0.02)
    raise AssertionError("the load did not start")


def test_a_stall_shows_in_the_latency_and_not_in_the_number_of_samples(oracle: Oracle, tmp_path: Path) -> None:
    start = time.monotonic_ns() + 50_000_000
    oracle.gate = start / 1e9 + 1.2
    outcome = run(tmp_path, oracle.url("/stall"), rate=100.0, duration=1.6, start=start)
    assert outcome.errors == {"ok": 160}
    assert_waited_for_the_gate(oracle, outcome)
    sent = outcome.rows["sent"] / 1e9
    assert (sent < oracle.gate).sum() > 60  # questions were asked all the while: half of them at least, on any machine


def test_a_stall_behind_few_connections_shows_just_the_same(oracle: Oracle, tmp_path: Path) -> None:
    start = time.monotonic_ns() + 50_000_000
    oracle.gate = start / 1e9 + 1.0
    outcome = run(tmp_path, oracle.url("/stall"), rate=100.0, duration=1.2, start=start, connections=2)
    assert outcome.errors == {"ok": 120}
    assert_waited_for_the_gate(oracle, outcome)
    assert (outcome.rows["sent"] / 1e9 < oracle.gate).sum() == 2


def assert_waited_for_the_gate(oracle: Oracle, outcome: Outcome) -> None:
    """Whatever was scheduled before the gate opened waited for the rest of the stall, by its own latency."""
    left = oracle.gate - outcome.rows["scheduled"] / 1e9
    assert (left > 0.9).any()
    assert (outcome.latency >= left).all()


def test_classes_bodies_and_headers_arrive(oracle: Oracle, tmp_path: Path) -> None:
    del oracle.requests[:]
    classes = (RequestClass(name="hot", weight=1, body='{"a": {}}'), RequestClass(name="cold", body='{"s": "{seq}"}'))
    outcome = run(tmp_path, oracle.url("/ok"), method="POST", classes=classes, headers={"X-Run": "7"}, connections=1)
    assert outcome.header["classes"] == ["hot", "cold"]
    expected = [b'{"a": {}}' if klass == 0 else b'{"s": "%d"}' % seq for seq, klass in enumerate(outcome.rows["klass"])]
    assert [request.partition(b"\r\n\r\n")[2] for request in oracle.requests] == expected
    assert all(b"X-Run: 7\r\n" in request for request in oracle.requests)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_load_and_what_is_out_is_recorded(
    oracle: Oracle, tmp_path: Path, number: signal.Signals
) -> None:
    plan = plan_for(tmp_path, oracle.url("/never"), duration=30.0, timeout=30.0, connections=5)
    with subprocess.Popen(command(plan, tmp_path), stdin=subprocess.DEVNULL) as process:
        wait_until_running(plan)
        time.sleep(0.3)
        process.send_signal(number)
        assert process.wait(5) == 0
    outcome = read(plan, 0)
    assert outcome.errors["cancelled"] == 5
    assert outcome.errors["unsent"] == len(outcome.rows) - 5
    assert LiveReader(plan.live).read().state == "ended"


def test_a_pipe_on_standard_input_that_closes_stops_the_load(oracle: Oracle, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, oracle.url("/ok"), duration=30.0)
    with subprocess.Popen(command(plan, tmp_path), stdin=subprocess.PIPE) as process:
        wait_until_running(plan)
        assert process.stdin
        process.stdin.close()
        assert process.wait(5) == 0


def test_the_death_of_the_parent_stops_the_load(oracle: Oracle, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, oracle.url("/ok"), duration=30.0)
    start_and_stay = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); p.wait()"
    parent = subprocess.Popen(
        [sys.executable, "-c", start_and_stay, *command(plan, tmp_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout
        load = os.pidfd_open(int(parent.stdout.readline()))
        wait_until_running(plan)
        time.sleep(0.5)
        parent.kill()
        assert select.select([load], [], [], 5)[0]  # a pidfd is readable once its process has ended
    os.close(load)
    assert "ok" in read(plan, 0).errors


def test_samples_that_can_not_be_written_end_the_load(oracle: Oracle, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, oracle.url("/ok"), rate=2000.0, duration=30.0)
    limit = "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000)); sys.argv = sys.argv[1:];"
    limit += "runpy.run_module('probes.load', run_name='__main__')"
    given = command(plan, tmp_path)
    process = subprocess.run(
        [given[0], "-c", limit, *given[2:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1
    assert "File too large" in process.stderr
    assert (Path(plan.samples).stat().st_size - 4096) % ROW.size == 0


@pytest.mark.parametrize("broken", ['{"url": "http://x/"}', "not json", '{"url": "http://x/", "tmeout": 3}'])
def test_a_wrong_plan_ends_with_2_and_one_line(tmp_path: Path, broken: str) -> None:
    (tmp_path / "plan.json").write_text(broken)
    given = [sys.executable, "-m", "probes.load", str(tmp_path / "plan.json")]
    process = subprocess.run(given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1


def test_a_measurement_is_never_written_over(oracle: Oracle, tmp_path: Path) -> None:
    run(tmp_path, oracle.url("/ok"))
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, oracle.url("/ok"))
    assert ended.value.code == 2
