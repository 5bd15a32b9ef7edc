"""A recording from somebody else is data: it is judged, or refused with one line; nothing outside it is touched."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from chaos.cli.app import app
from chaos.errors import RecordingError
from chaos.judge import judge
from chaos.judge.series import series_of
from chaos.record.recording import Recording
from chaos.record.samples import HEADER
from chaos.report.jsonout import verdict_json
from chaos.report.terminal import render_verdict
from tests.unit.judge.scripted import COLUMNS, Injected, Outage, Script
from tests.unit.judge.scripted_probes import checks, with_probes

EVIL = "\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>\u202e"
CALIBRATION = {
    "measured": "2026-01-01", "machine": {"hostname": "h", "cpu": "c", "cores": 2, "python": "3", "gameday": "1"},
    "ceiling": 1e3, "fluctuation": [{"rate": 100.0, "window_s": 1.0, "n": 3, "cv": 0.1}],
}  # fmt: skip
LAGS = {f"loop_lag_{name}_s": 0.0 for name in ("p50", "p99", "max")}
USAGE = {"transport": "asyncio", "cpu_s": 1.0, "wall_s": 2.0, "busiest": 0.2, **LAGS}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording that can be judged, with every file that a run may leave in JSON."""
    folder = tmp_path_factory.mktemp("sound") / "run"
    script = Script(
        rate=20, warmup=1, baseline=6, observe=8, budgets={"mttr": 5.0},
        faults=(Injected(at=1.0, cleared=4.0),), outages=(Outage(1, 4),),
    )  # fmt: skip
    with_probes(script, folder, {"healthz": checks(script)})
    (folder / "experiment.yaml").write_text("name: x\n")
    (folder / "meta.json").write_text(json.dumps({"calibration": CALIBRATION}))
    (folder / "generator.json").write_text(json.dumps(USAGE))
    (folder / "fingerprints.json").write_text('{"before": {"worker-1": ["a"]}, "after": {"worker-1": ["b"]}}')
    return folder


@pytest.fixture
def recording(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "run"))


def header(**changes: Any) -> bytes:
    known = {"columns": COLUMNS, "classes": ["default"], "errors": ["ok"]}
    return json.dumps(known | changes).encode().ljust(HEADER - 1) + b"\n" + bytes(4096)


def set_in(name: str, path: tuple[str | int, ...], value: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        held = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(put(held, path, value)))

    return change


