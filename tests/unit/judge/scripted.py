"""Recordings with a known truth, written as real folders: what the judge is tested against.

A `Script` says what load was offered and what the service did; `write` makes plan.json, events.jsonl and samples.bin
of it in the format that `chaos.record` reads. Requests are drawn one by one; no expected figure is computed here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chaos.judge.requests import FloatArray
from chaos.record.recording import Recording
from chaos.record.samples import HEADER
from chaos.record.terms import BUDGETS

NS = 1_000_000_000
ERRORS = ("ok", "reset", "unsent", "timeout")
COLUMNS = [(n, "<i8") for n in ("scheduled", "sent", "first", "end", "bytes")]
COLUMNS += [(n, "<i2") for n in ("status", "klass", "worker", "error")]
COLUMNS += [("first_token", "<i8"), ("tokens", "<i4"), ("chunks", "<i4")]


@dataclass(frozen=True)
class Outage:
    """From `begin` to `end` (s from zero) requests fail with probability `depth`, or take `slower` times as long."""

    begin: float
    end: float
    depth: float = 1.0
    slower: float = 1.0


@dataclass(frozen=True)
class Injected:
    """One fault as the events tell of it; times in s from zero, None for an event that is not there."""

    at: float | None = 0.0
    cleared: float | None = 20.0
    confirmed: bool = True
    dosed: bool = True
    reverted: bool = True
    id: str = "f0"
    host: str = "worker-1"


@dataclass(frozen=True)
class Script:
    """A run: the load, what the service did, what the harness did."""

    rate: float = 200.0
    process: str = "poisson"
    burstiness: float = 1.0
    profile: Sequence[tuple[float, float, float, float]] = ()
    """The intended rate over time: begin, end (s from zero), first, last (1/s); `rate` is then the highest of all."""
    warmup: float = 5.0
    baseline: float = 30.0
    observe: float = 60.0
    window: float = 1.0
    slo: float | None = 0.5
    latency: float = 0.020
    outages: Sequence[Outage] = ()
    faults: Sequence[Injected] = ()
    cv: float = 0.0
    drift: float = 0.0
    """By how much a second the failing share grows until zero."""
    error_ratio: float = 0.0
    send_delay: float = 0.0001
    unsent: float = 0.0
    budgets: dict[str, float] = field(default_factory=dict)
    outcome: str | None = "done"
    why: str = ""
    load_status: int | None = 0
    started: bool = True
    extra: Sequence[dict[str, Any]] = ()
    terms: dict[str, Any] = field(default_factory=dict)
    """What the terms say otherwise than the script."""
    zero: int = 5_000 * NS
    seed: int = 0
    shuffled: bool = False
    lost_rows: float = 0.0


def write(script: Script, folder: Path) -> Recording:
    """Write the recording of a script and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps({"terms": terms(script)}), encoding="utf-8")
    lines = [json.dumps({"v": 1, "utc": "", **event}) for event in events(script)]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if script.started:
        write_samples(samples(script), folder / "samples.bin")
    return Recording.open(folder)


def write_samples(rows: np.ndarray[Any, Any], path: Path) -> None:
    header = {"format": "gameday-samples", "version": 1, "columns": COLUMNS, "classes": ["default"], "errors": ERRORS}
    path.write_bytes(json.dumps(header).encode().ljust(HEADER - 1) + b"\n" + rows.tobytes())


def terms(script: Script) -> dict[str, Any]:
    assert set(script.budgets) <= set(BUDGETS)
    return {
        "name": "scripted",
        "rate": script.rate,
        "process": script.process,
        "burstiness": script.burstiness,
        "profile": [dict(zip(("begin", "end", "first", "last"), piece, strict=True)) for piece in script.profile],
        "slo_latency": script.slo,
        "warmup": script.warmup,
        "baseline": script.baseline,
        "observe": script.observe,
        "window": script.window,
        "budgets": [{"name": name, "limit": limit} for name, limit in script.budgets.items()],
    } | script.terms


def events(script: Script) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [_event(script, -script.warmup - script.baseline, "run.started", command=[])]
    if script.started:
        found.append(_event(script, -script.warmup - script.baseline, "load.started", zero=script.zero))
    for fault in script.faults:
        found += _told(script, fault)
    if script.load_status is not None:
        found.append(_event(script, script.observe, "load.ended", status=script.load_status))
    found += [
        _event(script, script.observe, e["event"], **{k: v for k, v in e.items() if k != "event"}) for e in script.extra
    ]
    if script.outcome:
        found.append(_event(script, script.observe, "run.ended", outcome=script.outcome, why=script.why))
    return sorted(found, key=lambda e: e["t"])


