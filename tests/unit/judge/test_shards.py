"""What a judge says of a load that several processes shared: lost arrivals, and clocks that are not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.judge.soundness import run_problems
from chaos.record.recording import Recording
from chaos.record.terms import Terms

MS = 1_000_000
DIED = {
    "event": "load.shard_lost", "worker": 1, "workers": 4, "host": "g-2", "status": -9, "started": 10**12,
    "died": 10**12 + 12_300 * MS, "arrivals": 1234, "numbers": [5002, 5006, 5010, 5014, 5018],
    "first": 10**12 + 12_250 * MS, "last": 10**12 + 30_000 * MS,
}  # fmt: skip
WHOLE = [
    {"event": "load.started", "zero": 10**12},
    {"event": "load.ended", "status": 0},
    {"event": "run.ended", "outcome": "done", "why": ""},
]


def problems(folder: Path, *events: dict[str, Any], **terms: Any) -> tuple[str, ...]:
    known = Terms(name="x", rate=100, process="poisson", warmup=0, baseline=0, observe=30, **terms)
    (folder / "plan.json").write_text(json.dumps({"terms": known.model_dump()}), encoding="utf-8")
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in (*WHOLE, *events)), encoding="utf-8")
    return run_problems(Recording.open(folder))


def clocks(before: tuple[float, float], after: tuple[float, float]) -> list[dict[str, Any]]:
    """Return two readings of one clock: offset and uncertainty in ms."""
    return [
        {"event": "load.clock", "worker": 0, "host": "g-1", "offset_ns": int(at * MS), "uncertainty_ns": int(u * MS)}
        | {"when": when}
        for when, (at, u) in (("before", before), ("after", after))
    ]


def test_the_arrivals_that_went_with_a_shard_are_named(tmp_path: Path) -> None:
    assert problems(tmp_path, DIED) == (
        "shard 2 of 4 on g-2 died after 12.3 s: 1 234 arrival(s) are lost, numbers 5 002, 5 006, 5 010, 5 014, 5 018, "
        "..., due between 12.2 s and 30.0 s of the load; repeat the run",
    )


def test_a_shard_that_died_with_every_row_written_is_a_problem_all_the_same(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, DIED | {"arrivals": 0, "numbers": [], "first": 0, "last": 0})
    assert problem == "shard 2 of 4 on g-2 died after 12.3 s: no arrival is lost; repeat the run"


@pytest.mark.parametrize(
    ("before", "after", "slo", "found"),
    [
        ((500, 4.9), (500, 4.9), None, ""),
        ((500, 5.1), (500, 0.1), None, "known to 5.1 ms, at most 5 ms"),
        ((500, 0.1), (504, 0.9), None, ""),
        ((500, 0.1), (504, 1.1), None, "known to 5.1 ms, at most 5 ms"),  # it drifted
        ((500, 0.1), (496, 1.1), None, "known to 5.1 ms, at most 5 ms"),
        ((500, 1.1), (500, 0.1), 0.010, "known to 1.1 ms, at most 1 ms"),  # 10 % of the SLO
        ((500, 6.0), (500, 6.0), 0.100, ""),
    ],
)
def test_a_clock_must_be_known_before_and_after(
    before: tuple[float, float], after: tuple[float, float], slo: float | None, found: str, tmp_path: Path
) -> None:
    said = problems(tmp_path, *clocks(before, after), slo_latency=slo)
    assert len(said) == bool(found)
    assert all(f"the clock of g-1 (shard 1) is {found}" in problem for problem in said)
