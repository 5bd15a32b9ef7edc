"""What is said of probes whose every check is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos.judge import judge
from chaos.judge.verdict import ProbeLine, Verdict
from tests.unit.judge.scripted import Injected, Outage, Script
from tests.unit.judge.scripted_probes import Check, checks, with_probes

CUT = Script(outages=(Outage(2.0, 12.0),), faults=(Injected(at=2.0, cleared=12.0),))


def verdict_of(folder: Path, rows: list[Check] | None, script: Script = CUT, **terms: Any) -> Verdict:
    return judge(with_probes(script, folder, {"healthz": rows}, **terms))


def line_of(folder: Path, rows: list[Check], script: Script = CUT, **terms: Any) -> ProbeLine:
    (line,) = verdict_of(folder, rows, script, **terms).probes
    return line


def test_an_outage_is_seen_when_it_began_told_after_three_and_over_when_it_ended(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, checks(CUT))
    (line,) = verdict.probes
    assert verdict.verdict == "pass"
    assert not any("probe" in reason for reason in verdict.reasons)
    assert (line.name, line.kind, line.n, line.failed) == ("healthz", "http", 950, 100)
    assert line.onset_at_s == pytest.approx(2.01, abs=1e-6)
    assert line.detected_at_s == pytest.approx(2.21, abs=1e-6)
    assert line.recovered_at_s == pytest.approx(12.01, abs=1e-6)
    assert line.after_onset_s == pytest.approx(0.21, abs=1e-6)  # the load's first bad window began at 2.0


@pytest.mark.parametrize(("failures", "successes"), [(1, 1), (3, 2), (10, 5)])
def test_the_thresholds_are_those_that_were_agreed(tmp_path: Path, failures: int, successes: int) -> None:
    line = line_of(tmp_path, checks(CUT), failure_threshold=failures, success_threshold=successes)
    assert line.onset_at_s == pytest.approx(2.01, abs=1e-6)
    assert line.detected_at_s == pytest.approx(2.01 + 0.1 * (failures - 1), abs=1e-6)
    assert line.recovered_at_s == pytest.approx(12.01 + 0.1 * (successes - 1), abs=1e-6)


def test_a_timeout_is_known_only_when_it_is_over(tmp_path: Path) -> None:
    """Checks due from 1.99 on hang for a second: the first is known at 3, and what is due at 12 answers at once."""
    rows = [(at, 1.0, "timeout") if 2.0 <= at + 0.01 < 12.0 else (at, takes, e) for at, takes, e in checks(CUT)]
    line = line_of(tmp_path, rows)
    assert line.onset_at_s == pytest.approx(3.0, abs=1e-6)
    assert line.detected_at_s == pytest.approx(3.2, abs=1e-6)
    assert line.recovered_at_s == pytest.approx(12.9, abs=1e-6)  # when all before it are known too


def test_failures_fewer_than_the_threshold_detect_nothing(tmp_path: Path) -> None:
    rows = [
        (at, takes, "unhealthy" if at > 2 and index % 3 else "ok") for index, (at, takes, _) in enumerate(checks(CUT))
    ]
    line = line_of(tmp_path, rows)
    assert line.failed > 300
    assert (line.onset_at_s, line.detected_at_s, line.recovered_at_s, line.after_onset_s) == (None,) * 4


def test_one_that_stays_down_has_not_recovered(tmp_path: Path) -> None:
    stays = Script(outages=(Outage(2.0, 99.0),), faults=(Injected(at=2.0, cleared=12.0),))
    line = line_of(tmp_path, checks(stays), stays)
    assert line.detected_at_s == pytest.approx(2.21, abs=1e-6)
    assert line.recovered_at_s is None


def test_a_relapse_moves_the_recovery_on_and_not_the_detection(tmp_path: Path) -> None:
    twice = Script(outages=(Outage(2.0, 6.0), Outage(8.0, 12.0)), faults=CUT.faults)
    line = line_of(tmp_path, checks(twice), twice)
    assert line.detected_at_s == pytest.approx(2.21, abs=1e-6)
    assert line.recovered_at_s == pytest.approx(12.01, abs=1e-6)


def test_what_the_load_never_saw_has_no_place_beside_it(tmp_path: Path) -> None:
    only_probe = Script(faults=CUT.faults)
    line = line_of(tmp_path, checks(CUT), only_probe)
    assert line.detected_at_s == pytest.approx(2.21, abs=1e-6)
    assert line.after_onset_s is None


def test_failures_from_before_the_fault_do_not_count(tmp_path: Path) -> None:
    """Two failures just before the fault and one just after it are no run of three."""
    rows = [(at, takes, "unhealthy" if 1.75 < at < 2.05 else "ok") for at, takes, _ in checks(CUT)]
    assert line_of(tmp_path, rows).detected_at_s is None


def test_a_probe_that_was_down_before_the_fault_detects_nothing_and_the_run_is_unknown(tmp_path: Path) -> None:
    rows = [(at, takes, "unhealthy") for at, takes, _ in checks(CUT)]
    verdict = verdict_of(tmp_path, rows)
    assert verdict.verdict == "unknown"
    assert verdict.probes[0].detected_at_s is None
    assert "healthz said that its target was down before anything was done" in verdict.reasons[0]


def test_without_a_fault_a_detection_is_a_false_alarm_and_shows(tmp_path: Path) -> None:
    control = Script()
    verdict = verdict_of(tmp_path, checks(CUT), control)
    assert verdict.verdict == "pass"
    assert verdict.probes[0].detected_at_s == pytest.approx(2.21, abs=1e-6)
    assert verdict.probes[0].after_onset_s is None


def test_what_is_no_answer_is_no_failure(tmp_path: Path) -> None:
    rows = [(at, takes, "cancelled" if 20 < at < 20.5 else e) for at, takes, e in checks(CUT)]
    line = line_of(tmp_path, rows)
    assert (line.n, line.failed) == (945, 100)


@pytest.mark.parametrize(
    ("error", "said"), [("unsent", "were never asked"), ("local_resources", "could not be asked by this machine")]
)
def test_too_many_unasked_checks_make_the_run_unknown(tmp_path: Path, error: str, said: str) -> None:
    rows = [(at, takes, error if 20 < at < 21.15 else e) for at, takes, e in checks(CUT)]
    verdict = verdict_of(tmp_path, rows)
    assert verdict.verdict == "unknown"
    assert f"12 of 900 checks of the probe healthz {said}" in verdict.reasons[0]


def test_checks_that_the_warm_up_lacks_do_not_matter(tmp_path: Path) -> None:
    rows = [(at, takes, "unsent" if at < -31 else e) for at, takes, e in checks(CUT)]
    assert verdict_of(tmp_path, rows).verdict == "pass"


def test_missing_rows_make_the_run_unknown(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, checks(CUT)[:-1])
    assert verdict.verdict == "unknown"
    assert "healthz has 949 checks, 950 were due" in verdict.reasons[0]


def test_an_aborted_run_is_not_blamed_on_its_probes(tmp_path: Path) -> None:
    aborted = Script(outcome="interrupted", why="stopped by SIGINT")
    assert not any("healthz" in reason for reason in verdict_of(tmp_path, checks(CUT)[:300], aborted).reasons)


def test_no_samples_make_the_run_unknown(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, None)
    assert verdict.verdict == "unknown"
    assert verdict.probes == (ProbeLine(name="healthz", kind="http", n=0, failed=0),)
    assert "the probe healthz left no samples" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("status", "said"), [(None, "never seen to end"), (1, "ended with status 1"), (-9, "ended with status -9")]
)
def test_a_process_that_died_makes_the_run_unknown(tmp_path: Path, status: int | None, said: str) -> None:
    verdict = judge(with_probes(CUT, tmp_path, {"healthz": checks(CUT)}, status))
    assert verdict.verdict == "unknown"
    assert said in verdict.reasons[0]


def test_each_probe_has_its_own_line(tmp_path: Path) -> None:
    late = [(at, takes, "unhealthy" if 5 < at < 12 else "ok") for at, takes, _ in checks(CUT)]
    first, second = judge(with_probes(CUT, tmp_path, {"a": checks(CUT), "b": late})).probes
    assert (first.name, second.name) == ("a", "b")
    assert (second.after_onset_s or 0) - (first.after_onset_s or 0) == pytest.approx(3.1, abs=0.11)