def _event(script: Script, at: float, name: str, **fields: Any) -> dict[str, Any]:
    return {"t": script.zero + round(at * NS), "event": name, **fields}


def _told(script: Script, fault: Injected) -> list[dict[str, Any]]:
    who = {"fault": fault.id, "host": fault.host}
    found = [_event(script, (fault.at or 0) - 0.2, "fault.armed", **who)]
    if fault.at is None:
        return found
    began = script.zero + round(fault.at * NS)
    asked = {"kind": "netem", "asked": {"delay_s": 0.05}, "began": began, "confirmed": fault.confirmed}
    found.append(_event(script, fault.at, "fault.applied", **who, **asked))
    dose = {
        "achieved": {"delay_s": 0.0501},
        "confirmed": fault.dosed,
        "why_not": "" if fault.dosed else "0 packets seen",
    }
    found.append(_event(script, fault.at + 0.1, "fault.dose", **who, **dose))
    if fault.cleared is not None:
        began = script.zero + round(fault.cleared * NS)
        cleared = {"began": began, "reverted": fault.reverted, "by": "controller"}
        found.append(_event(script, fault.cleared, "fault.cleared", **who, **cleared))
    return found


def arrivals(script: Script, random: np.random.Generator) -> FloatArray:
    """Return the scheduled times in s from zero."""
    begin, end = -script.warmup - script.baseline, script.observe
    n = int(script.rate * (end - begin) * 1.3 + 100)
    if script.process == "constant":
        gaps = np.full(n, 1.0)
    else:
        gaps = random.gamma(script.burstiness, 1 / script.burstiness, n)
    times = begin + np.cumsum(gaps) / script.rate
    if script.profile:  # by thinning (Lewis and Shedler 1979), not by what is to be judged
        times = times[random.random(n) * script.rate < _rate_at(script, times)]
    kept: FloatArray = times[times < end]
    return kept


def _rate_at(script: Script, times: FloatArray) -> FloatArray:
    found = np.zeros(len(times))
    for begin, end, first, last in script.profile:
        inside = (times >= begin) & (times < end)
        found[inside] = first + (last - first) * (times[inside] - begin) / (end - begin)
    return found


def samples(script: Script) -> np.ndarray[Any, Any]:
    """Return the rows of a script."""
    random = np.random.default_rng(script.seed)
    at = arrivals(script, random)
    at = at[random.random(len(at)) >= script.lost_rows]
    failed, latency = _served(script, at, random)
    unsent = random.random(len(at)) < script.unsent
    rows = np.zeros(len(at), COLUMNS)
    rows["scheduled"] = script.zero + np.rint(at * NS).astype(np.int64)
    rows["sent"] = np.where(unsent, 0, rows["scheduled"] + np.rint(script.send_delay * NS).astype(np.int64))
    rows["end"] = rows["scheduled"] + np.rint(latency * NS).astype(np.int64)
    rows["first"] = np.where(failed | unsent, 0, rows["end"])
    rows["status"] = np.where(failed | unsent, 0, 200)
    rows["error"] = np.where(unsent, 2, np.where(failed, 1, 0))
    order = random.permutation(len(at)) if script.shuffled else np.argsort(rows["end"], kind="stable")
    return rows[order]


def _served(script: Script, at: FloatArray, random: np.random.Generator) -> tuple[np.ndarray[Any, Any], FloatArray]:
    """Return which requests fail, and the latency of each in s."""
    failing = np.full(len(at), script.error_ratio)
    failing = np.maximum(failing, script.drift * (at - at.min()) * (at < 0))
    failing = np.maximum(failing, _fluctuating(script, at, random))
    latency = script.latency * np.exp(random.normal(0, 0.2, len(at)))
    for outage in script.outages:
        inside = (at >= outage.begin) & (at < outage.end)
        failing = np.where(inside, np.maximum(failing, outage.depth if outage.slower == 1 else 0), failing)
        latency = np.where(inside, latency * outage.slower, latency)
    return random.random(len(at)) < failing, latency


def _fluctuating(script: Script, at: FloatArray, random: np.random.Generator) -> FloatArray:
    """Return a failing share that makes the served rate of each second vary with the real CV asked for.

    The served share is uniform on [1 - 2 s sqrt(3) , 1] shifted so that its mean is mu and its s.d. is cv * mu.
    """
    if script.cv == 0:
        return np.zeros(len(at))
    mean = 1 / (1 + script.cv * np.sqrt(3))
    seconds = np.floor(at - at.min()).astype(int)
    share = random.uniform(2 * mean - 1, 1, seconds.max() + 1)
    failing: FloatArray = 1 - share[seconds]
    return failing
