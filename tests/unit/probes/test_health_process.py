"""Health probes as their callers see them: a process that keeps time, records all, and never outlives its owner."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.health import HealthPlan, PlannedProbe
from probes.health.__main__ import main
from tests.unit.probes import oracle_server
from tests.unit.probes.oracle_server import Oracle
from tests.unit.probes.running_probes import command, plan_for, planned, read, run


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


def wait_while_asking(plan: HealthPlan, seconds: float) -> None:
    """Wait until the probes are being asked, and for so long then."""
    first = Path(plan.folder) / f"{plan.make()[0].called}.bin"
    deadline = time.monotonic() + 20
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(max(0.0, plan.start / 1e9 - time.monotonic()) + seconds)


def test_every_check_is_due_on_its_schedule_whatever_the_answers_do(oracle: Oracle, tmp_path: Path) -> None:
    """The second probe's target answers nothing for 0.6 s: that shows in its times, not in how often it was asked."""
    plan = plan_for(
        tmp_path,
        planned("http", url=oracle.url("/ok"), every=0.05),
        planned("http", name="stalled", url=oracle.url("/stall"), every=0.1, timeout=3.0),
        planned("http", name="never", url=oracle.url("/never"), every=0.1, timeout=0.3),
        planned("tcp", address=f"127.0.0.1:{oracle.port}", every=0.3),
        lead=100_000_000,
    )
    oracle.gate = plan.start / 1e9 + 0.6
    plan.write(tmp_path / "plan.json")
    assert main([str(tmp_path / "plan.json")]) == 0
    for name, count, every in (("http", 20, 0.05), ("stalled", 10, 0.1), ("never", 10, 0.1), ("tcp", 4, 0.3)):
        due = sorted(read(tmp_path, name).rows["scheduled"].tolist())
        assert due == [plan.start + index * round(every * 1e9) for index in range(count)]
    stalled = read(tmp_path, "stalled")
    asked = stalled.rows[stalled.rows["sent"] > 0]
    assert len(asked) >= 5  # on any machine
    assert set(stalled.errors) <= {"ok", "unsent"}
    assert (asked["end"] >= oracle.gate * 1e9).all()
    never = read(tmp_path, "never")
    assert set(never.errors) <= {"timeout", "unsent"}
    assert ((never.rows["end"] - never.rows["sent"])[never.rows["sent"] > 0] >= 300_000_000).all()


def test_a_check_that_comes_too_late_is_not_asked_and_says_so(oracle: Oracle, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, planned("tcp", address=f"127.0.0.1:{oracle.port}", every=0.05), duration=60.0)
    with subprocess.Popen(command(plan, tmp_path), stdin=subprocess.DEVNULL) as process:
        wait_while_asking(plan, 0.2)
        process.send_signal(signal.SIGSTOP)
        paused = time.monotonic_ns()
        time.sleep(0.5)
        resumed = time.monotonic_ns()
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        process.terminate()
        assert process.wait(20) == 0
    checked = read(tmp_path, "tcp")
    rows = checked.rows
    missed = rows[(rows["scheduled"] > paused) & (rows["scheduled"] < resumed - 50_000_000)]
    assert len(missed) >= 8
    assert {checked.header["errors"][code] for code in missed["error"]} == {"unsent"}
    asked = rows[rows["sent"] > 0]
    assert (asked["sent"] - asked["scheduled"] <= 50_000_000).all()  # and no burst of them afterwards


def test_a_signal_stops_the_probes_and_what_is_out_is_recorded(oracle: Oracle, tmp_path: Path) -> None:
    probe = planned("http", url=oracle.url("/never"), every=0.1, timeout=10.0)
    plan = plan_for(tmp_path, probe, planned("command", run=["true"]), duration=60.0)
    with subprocess.Popen(command(plan, tmp_path), stdin=subprocess.DEVNULL) as process:
        wait_while_asking(plan, 0.5)
        process.terminate()
        assert process.wait(10) == 0
    errors = read(tmp_path, "http").errors
    assert errors["cancelled"] >= 1
    assert set(errors) <= {"cancelled", "unsent"}


def test_a_pipe_on_standard_input_that_closes_stops_the_probes(oracle: Oracle, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, planned("http", url=oracle.url("/ok")), duration=60.0)
    with subprocess.Popen(command(plan, tmp_path), stdin=subprocess.PIPE) as process:
        wait_while_asking(plan, 0.2)
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0
    assert len(read(tmp_path, "http").rows)


def test_a_crash_costs_what_came_after_the_last_flush(oracle: Oracle, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, planned("tcp", address=f"127.0.0.1:{oracle.port}", every=0.05), duration=60.0)
    with subprocess.Popen(command(plan, tmp_path), stdin=subprocess.DEVNULL) as process:
        wait_while_asking(plan, 0.0)
        while (tmp_path / "tcp.bin").stat().st_size <= 4096:  # the test's own timeout ends it
            time.sleep(0.05)
        process.kill()
    assert len(read(tmp_path, "tcp").rows) >= 1


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        (planned("tcp", address="nowhere"), "'nowhere' has no port"),
        (planned("http", url="http://x/", evry=1), "evry: Extra inputs"),
        (PlannedProbe(type="probes.health.no_such:Thing", parameters={}), "No module named"),
        (PlannedProbe(type="pathlib:Path", parameters={}), "pathlib:Path is no kind of probe"),
        (planned("command", run=["no-such-program"]), "command: there is no program 'no-such-program'"),
    ],
)
def test_a_wrong_plan_ends_with_2_and_one_line(tmp_path: Path, probe: PlannedProbe, said: str) -> None:
    ended = subprocess.run(
        command(plan_for(tmp_path, probe), tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert said in ended.stderr
    assert not list(tmp_path.glob("*.bin"))


def test_two_probes_never_write_one_file(tmp_path: Path) -> None:
    plan = plan_for(tmp_path, planned("tcp", address="a:1"), planned("tcp", address="a:2"))
    ended = subprocess.run(command(plan, tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (ended.returncode, "two probes have the name tcp" in ended.stderr) == (2, True)


def test_a_measurement_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "tcp.bin").write_bytes(b"kept")
    assert run(plan_for(tmp_path, planned("tcp", address="127.0.0.1:1")), tmp_path) == 2
    assert (tmp_path / "tcp.bin").read_bytes() == b"kept"
