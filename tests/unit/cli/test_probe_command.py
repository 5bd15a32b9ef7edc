"""gameday probe from outside, against a real server: what it prints, what it records, what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.record.calibration import Calibration, OwnFluctuation
from chaos.run.calibration import path_of, this_machine
from tests.unit.probes.oracle_server import Oracle, running


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with running() as server:
        yield server


def probe(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "100"}
    argv = [sys.executable, "-m", "chaos", "probe", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def calibrated(folder: Path, ceiling: float) -> Calibration:
    """Leave a calibration of this machine where the command looks for it."""
    own = OwnFluctuation(rate=100, window_s=1, n=10, cv=0.004)
    known = Calibration(measured="2026-11-24", machine=this_machine(), ceiling=ceiling, fluctuation=(own,))
    path = folder / "state" / "gameday" / "calibration" / path_of(known.machine).name
    path.parent.mkdir(parents=True)
    path.write_text(known.model_dump_json(), encoding="utf-8")
    return known


def load_of(folder: Path) -> dict[str, Any]:
    (found,) = folder.glob("runs/*/latest/plan.json")
    load: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))["load"]
    return load


def test_the_options_make_the_load_and_nothing_is_shown_that_does_not_apply(oracle: Oracle, tmp_path: Path) -> None:
    options = (
        "--rate 50/s --for 1s --arrivals gamma --burstiness 4 --method PUT -H X-A:1 -H content-type:text/plain "
        "--body {seq} --slo 2s --timeout 3s --connections 7 --seed 3"
    )
    known = calibrated(tmp_path, 1000)
    done = probe(tmp_path, oracle.url("/ok"), *options.split())
    assert done.returncode == 0, done.stdout + done.stderr
    load = load_of(tmp_path)
    assert (load["process"], load["rate"], load["burstiness"]) == ("gamma", 50, 4)
    assert (load["method"], load["headers"]) == ("PUT", {"X-A": "1", "content-type": "text/plain"})
    assert (load["timeout"], load["connections"], load["slo"]["latency"]) == (3, 7, 2)
    assert oracle.requests[0].startswith(b"PUT /ok ")
    assert oracle.requests[0].endswith(b"\r\n\r\n0")
    for part in ("MEASURED", "QPS      mean ", "raw", "noise", "p50", "p90", "p99", "max", "0 unsent", "report.html"):
        assert part in done.stdout
    for absent in ("PASS", "dip", "Fault", "baseline", "Recovery", "Errors", "timeline"):
        assert absent not in done.stdout
    (meta,) = tmp_path.glob("runs/*/latest/meta.json")
    assert json.loads(meta.read_text())["calibration"] == known.model_dump(mode="json")


def test_a_rate_that_this_machine_can_not_keep_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    calibrated(tmp_path, 1000)
    done = probe(tmp_path, "http://127.0.0.1:1/", "--rate", "1001/s")
    assert done.returncode == 3
    assert "1,001/s is above the 1,000/s that the generator of" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_json_body_is_posted_and_failures_are_told_by_kind(oracle: Oracle, tmp_path: Path) -> None:
    options = ["--rate", "50/s", "--for", "1s", "--arrivals", "constant", "--slo", "2s", "--json"]
    options += ["--body", '[1,  "{seq}"]']
    verdict = json.loads(probe(tmp_path, oracle.url("/500"), *options).stdout)
    assert verdict["errors"] == {"status 500": 50}
    assert any(request.endswith(b'\r\n\r\n[1, "99"]') for request in oracle.requests)
    assert verdict["figures"]["error_ratio"]["value"] == 1
    assert "qps_dip" not in verdict["figures"]
    assert (load_of(tmp_path)["method"], load_of(tmp_path)["headers"]) == ("POST", {"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ("", ["gameday: URL: is missing"]),
        ("ftp://x/", ["gameday: URL: 'ftp://x/' is no URL to send to; write it like http://host/path"]),
        (
            "http://x/ --rate 50 --for 0s",
            ["gameday: --rate: '50' has no unit; write it like \"200/s\"", "--for: must be more than 0; found 0"],
        ),
        ("http://x/ --arrivals even", ["gameday: --arrivals: must be 'constant', 'poisson'"]),
        (
            "http://x/ --calibrate",
            ["gameday: --calibrate: measures this machine alone and takes no URL; found http://x/"],
        ),
        (
            "http://x/ --body {",
            [
                "gameday: --body: is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 "
                "(char 1); say what it is with --header 'Content-Type: ...'"
            ],
        ),
        ("http://x/ --connections 0", ["gameday: --connections: must be at least 1; found 0"]),
        ("http://x/ --key k.pem", ["gameday: --cert: has a key and no certificate to go with it"]),
        ("http://x/ --header oops", ["gameday: --header: must be NAME: VALUE; found 'oops'"]),
        ("http://x/{y}", ["gameday: URL: 'http://x/{y}' has braces; write them percent-encoded (%7B, %7D)"]),
    ],
)
def test_wrong_options_are_named_and_nothing_is_touched(options: str, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "k.pem").touch()
    done = probe(tmp_path, *options.split())
    said = done.stderr.splitlines()
    assert (done.returncode, len(said)) == (2, len(lines)), done.stderr
    assert all(one.startswith(line) for one, line in zip(said, lines, strict=True)), done.stderr
    assert not (tmp_path / "runs").exists()
