"""Health probes with a known truth, added to a scripted recording: when each check was due, when it ended, and how."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chaos.record.recording import Recording
from chaos.record.samples import HEADER
from tests.unit.judge.scripted import COLUMNS, NS, Outage, Script, write

ERRORS = ("ok", "unhealthy", "timeout", "cancelled", "unsent", "local_resources")
DEFAULTS: dict[str, Any] = {
    "name": "healthz",
    "kind": "http",
    "every": 0.1,
    "timeout": 1.0,
    "failure_threshold": 3,
    "success_threshold": 1,
}
Check = tuple[float, float, str]
"""When it was due, how long it took (s), and what became of it (one of ERRORS)."""


def checks(script: Script, every: float = 0.1, takes: float = 0.01, fails: str = "unhealthy") -> list[Check]:
    """Return the checks of a probe that fails exactly while an outage lasts."""
    due = np.arange(-script.warmup - script.baseline, script.observe - 1e-9, every)
    return [(float(at), takes, fails if inside(script.outages, at + takes) else "ok") for at in due]


def inside(outages: Sequence[Outage], at: float) -> bool:
    return any(outage.begin <= at < outage.end for outage in outages)


def with_probes(
    script: Script, folder: Path, probes: dict[str, list[Check] | None], status: int | None = 0, **terms: Any
) -> Recording:
    """Write a recording with probes by name; one whose checks are None left no file."""
    recording = write(script, folder)
    plan = json.loads((folder / "plan.json").read_text())
    plan["terms"]["probes"] = [DEFAULTS | terms | {"name": name} for name in probes]
    (folder / "plan.json").write_text(json.dumps(plan))
    if status is not None:
        with (folder / "events.jsonl").open("a") as file:
            file.write(
                json.dumps({"v": 1, "t": script.zero, "utc": "", "event": "probes.ended", "status": status}) + "\n"
            )
    (folder / "probes").mkdir()
    for name, rows in probes.items():
        if rows is not None:
            (folder / "probes" / f"{name}.bin").write_bytes(_file(rows, script.zero))
    return recording


def _file(rows: list[Check], zero: int) -> bytes:
    columns = np.zeros(len(rows), COLUMNS)
    columns["scheduled"] = columns["sent"] = [zero + round(due * NS) for due, _, _ in rows]
    columns["end"] = [zero + round((due + takes) * NS) for due, takes, _ in rows]
    columns["error"] = [ERRORS.index(error) for _, _, error in rows]
    columns = columns[np.argsort(columns["end"], kind="stable")]
    header = {"format": "gameday-samples", "version": 1, "columns": COLUMNS, "classes": ["check"], "errors": ERRORS}
    return json.dumps(header).encode().ljust(HEADER - 1) + b"\n" + columns.tobytes()
