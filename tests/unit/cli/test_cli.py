"""The command line from outside: exit codes, error lines, JSON."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENT = """\
name: a test
load:
  url: http://{box}/
  arrivals: {process: poisson, rate: 50/s}
timeline: {warmup: 0s, baseline: 1s, observe: 2s}
faults:
  - kind: netem
    on: box
    for: 1s
    delay: 50ms
"""
INVENTORY = "hosts: {box: {connection: local, endpoint: '127.0.0.1:1', interface: lo}}\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "x.yaml").write_text(EXPERIMENT, encoding="utf-8")
    (tmp_path / "inv.yaml").write_text(INVENTORY, encoding="utf-8")
    return tmp_path


def gameday(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GAMEDAY_LAB_DIR": str(folder / "no-lab"), "COLUMNS": "100"}
    argv = [sys.executable, "-m", "chaos", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (("delay: 50ms", "dely: 50ms"), "x.yaml:10:5: faults[0].dely: unknown key"),
        (("delay: 50ms", "delay: 50"), "x.yaml:10:5: faults[0].delay: '50' has no unit"),
        (("on: box", "on: nobody"), "x.yaml:8:5: faults[0].on"),
        (("timeline: {", "timeline: {{"), "x.yaml:5:"),
        ((EXPERIMENT, ""), "x.yaml:1:1: "),
        (("rate: 50/s", "rate: 0/s"), "x.yaml:4:32: load.arrivals.rate: must be more than 0"),
        (("for: 1s", "for: 60s"), "x.yaml:9:5: faults[0].for: the fault would end at 60 s"),
    ],
    ids=["unknown key", "missing unit", "unknown host", "syntax", "empty", "rate of 0", "too long"],
)
def test_bad_input_is_one_line_with_its_place_and_exit_2_and_touches_nothing(
    mistake: tuple[str, str], line: str, files: Path
) -> None:
    (files / "x.yaml").write_text(EXPERIMENT.replace(*mistake), encoding="utf-8")
    done = gameday(files, "run", "x.yaml", "-i", "inv.yaml")
    assert done.returncode == 2, done.stderr
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (files / "runs").exists()


def test_several_mistakes_are_all_told(files: Path) -> None:
    (files / "x.yaml").write_text(EXPERIMENT.replace("50/s", "50").replace("50ms", "50"), encoding="utf-8")
    done = gameday(files, "check", "x.yaml")
    assert done.returncode == 2
    assert [line.split(" ")[0] for line in done.stderr.splitlines()] == ["x.yaml:4:32:", "x.yaml:10:5:"]


def test_an_unreachable_host_is_exit_3_and_leaves_no_recording(files: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (files / "inv.yaml").write_text(f"hosts: {{box: {{address: 127.0.0.1, port: {port}}}}}\n", encoding="utf-8")
        done = gameday(files, "run", "x.yaml", "-i", "inv.yaml")
    assert done.returncode == 3
    assert f"box: no SSH to 127.0.0.1 port {port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (files / "runs").exists()


def test_a_broken_inventory_is_exit_2(files: Path) -> None:
    (files / "inv.yaml").write_text("hosts: {box: {adress: 10.0.0.1}}\n", encoding="utf-8")
    done = gameday(files, "run", "x.yaml", "-i", "inv.yaml")
    assert done.returncode == 2
    assert "inv.yaml:1:15: hosts.box.adress: unknown key" in done.stderr


def test_no_inventory_and_no_lab_says_what_to_do(files: Path) -> None:
    done = gameday(files, "run", "x.yaml")
    assert done.returncode == 2
    assert "gameday lab up" in done.stderr


def test_a_plan_shows_the_commands_and_their_undo(files: Path) -> None:
    done = gameday(files, "plan", "x.yaml", "-i", "inv.yaml")
    assert done.returncode == 0
    assert "netem limit" in done.stdout
    assert "tc qdisc del dev lo clsact" in done.stdout
    plan = json.loads(gameday(files, "plan", "x.yaml", "-i", "inv.yaml", "--json").stdout)
    assert plan["steps"][0]["host"] == "box"
    assert plan["commands"][0]["undo"]


def test_protected_hosts_are_refused_with_exit_3(files: Path) -> None:
    (files / "inv.yaml").write_text(INVENTORY + "protect: {hosts: [box]}\n", encoding="utf-8")
    done = gameday(files, "plan", "x.yaml", "-i", "inv.yaml")
    assert done.returncode == 3
    assert "box" in done.stderr


def test_the_schema_and_the_catalogue_are_json(files: Path) -> None:
    assert "netem" in gameday(files, "schema").stdout
    kinds = [(entry["is"], entry["kind"]) for entry in json.loads(gameday(files, "catalog", "--json").stdout)]
    order = ("fault", "load change", "probe")
    assert kinds == sorted(kinds, key=lambda entry: (order.index(entry[0]), entry[1]))
    assert {("fault", "node_kill"), ("load change", "burst"), ("probe", "icmp")} <= set(kinds)
    assert [e["kind"] for e in json.loads(gameday(files, "catalog", "tcp", "--json").stdout)] == ["tcp"]
    assert gameday(files, "catalog", "netm").returncode == 2


def test_a_folder_that_is_no_recording_is_exit_2(files: Path) -> None:
    done = gameday(files, "judge", ".")
    assert done.returncode == 2
    assert "not a recording" in done.stderr


def test_help_names_every_command(files: Path) -> None:
    said = gameday(files, "--help").stdout
    for command in (
        "check",
        "schema",
        "plan",
        "preflight",
        "run",
        "judge",
        "report",
        "heal",
        "probe",
        "catalog",
        "lab",
    ):
        assert f" {command} " in said


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    heavy = "numpy,scipy,paramiko,pyroute2,altair,pydantic,httpx"
    check = f"import sys, chaos.cli; sys.exit(','.join(m for m in '{heavy}'.split(',') if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
