"""Verdicts, series and recordings that the report is tested with, as `judge` and `run` would leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from chaos.clock import NS
from chaos.judge.verdict import BudgetLine, FaultLine, Figure, Generator, ProbeLine, Verdict
from chaos.record.samples import HEADER

ZERO = 5_000 * NS
SOUND = Generator(
    offered_rate=200.0,
    achieved_rate=199.97,
    send_delay_p50_s=0.00004,
    send_delay_p99_s=0.0004,
    send_delay_max_s=0.0031,
    unsent=0,
    sound=True,
)
NETEM = FaultLine(
    id="netem-0@worker-2",
    kind="netem",
    host="worker-2",
    applied_at_s=0.2,
    cleared_at_s=20.1,
    asked={"delay_s": 0.05, "loss": 0.005},
    achieved={"delay_s": 0.0501, "loss": 0.0048},
    confirmed=True,
    reverted=True,
)

PROBES = (
    ProbeLine(
        name="healthz",
        kind="http",
        n=750,
        failed=201,
        onset_at_s=0.31,
        detected_at_s=0.51,
        recovered_at_s=20.21,
        after_onset_s=-0.49,
    ),
    ProbeLine(name="tcp", kind="tcp", n=75, failed=0),
    ProbeLine(name="gpu", kind="promql", n=75, failed=49, onset_at_s=2.0, detected_at_s=4.0, after_onset_s=3.0),
)


def figures(**changes: Figure) -> dict[str, Figure]:
    usual = {
        "qps_mean": Figure(value=199.6, unit="1/s", interval=(198.1, 201.0), window_s=1.0, n=42),
        "qps_p05": Figure(value=181.0, unit="1/s", window_s=1.0, n=42),
        "qps_cv_raw": Figure(value=0.0861, unit="1", window_s=1.0, n=42),
        "qps_cv_noise": Figure(value=0.0707, unit="1", window_s=1.0, n=42),
        "qps_cv_real": Figure(value=0.0492, unit="1", window_s=1.0, n=42),
        "qps_dip": Figure(value=0.452, unit="1", window_s=1.0),
        "goodput_ratio": Figure(value=0.874, unit="1", n=15000),
        "error_ratio": Figure(value=0.113, unit="1", n=15000),
        "latency_p50_s": Figure(value=0.0123, unit="s", n=14968),
        "latency_p90_s": Figure(value=0.0811, unit="s", n=14968),
        "latency_p99_s": Figure(value=0.381, unit="s", n=14968),
        "time_to_detect_s": Figure(value=2.0, unit="s"),
        "time_to_recover_s": Figure(value=23.0, unit="s"),
        "recovery_lag_s": Figure(value=3.1, unit="s"),
        "lost_requests": Figure(value=1893.0, unit="requests"),
        "availability_requests": Figure(value=0.99995, unit="1", interval=(0.99971, 0.99999)),
    }
    return usual | changes


def budget(
    name: str, limit: float, value: float | None, verdict: str, unit: str = "s", side: str = "max"
) -> BudgetLine:
    return BudgetLine.model_validate(
        {"name": name, "limit": limit, "side": side, "unit": unit, "value": value, "verdict": verdict}
    )


def verdict(outcome: str = "pass", **changes: Any) -> Verdict:
    late = outcome == "fail"
    usual: dict[str, Any] = {
        "experiment": "50 ms on one worker",
        "run": "runs/50-ms-on-one-worker/20261123T180000Z-3f2a",
        "verdict": outcome,
        "reasons": ("mttr: 23 s, at most 15 s is allowed",) if late else (),
        "generator": SOUND,
        "figures": figures(),
        "budgets": (
            budget("qps_cv", 0.2, 0.0492, "pass", "1"),
            budget("qps_dip", 0.5, 0.452, "pass", "1"),
            budget("availability", 0.99, 0.99995, "pass", "1", "min"),
            budget("mttr", 15.0 if late else 30.0, 23.0, outcome),
        ),
        "faults": (NETEM,),
    }
    return Verdict.model_validate(usual | changes)


def streamed() -> Verdict:
    """Return the verdict of a load of streams, some of which failed, by a load that told what it used."""
    tokens = {
        "ttft_p50_s": Figure(value=0.0421, unit="s", n=14968),
        "ttft_p90_s": Figure(value=0.0933, unit="s", n=14968),
        "ttft_p99_s": Figure(value=0.21, unit="s", n=14968),
        "tpot_p50_s": Figure(value=0.0102, unit="s", n=14968),
        "tpot_p99_s": Figure(value=0.0312, unit="s", n=14968),
        "itl_p50_s": Figure(value=0.0099, unit="s", n=284_392),
        "itl_p99_s": Figure(value=0.044, unit="s", n=284_392),
        "tokens_per_second": Figure(value=3992.0, unit="1/s"),
    }
    used = {"transport": "wire", "cpu_busiest": 0.312, "loop_lag_p99_s": 0.00031, "loop_lag_max_s": 0.0042}
    errors = {"status 503": 1211, "connect_refused": 32, "timeout": 4}
    load = SOUND.model_copy(update=used)
    budgets = (budget("ttft_p99", 0.5, 0.21, "pass"), budget("tokens_per_second", 3000, 3992, "pass", "1/s", "min"))
    return verdict(figures=figures(**tokens), generator=load, errors=errors, budgets=budgets)


def unsound() -> Verdict:
    load = SOUND.model_copy(update={"achieved_rate": 171.2, "send_delay_p99_s": 0.31, "unsent": 412, "sound": False})
    return verdict(
        "unknown",
        generator=load,
        figures=figures(time_to_recover_s=Figure(value=None, unit="s")),
        budgets=(budget("mttr", 30.0, None, "unknown"), budget("qps_cv", 0.2, 0.0492, "unknown", "1")),
        faults=(NETEM.model_copy(update={"confirmed": False, "achieved": {}}),),
        reasons=(
            "the load generator sent 171.2/s of the 200/s intended (99 % are needed): lower the rate or add workers",
            "netem on worker-2 was not confirmed: no packet passed the qdisc while the fault held",
        ),
    )


def event(event: str, at_s: float, /, **fields: Any) -> dict[str, Any]:
    return {"v": 1, "t": ZERO + round(at_s * NS), "utc": "2026-11-23T18:00:25Z", "event": event} | fields


def events() -> list[dict[str, Any]]:
    fault = {"fault": "netem-0@worker-2", "host": "worker-2"}
    return [
        event("run.started", -27.0, command="gameday run experiments/network/worker-latency.yaml"),
        event("load.started", -25.0, zero=ZERO),
        event("phase", -25.0, name="warmup"),
        event("phase", -20.0, name="baseline"),
        event("fault.armed", -0.4, **fault),
        event("phase", 0.0, name="observe"),
        event("fault.applied", 0.2, kind="netem", asked={"delay_s": 0.05}, began=ZERO, confirmed=True, **fault),
        event("fault.dose", 19.5, achieved={"delay_s": 0.0501}, confirmed=True, why_not="", **fault),
        event("fault.cleared", 20.1, began=ZERO + 20 * NS, reverted=True, by="controller", **fault),
        event("load.ended", 50.0, status=0),
        event("run.ended", 51.0, outcome="done", why=""),
    ]


TERMS: dict[str, Any] = {
    "name": "50 ms on one worker",
    "hypothesis": "One slow worker costs at most 20 % of QPS, and QPS is back 15 s after the fault clears.",
    "rate": 200.0,
    "slo_latency": 0.25,
    "warmup": 5.0,
    "baseline": 20.0,
    "observe": 50.0,
}
META: dict[str, Any] = {"gameday": "0.1.0", "python": "3.11.2", "host": {"name": "controller", "cpus": 8}}
YAML = "name: 50 ms on one worker\nload:\n  url: http://gateway/v1\n"


def write_recording(path: Path, log: list[dict[str, Any]] | None = None, **terms: Any) -> Path:
    """Write a recording of 75 s at 200/s whose requests are slow, and at times fail, while the fault holds."""
    path.mkdir(parents=True)
    (path / "plan.json").write_text(json.dumps({"terms": TERMS | terms}))
    (path / "meta.json").write_text(json.dumps(META))
    (path / "experiment.yaml").write_text(YAML)
    lines = events() if log is None else log
    (path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_samples(path / "samples.bin")
    return path


def write_samples(path: Path) -> None:
    random = np.random.default_rng(7)
    at = np.sort(random.uniform(-25, 50, 15_000))
    slow = (at > 0.5) & (at < 21.5) & (random.random(at.size) < 0.45)
    latency = 0.012 * random.gamma(8, 1 / 8, at.size) + np.where(slow, random.gamma(3, 0.13, at.size), 0)
    columns = [("scheduled", "<i8"), ("sent", "<i8"), ("first", "<i8"), ("end", "<i8"), ("bytes", "<i8")]
    columns += [("status", "<i2"), ("klass", "<i2"), ("worker", "<i2"), ("error", "<i2")]
    rows = np.zeros(at.size, np.dtype(columns))
    rows["scheduled"] = rows["sent"] = ZERO + (at * NS).astype(np.int64)
    rows["first"] = rows["end"] = rows["scheduled"] + (latency * NS).astype(np.int64)
    failed = slow & (random.random(at.size) < 0.9)
    rows["status"] = np.where(failed, 503, 200)
    header = json.dumps({"columns": columns, "classes": ["default"], "errors": ["ok"]}).encode()
    path.write_bytes(header.ljust(HEADER - 1) + b"\n" + rows.tobytes())
