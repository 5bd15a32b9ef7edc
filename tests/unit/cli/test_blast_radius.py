"""What the inventory protects, from outside: exit codes, the line to type, a rehearsal against this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.cli.test_cli import EXPERIMENT, INVENTORY, gameday

PAUSE = """\
name: {name}
load:
  url: http://{{box}}/
  arrivals: {{process: constant, rate: 20/s}}
  timeout: 1s
timeline: {{warmup: 0s, baseline: 1s, observe: 2s}}
faults:
  - {{kind: process_pause, on: {on}, for: 1s, match: "{match}"}}
budgets: {{mttr: 1s, availability: 1%}}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "x.yaml").write_text(EXPERIMENT, encoding="utf-8")
    return tmp_path


def protect(folder: Path, text: str) -> None:
    (folder / "inv.yaml").write_text(f"{INVENTORY}protect: {text}\n", encoding="utf-8")


NEVER = '{hours: {days: mon, between: ["00:00", "00:01"], zone: Pacific/Apia}}'


@pytest.mark.parametrize(
    ("guard", "arguments", "said"),
    [
        ("{environment: production, confirm: true}", (), "type --yes-really production"),
        ("{environment: production, confirm: true}", ("--yes-really", "prod"), "type --yes-really production"),
        (NEVER, (), "(protect.hours)"),
        (NEVER, ("--dry-run",), "(protect.hours)"),
    ],
)
def test_run_is_refused_with_exit_3_before_anything_is_touched(
    guard: str, arguments: tuple[str, ...], said: str, files: Path
) -> None:
    protect(files, guard)
    done = gameday(files, "run", "x.yaml", "-i", "inv.yaml", *arguments)
    assert done.returncode == 3, done.stderr
    assert said in done.stderr
    assert not (files / "runs").exists()


def test_a_wrong_zone_is_exit_2_at_its_place(files: Path) -> None:
    protect(files, "{hours: {zone: Mars/Olympus}}")
    done = gameday(files, "plan", "x.yaml", "-i", "inv.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("gameday: inv.yaml:2:19: protect.hours.zone: 'Mars/Olympus' is no time zone")


def test_the_plan_says_how_far_it_reaches(files: Path) -> None:
    guard = NEVER.removesuffix("}") + ", max_hosts: 3, environment: production, confirm: true}"
    protect(files, guard)
    done = gameday(files, "plan", "x.yaml", "-i", "inv.yaml")
    assert done.returncode == 0, done.stderr
    assert "reach   box; 1 at once at most; 3 allowed" in done.stdout
    assert "hours   mon 00:00-00:01 Pacific/Apia: faults would be on from" in done.stdout
    assert "where   production; to run it, give --yes-really production" in done.stdout
    assert "\nlasts   " in done.stdout


class Answers(BaseHTTPRequestHandler):
    """Answers 200 to every GET."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def box() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_the_second_experiment_is_refused_before_the_first_one_runs(files: Path, box: int) -> None:
    hosts = f"box: {{connection: local, endpoint: '127.0.0.1:{box}'}}, kept: {{connection: local}}"
    (files / "inv.yaml").write_text(f"hosts: {{{hosts}}}\nprotect: {{hosts: [kept]}}\n", encoding="utf-8")
    for name, on in (("a", "box"), ("b", "kept")):
        (files / f"{name}.yaml").write_text(PAUSE.format(name=name, on=on, match="x"), encoding="utf-8")
    done = gameday(files, "run", "a.yaml", "b.yaml", "-i", "inv.yaml")
    assert done.returncode == 3
    assert "kept is protected" in done.stderr
    assert not (files / "runs").exists()


def test_a_rehearsal_does_all_but_the_fault_and_passes_nothing(files: Path, box: int) -> None:
    (files / "inv.yaml").write_text(
        f"hosts: {{box: {{connection: local, endpoint: '127.0.0.1:{box}'}}}}\n", encoding="utf-8"
    )
    with subprocess.Popen([sys.executable, "-c", _WITNESS, "asleep-" + files.name], stdout=subprocess.PIPE) as sleeper:
        match = f"[a]sleep-{files.name}"
        (files / "x.yaml").write_text(PAUSE.format(name="a pause", on="box", match=match), encoding="utf-8")
        done = gameday(files, "run", "x.yaml", "-i", "inv.yaml", "--dry-run")
        sleeper.terminate()
        told = sleeper.communicate()[0]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "? REHEARSAL  a pause: it went well; no fault was applied" in done.stdout
    assert "PASS  a pause" not in done.stdout
    recording = next(path.parent for path in (files / "runs").glob("*/*/verdict.json"))
    verdict = json.loads((recording / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["rehearsal"]) == ("unknown", "pass")
    assert [line["name"] for line in verdict["budgets"]] == ["availability"]
    assert [(line["applied_at_s"], line["confirmed"]) for line in verdict["faults"]] == [(None, False)]
    assert json.loads((recording / "plan.json").read_text())["terms"]["rehearsal"] is True
    events = [json.loads(line) for line in (recording / "events.jsonl").read_text().splitlines()]
    assert "fault.armed" in {event["event"] for event in events}
    fuses = Path("/run/gameday/fuses")
    assert not [fuse for fuse in (fuses.iterdir() if fuses.exists() else ()) if recording.name in fuse.name]
    assert told == b"", "it got SIGCONT"
    assert "REHEARSAL" in (recording / "report.html").read_text()


_WITNESS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
signal.signal(signal.SIGCONT, lambda *_: print("let go, so it was stopped", flush=True))
while True:
    time.sleep(0.1)
"""
