"""What the load used of its machine is judged, the worst of its processes; and failures are counted by kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chaos.errors import RecordingError
from chaos.judge import judge
from chaos.judge.verdict import Verdict
from chaos.record.recording import Recording

from .scripted import Outage, Script, samples, write, write_samples

SHORT = Script(warmup=0, baseline=1, observe=10)
IDLE = {
    "transport": "wire",
    "cpu_s": 1.0,
    "wall_s": 10.0,
    "busiest": 0.2,
    "loop_lag_p50_s": 0.0001,
    "loop_lag_p99_s": 0.001,
    "loop_lag_max_s": 0.004,
    "connections_opened": 12,
}


def judged(folder: Path, usage: Any, script: Script = SHORT, slo_ttft: float | None = None) -> Verdict:
    write(script, folder)
    plan = json.loads((folder / "plan.json").read_text())
    plan["terms"]["slo_ttft"] = slo_ttft
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "generator.json").write_text(usage if isinstance(usage, str) else json.dumps(usage))
    return judge(Recording.open(folder))


def test_a_load_at_ease_is_sound_and_shows_what_it_used(tmp_path: Path) -> None:
    load = judged(tmp_path, IDLE).generator
    assert load.sound
    assert (load.transport, load.cpu_busiest, load.loop_lag_p99_s, load.loop_lag_max_s) == ("wire", 0.2, 0.001, 0.004)


def test_a_recording_that_does_not_say_has_no_figure_and_no_problem(tmp_path: Path) -> None:
    load = judge(write(SHORT, tmp_path)).generator
    assert load.sound
    assert (load.transport, load.cpu_busiest, load.loop_lag_p99_s) == (None, None, None)


def test_the_worst_of_several_processes_is_judged(tmp_path: Path) -> None:
    load = judged(tmp_path, [IDLE, IDLE | {"busiest": 0.5, "transport": "httpx"}, IDLE | {"loop_lag_p99_s": 0.002}])
    assert (load.generator.cpu_busiest, load.generator.loop_lag_p99_s) == (0.5, 0.002)
    assert load.generator.transport == "httpx, wire"


PROBLEMS: dict[str, tuple[dict[str, float], float | None, str]] = {
    "busy": (
        {"busiest": 0.93},
        None,
        "the generator took 93% of a core in its busiest second, at most 80% is allowed: lower the rate, or share the "
        "load between more processes",
    ),
    "held up": (
        {"loop_lag_p99_s": 0.06},
        None,
        "the generator's event loop was held up: the p99 of its lag is 60 ms, at most 50 ms is allowed: lower the "
        "rate, or give the generator a free core",
    ),
    "held up beside a first token": (
        {"loop_lag_p99_s": 0.006},
        0.05,
        "the generator's event loop was held up: the p99 of its lag is 6 ms, at most 5 ms is allowed: lower the "
        "rate, or give the generator a free core",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_a_load_short_of_its_machine_is_not_sound(tmp_path: Path, case: str) -> None:
    used, slo_ttft, reason = PROBLEMS[case]
    verdict = judged(tmp_path, IDLE | used, slo_ttft=slo_ttft)
    assert reason in verdict.reasons
    assert (verdict.generator.sound, verdict.verdict) == (False, "unknown")


def test_the_send_delay_is_held_against_the_smallest_limit_from_the_intended_send(tmp_path: Path) -> None:
    reasons = judged(tmp_path, IDLE, replace(SHORT, send_delay=0.006), slo_ttft=0.05).reasons
    assert any("the p99 of the send delay is 6 ms, at most 5 ms is allowed" in reason for reason in reasons)


@pytest.mark.parametrize("damage", ["{", "[3]", '{"transport": "wire"}', "7"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    with pytest.raises(RecordingError, match=r"generator\.json"):
        judged(tmp_path, damage)


def test_failures_by_kind_are_those_of_the_observation_the_most_first(tmp_path: Path) -> None:
    script = replace(SHORT, rate=50, outages=[Outage(2, 4)], seed=4)
    rows = samples(script)
    seen = rows["scheduled"] >= script.zero
    reset = int(np.sum(seen & (rows["error"] == 1)))
    fine = np.flatnonzero(rows["error"] == 0)
    before, after = fine[~seen[fine]], fine[seen[fine]]
    rows["status"][before[:5]] = 500
    rows["status"][after[:7]], rows["status"][after[7:10]], rows["status"][after[10]] = 503, 429, 301
    recording = write(script, tmp_path)
    write_samples(rows, tmp_path / "samples.bin")
    verdict = judge(recording)
    assert list(verdict.errors.items()) == [("reset", reset), ("status 503", 7), ("status 429", 3)]
    assert sum(verdict.errors.values()) == round((verdict.figures["error_ratio"].value or 0) * seen.sum())
