"""Figures against scripted truth, through the whole judge: files in, verdict out."""

from dataclasses import replace
from pathlib import Path

import pytest

from chaos.judge import judge

from .scripted import Injected, Outage, Script, write

FAULT = (Injected(at=0.0, cleared=20.0),)


def figures(script: Script, folder: Path) -> dict[str, float]:
    found = judge(write(script, folder)).figures
    return {name: figure.value for name, figure in found.items() if figure.value is not None}


@pytest.mark.parametrize("process", ["poisson", "constant"])
@pytest.mark.parametrize(("rate", "seed"), [(50.0, 1), (250.0, 2), (1200.0, 3)])
def test_an_outage_of_known_depth_and_length(tmp_path: Path, process: str, rate: float, seed: int) -> None:
    outage = Outage(0.3, 12.3, depth=0.6)
    found = figures(Script(rate=rate, process=process, seed=seed, faults=FAULT, outages=[outage]), tmp_path)
    assert found["time_to_recover_s"] == pytest.approx(12.3, abs=1.0)
    assert found["time_to_detect_s"] <= 2.0
    assert found["recovery_lag_s"] == 0  # back before the fault was cleared: it healed itself
    assert found["lost_requests"] == pytest.approx(0.6 * 12 * rate, rel=0.12 if rate < 100 else 0.06)
    assert found["outage_seconds"] == pytest.approx(0.6 * 12, rel=0.12)
    assert found["availability_requests"] == pytest.approx(1 - 0.6 * 12 / 60, abs=0.03)
    assert found["availability_time"] == pytest.approx(47 / 60)
    assert found["qps_dip"] == pytest.approx(0.6, abs=0.15 if rate < 100 else 0.06)
    assert found["qps_cv_real"] < 0.06


@pytest.mark.parametrize("process", ["poisson", "constant"])
@pytest.mark.parametrize("cv", [0.08, 0.15, 0.35])
def test_the_real_fluctuation_comes_out(tmp_path: Path, cv: float, process: str) -> None:
    script = Script(rate=600, process=process, cv=cv, observe=180, window=1.0, seed=7)
    found = figures(script, tmp_path)
    assert found["qps_cv_real"] == pytest.approx(cv, abs=max(0.015, 0.12 * cv))
    assert found["qps_cv_raw"] >= found["qps_cv_real"]


def test_gamma_arrivals_bring_their_own_dispersion(tmp_path: Path) -> None:
    found = figures(Script(rate=400, process="gamma", burstiness=0.25, observe=180, seed=3), tmp_path)
    assert found["qps_cv_noise"] == pytest.approx(0.1, rel=0.05)
    assert found["qps_cv_real"] < 0.05


def test_answers_that_are_still_missing_after_an_outage_are_no_fluctuation(tmp_path: Path) -> None:
    script = Script(rate=400, latency=2.0, slo=10.0, warmup=10.0, faults=FAULT, outages=[Outage(0.0, 7.0)])
    assert figures(script, tmp_path)["qps_cv_real"] < 0.06


def test_recovery_lag_is_counted_from_the_clearing(tmp_path: Path) -> None:
    found = figures(Script(faults=[Injected(at=5.0, cleared=15.0)], outages=[Outage(5.0, 22.0)]), tmp_path)
    assert (found["time_to_recover_s"], found["recovery_lag_s"]) == (17.0, 7.0)


def test_a_stall_without_an_slo_shows_in_latency_and_ends_with_it(tmp_path: Path) -> None:
    found = figures(Script(slo=None, faults=FAULT, outages=[Outage(0.0, 20.0, slower=5.0)]), tmp_path)
    assert found["time_to_recover_s"] == pytest.approx(20.0, abs=1.0)
    assert found["goodput_ratio"] == 1.0
    assert found["latency_p90_s"] == pytest.approx(0.1, rel=0.2)


def test_a_relapse_moves_the_recovery_on_and_a_much_later_outage_does_not(tmp_path: Path) -> None:
    script = Script(observe=150, faults=[Injected(cleared=10.0)], outages=[Outage(0, 5), Outage(20, 25)])
    assert figures(script, tmp_path / "relapse")["time_to_recover_s"] == 25
    later = replace(script, outages=[Outage(0, 5), Outage(90, 95)])
    assert figures(later, tmp_path / "later")["time_to_recover_s"] == 5


def test_each_later_fault_has_a_time_to_recover_of_its_own_and_the_worst_counts(tmp_path: Path) -> None:
    faults = [Injected(0.0, 5.0), Injected(60.0, 65.0, id="f1")]
    script = Script(observe=120, faults=faults, outages=[Outage(0, 8), Outage(60, 71)])
    found = figures(script, tmp_path)
    assert (found["time_to_recover_s"], found["recovery_lag_s"]) == (11, 6)
    assert found["outage_seconds"] == pytest.approx(19)


def test_requests_in_flight_at_the_injection_are_lost_too(tmp_path: Path) -> None:
    script = Script(faults=[Injected(at=10.0, cleared=20.0)], outages=[Outage(8.0, 15.0)])
    found = figures(script, tmp_path)
    assert found["time_to_recover_s"] == 5
    assert found["outage_seconds"] == pytest.approx(7)


def test_the_lines_of_the_faults(tmp_path: Path) -> None:
    line = judge(write(Script(faults=[Injected(at=2.0, cleared=12.0)]), tmp_path)).faults[0]
    assert (line.kind, line.host, line.applied_at_s, line.cleared_at_s) == ("netem", "worker-1", 2.0, 12.0)
    assert (line.asked, line.achieved) == ({"delay_s": 0.05}, {"delay_s": 0.0501})
    assert line.confirmed
    assert line.reverted
