"""Steps, traces and shares of a schedule as a server sees them: what was due is what was sent, body by body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probes.live import LiveReader
from probes.plan import RequestClass
from probes.profile import Step
from tests.unit.probes import oracle_server
from tests.unit.probes.oracle_server import Oracle
from tests.unit.probes.running_load import Outcome, run


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


def offsets(outcome: Outcome) -> list[int]:
    """The intended times of the requests in ms from the start."""
    return sorted(np.rint((outcome.rows["scheduled"] - outcome.plan.start) / 1e6).astype(int).tolist())


STEPS: dict[str, Any] = {"rate": None, "steps": (Step(0.2, 50, 50), Step(0.1, 0, 0), Step(None, 100, 300))}


def test_steps_pauses_and_ramps_are_sent_as_they_are_meant(oracle: Oracle, tmp_path: Path) -> None:
    outcome = run(tmp_path, oracle.url("/ok"), duration=0.5, **STEPS)
    assert outcome.errors == {"ok": 50}
    assert len(oracle.requests) == 50
    found = offsets(outcome)
    assert found[:10] == list(range(0, 200, 20))
    assert found[10] == 300  # nothing in the pause
    assert sum(moment < 400 for moment in found) == 10 + 15  # the integral from 100/s to 200/s over 0.1 s


def test_workers_share_the_schedule_and_its_numbers(oracle: Oracle, tmp_path: Path) -> None:
    kind = RequestClass(name="a", body="n={seq};")
    shares = []
    for worker in range(3):
        folder = tmp_path / str(worker)
        folder.mkdir()
        given = STEPS | {"worker": worker, "workers": 3, "classes": (kind,), "method": "POST"}
        shares.append(run(folder, oracle.url("/ok"), duration=0.5, **given))
    assert [share.status for share in shares] == [0, 0, 0]
    assert [len(share.rows) for share in shares] == [17, 17, 16]
    numbers = sorted(int(request.rpartition(b"n=")[2].rstrip(b";")) for request in oracle.requests)
    assert numbers == list(range(50))
    live = [LiveReader(share.plan.live).read() for share in shares]
    assert [int(counts.scheduled.sum()) for counts in live] == [17, 17, 16]
    assert [counts.waiting for counts in live] == [0, 0, 0]


def test_a_trace_is_sent_with_its_own_token_counts(oracle: Oracle, tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(5).exponential(0.01, 80)).round(7)
    rows = [f"{time:.7f},{100 + number},{number}" for number, time in enumerate(times.tolist())]
    (tmp_path / "synthetic.csv").write_text("\n".join(["timestamp,contexttokens,generatedtokens", *rows]))
    asked = json.dumps({"max_tokens": "{generated_tokens}", "prompt": "{context}"})
    given: dict[str, Any] = {"process": "trace", "trace": str(tmp_path / "synthetic.csv"), "rate": None}
    kinds = tuple(RequestClass(name=name, body=asked, is_json=True) for name in "ab")
    outcome = run(tmp_path, oracle.url("/ok"), duration=0.5, classes=kinds, method="POST", **given)
    due = [time - times[0] for time in times if time - times[0] < 0.5]
    assert offsets(outcome) == np.rint(np.array(due) * 1e3).astype(int).tolist()
    sent = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in oracle.requests]
    assert sorted((body["max_tokens"], len(body["prompt"].split())) for body in sent) == [
        (number, 100 + number) for number in range(len(due))
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"process": "trace", "trace": "nowhere.csv", "rate": None},
        {"classes": (RequestClass(name="a", body="{prompt}", prompts="nowhere.txt"),)},
    ],
)
def test_a_file_that_is_gone_ends_the_load_before_it_begins(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, "http://127.0.0.1:1/", **changes)
    assert ended.value.code == 2
    assert not (tmp_path / "samples.bin").exists()