def put(held: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    held = deepcopy(held)
    inner = held
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return held


def linked(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        secret = folder.parent / "outside"
        secret.write_text("precious")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(secret)

    return change


def written(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def piped(folder: Path) -> None:
    (folder / "meta.json").unlink()
    os.mkfifo(folder / "meta.json")


DEEP, TERMS = "[" * 100_000, ("terms",)
SPOILT: dict[str, Callable[[Path], object]] = {
    **{f"{name} nested deeply": written(name, DEEP) for name in ("plan.json", "generator.json")},
    "events.jsonl nested deeply": written("events.jsonl", DEEP + "\n{}"),
    "a number of 9 999 digits": lambda at: (at / "generator.json").write_text("9" * 9999),
    "no text": lambda at: (at / "plan.json").write_bytes(b"\xff\xfe"),
    "empty": lambda at: (at / "plan.json").write_bytes(b""),
    "cut short": lambda at: (at / "plan.json").write_text((at / "plan.json").read_text()[:-9]),
    "samples cut short": lambda at: (at / "samples.bin").write_bytes((at / "samples.bin").read_bytes()[:100]),
    "samples of objects": lambda at: (at / "samples.bin").write_bytes(header(columns=[["scheduled", "O"]])),
    "a row of gigabytes": lambda at: (at / "samples.bin").write_bytes(header(columns=[["scheduled", "S2000000000"]])),
    "no columns": lambda at: (at / "samples.bin").write_bytes(header(columns=[])),
    "columns of another kind": lambda at: (at / "samples.bin").write_bytes(header(columns={"a": 1})),
    "classes of another kind": lambda at: (at / "samples.bin").write_bytes(header(classes=3)),
    "an event that is none": lambda at: (at / "events.jsonl").write_text('"fault."\n{}\n'),
    "a run of a thousand years": set_in("plan.json", (*TERMS, "observe"), 3e10),
    "windows without end": set_in("plan.json", (*TERMS, "window"), 1e-300),
    "no number": set_in("plan.json", (*TERMS, "warmup"), float("nan")),
    "a budget that nobody knows": set_in("plan.json", (*TERMS, "budgets"), [{"name": EVIL, "limit": 1}]),
    **{
        f"{name} is a link": linked(name)
        for name in ("plan.json", "events.jsonl", "samples.bin", "experiment.yaml", "verdict.json", "report.html",
                     "chunks.bin", "traffic.jsonl", "probes/healthz.bin")
    },
    "a pipe": piped,
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_it_is_refused_with_one_line_and_exit_2(how: str, recording: Path) -> None:
    SPOILT[how](recording)
    page = recording.parent / "page.html"
    for command in (["judge", str(recording)], ["report", str(recording), "-o", str(page)]):
        done = CliRunner().invoke(app, command)
        error = done.exception
        assert isinstance(error, RecordingError), f"{command[0]}: {done.output}{error!r}"
        assert error.exit_code == 2
        assert len(str(error)) < 1000
        assert "\n" not in str(error)
    outside = recording.parent / "outside"
    assert not outside.exists() or outside.read_text() == "precious"
    assert not page.exists()


@pytest.mark.parametrize("name", ["../../outside", "/etc/hostname", "a/b", "..", "", "x" * 300, "a\0b"])
def test_a_probe_s_name_leads_nowhere(name: str, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_in("plan.json", (*TERMS, "probes", 0, "name"), name)(recording)
    opened: list[str] = []
    monkeypatch.setattr("chaos.record.recording.read_samples", lambda path: opened.append(str(path)))
    with pytest.raises(RecordingError, match="which is no name of a file"):
        Recording.open(recording).checks(name)
    assert opened == []


def test_names_drive_neither_the_terminal_nor_the_page(recording: Path) -> None:
    lines = [json.loads(line) for line in (recording / "events.jsonl").read_text().splitlines()]
    stuck = {"event": "fault.stuck", "t": lines[-1]["t"], "why": EVIL, "by_hand": EVIL}
    told = [e | {"host": EVIL, "fault": EVIL, "kind": EVIL} if "fault" in e else e for e in lines]
    told.append(stuck | {"host": EVIL, "fault": EVIL})
    (recording / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in told))
    set_in("plan.json", (*TERMS, "name"), EVIL)(recording)
    set_in("plan.json", (*TERMS, "hypothesis"), EVIL)(recording)
    done = CliRunner().invoke(app, ["judge", str(recording)])
    assert done.exit_code == 5, done.output
    assert "owned" in done.output
    assert all(c.isprintable() or c == "\n" for c in done.output), done.output
    page = (recording / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "\x1b" not in page


FILES = ("plan.json", "events.jsonl", "meta.json", "generator.json", "fingerprints.json")
HOSTILE: st.SearchStrategy[Any] = st.sampled_from(
    [
        None, True, -1, 0, 1e308, float("nan"), float("inf"), -float("inf"), 10**400, 2**63, "", "x", "../../../etc",
        EVIL, [], {}, [1], {"a": 1}, [[[[]]]], {"event": "fault.applied"},
    ]
)  # fmt: skip


def places(held: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[Any] = list(held.items()) if isinstance(held, dict) else []
    inner = list(enumerate(held)) if isinstance(held, list) else inner
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_where_it_is_judged_or_refused(sound: Path, recording: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES))
    text = (sound / name).read_text()
    held = [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)
    for _ in range(data.draw(st.integers(1, 2))):
        held = put(held, data.draw(st.sampled_from(places(held))), data.draw(HOSTILE))
    lines = held if name.endswith("l") and isinstance(held, list) else [held]
    (recording / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    try:
        found = Recording.open(recording)
        verdict = judge(found)
        verdict_json([verdict])
        render_verdict(verdict, series_of(found), Console(file=io.StringIO()), hypothesis=found.terms.hypothesis)
    except RecordingError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    finally:
        (recording / name).write_text(text)
