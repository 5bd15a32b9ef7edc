"""Whole runs of `gameday run` that a health probe, or a query to a real Prometheus, ends early."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from chaos.clock import NS
from chaos.record.recording import Recording
from chaos.report.evidence import happenings
from tests.unit.probes.real_prometheus import prometheus
from tests.unit.run.outage_server import outage_server
from tests.unit.run.scraped_service import Service, serving
from tests.unit.run.test_watched import wait_for_zero

HELD = 0.5  # s
LENGTH = 60.0  # s of a run that nothing ends


def gameday(folder: Path, port: int, rest: str, bad: Callable[[int], None]) -> tuple[str, Recording]:
    """Run an experiment, exit status 4, and call `bad` with its zero (ns); return what was printed and recorded."""
    (folder / "hosts.yaml").write_text("hosts: {nowhere: {address: 127.0.0.1}}\n")
    (folder / "experiment.yaml").write_text(
        f"name: guarded\nload: {{url: 'http://127.0.0.1:{port}/', arrivals: {{rate: 50/s}}}}\n"
        f"timeline: {{warmup: 0s, baseline: 500ms, observe: {LENGTH}s}}\n{rest}"
    )
    argv = [sys.executable, "-c", "from chaos.cli.app import main; main()", "run", str(folder / "experiment.yaml")]
    argv += ["-i", str(folder / "hosts.yaml"), "--out", str(folder / "runs")]
    killer = threading.Thread(target=lambda: bad(wait_for_zero(folder / "runs")))
    killer.start()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    killer.join()
    assert done.returncode == 4, done.stdout + done.stderr
    return done.stdout, Recording.open(next((folder / "runs").glob("*/latest")))


def sleep_until(ns: int) -> None:
    time.sleep(max(0.0, ns / NS - time.monotonic()))


def check(printed: str, recording: Recording, condition: str) -> None:
    """The run ended early, and event, first line and evidence say which condition held."""
    (abort,), (ended,) = recording.named("abort"), recording.named("run.ended")
    assert (abort["condition"], abort["blind"], ended["outcome"]) == (condition, False, "aborted")
    assert ended["t"] - recording.named("load.started")[0]["zero"] < LENGTH / 2 * NS
    assert abort["t"] - abort["since"] >= HELD * NS
    why = f"the run was aborted by its guard `{condition}`, {abort['why']}: make the fault milder, or relax the guard"
    verdict = json.loads((recording.path / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["reasons"][0]) == ("unknown", why)
    assert "the run was aborted by its guard" in printed.split("UNKNOWN", 1)[1].splitlines()[1]
    row = next(row for row in happenings(recording.events, recording.zero) if row.what == "aborted")
    assert condition in row.detail and "it held" in row.detail


def test_a_probe_that_stays_unhealthy_ends_the_run(tmp_path: Path) -> None:
    with outage_server() as server:

        def go_away(zero: int) -> None:
            sleep_until(zero + NS // 2)
            server.go_away()

        probe = f"{{kind: http, name: healthz, url: 'http://127.0.0.1:{server.port}/', every: 100ms}}"
        rest = f"probes: [{probe}]\nabort: [probe healthz unhealthy for 500ms]\n"
        printed, recording = gameday(tmp_path, server.port, rest, go_away)
    check(printed, recording, "probe healthz unhealthy for 500ms")
    assert "its last check was: connect refused" in recording.named("abort")[0]["why"]
    assert not (recording.path / "probes-live.bin").exists()


def test_a_query_whose_value_stays_bad_ends_the_run(tmp_path: Path) -> None:
    service = Service()
    failures = 'sum(rate(done{code="500"}[400ms])) or vector(0)'  # its first scrape comes when the run has begun
    with (
        outage_server() as server,
        serving(service) as target,
        prometheus(tmp_path, target, scraped=False) as running,
    ):

        def go_bad(zero: int) -> None:
            service.outage = (zero / NS + 0.5, float("inf"))

        rest = f"abort: [{{promql: '{failures}', prometheus: '{running.url}', above: 20, for: 500ms}}]\n"
        printed, recording = gameday(tmp_path, server.port, rest, go_bad)
    check(printed, recording, f"{failures} > 20 for 500 ms")
    abort = recording.named("abort")[0]
    assert abort["values"][-1] > 20 and abort["since"] > recording.named("load.started")[0]["zero"]
