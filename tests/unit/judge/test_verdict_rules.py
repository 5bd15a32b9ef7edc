"""The rules of the verdict, a row each: what the run was, what is said of it, and in which words."""

from dataclasses import replace
from pathlib import Path

import pytest

from chaos.errors import RecordingError
from chaos.judge import judge
from chaos.judge.verdict import BudgetLine, Verdict
from chaos.record.recording import Recording

from .scripted import Injected, Outage, Script, write

FAULT = (Injected(at=0.0, cleared=20.0),)
HEALTHY = Script(faults=FAULT, budgets={"mttr": 15.0, "qps_cv": 0.2, "qps_dip": 0.2, "availability": 0.99})
OUTAGE = Script(faults=FAULT, outages=[Outage(0.0, 7.0)])
OPEN = replace(OUTAGE, outages=[Outage(0.0, 60.0, 0.5)])


def line(verdict: Verdict, name: str) -> BudgetLine:
    return next(b for b in verdict.budgets if b.name == name)


def test_a_fault_that_nobody_felt_passes(tmp_path: Path) -> None:
    verdict = judge(write(HEALTHY, tmp_path))
    assert verdict.verdict == "pass"
    assert {b.verdict for b in verdict.budgets} == {"pass"}
    assert verdict.reasons == (
        "time_to_detect_s: no onset was seen: the fault never took the service out of the band of its baseline, so "
        "there "
        "was nothing to detect",
        "time_to_recover_s, recovery_lag_s: no onset was seen: the fault never took the service out of the band of its "
        "baseline",
    )
    assert verdict.figures["time_to_recover_s"].value == 0
    assert verdict.figures["lost_requests"].value == 0


UNSOUND = {
    "aborted by its guard": (
        replace(HEALTHY, outcome="aborted", extra=[{"event": "abort", "condition": "goodput < 50% for 10s"}]),
        "the run was aborted by its guard `goodput < 50% for 10s`: make the fault milder, or relax the guard",
    ),
    "aborted by its guard, with what it saw": (
        replace(
            HEALTHY,
            outcome="aborted",
            extra=[{"event": "abort", "condition": "up < 1 for 5 s", "blind": False, "why": "it was 0, for 5.0 s"}],
        ),
        "the run was aborted by its guard `up < 1 for 5 s`, it was 0, for 5.0 s: make the fault milder, or relax the "
        "guard",
    ),
    "aborted since its guard was blind": (
        replace(
            HEALTHY,
            outcome="aborted",
            extra=[{"event": "abort", "condition": "up < 1 for 5 s", "blind": True, "why": "nothing is known for 7 s"}],
        ),
        "the run was aborted since its guard `up < 1 for 5 s` was blind: nothing is known for 7 s; a guard that can't "
        "be told is none: mend what it asks, and repeat the run",
    ),
    "stopped, since something else let go": (
        replace(HEALTHY, outcome="aborted", why="worker-1: its lock says 'panic' where 'held' was expected"),
        "the run was stopped: worker-1: its lock says 'panic' where 'held' was expected; find out who let go there, or "
        "whether the host was booted, and repeat the run",
    ),
    "interrupted": (
        replace(HEALTHY, outcome="interrupted", why="SIGINT"),
        "the run was interrupted (SIGINT): repeat the run",
    ),
    "failed": (
        replace(HEALTHY, outcome="failed", why="worker-1 is unreachable"),
        "the run failed: worker-1 is unreachable; mend it and repeat the run",
    ),
    "controller killed": (
        replace(HEALTHY, outcome=None),
        "the run never ended: its controller died or was killed; run `gameday heal`, then repeat the run",
    ),
    "load failed": (
        replace(HEALTHY, load_status=1),
        "the load process ended with status 1, 0 is required: see its log, and repeat the run",
    ),
    "load never ended": (
        replace(HEALTHY, load_status=None),
        "the load process was never seen to end: it may have died with rows unwritten; repeat the run",
    ),
    "load never started": (
        replace(HEALTHY, started=False),
        "the load was never started, so nothing was measured: see the events before, and repeat the run",
    ),
    "late generator": (
        replace(HEALTHY, send_delay=0.06),
        "the generator sent late: the p99 of the send delay is 60 ms, at most 50 ms is allowed: lower the rate, "
        "allow more "
        "connections, or give the generator a free core",
    ),
    "late generator without an SLO": (
        replace(HEALTHY, send_delay=0.011, slo=None),
        "the generator sent late: the p99 of the send delay is 11 ms, at most 10 ms is allowed: lower the rate, "
        "allow more "
        "connections, or give the generator a free core",
    ),
    "rows lost": (
        replace(HEALTHY, lost_rows=0.2),
        "the recording holds 14469 requests in 90 s, about 18000 were intended: the load ended early or rows were "
        "lost; "
        "repeat the run",
    ),
    "short baseline": (
        replace(HEALTHY, baseline=14.0),
        "the baseline has 9 windows of 1 s before its guard of 5, 10 are required: make timeline.baseline at least 15s",
    ),
    "trending baseline": (
        replace(HEALTHY, drift=0.01),
        "goodput moved by -28% over the baseline, at most 5% is allowed: lengthen timeline.warmup until the service is "
        "steady, and repeat",
    ),
    "glitch in the baseline": (
        replace(HEALTHY, outages=[Outage(-20.0, -19.0)]),
        "goodput fell to 0.0% in one window of the baseline, 100.0% is its normal: the service was not steady "
        "before the "
        "fault; repeat the run",
    ),
    "dead baseline": (
        replace(HEALTHY, outages=[Outage(-40.0, 60.0)]),
        "no request was good during the baseline, so there is no steady state to compare with: mend the service or the "
        "load, or raise the SLO",
    ),
    "dose not confirmed": (
        replace(HEALTHY, faults=[Injected(dosed=False)]),
        "the dose of netem on worker-1 was not confirmed: 0 packets seen; a fault that did nothing shows nothing",
    ),
    "fault not confirmed": (
        replace(HEALTHY, faults=[Injected(confirmed=False)]),
        "the dose of netem on worker-1 was not confirmed: the reading taken after applying it does not show it; a "
        "fault "
        "that did nothing shows nothing",
    ),
    "armed only": (
        replace(HEALTHY, faults=[Injected(at=None)]),
        "f0 on worker-1 was armed and never applied: see the events, and repeat the run",
    ),
    "not seen reverted": (
        replace(HEALTHY, faults=[Injected(cleared=None)]),
        "netem on worker-1 was never seen reverted: run `gameday heal`, then repeat the run",
    ),
    "drift": (
        replace(HEALTHY, extra=[{"event": "host.drift", "host": "worker-1", "what": ["a qdisc more"]}]),
        "1 difference(s) between the hosts before and after the run that the fault does not explain, none is "
        "allowed: see "
        "drift, and repeat the run on a quiet host",
    ),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_an_unsound_run_is_unknown_throughout(tmp_path: Path, case: str) -> None:
    script, reason = UNSOUND[case]
    verdict = judge(write(script, tmp_path))
    assert reason in verdict.reasons
    assert verdict.verdict == "unknown"
    assert {b.verdict for b in verdict.budgets} == {"unknown"}


def test_an_unsound_run_without_budgets_is_no_pass_either(tmp_path: Path) -> None:
    assert judge(write(replace(HEALTHY, send_delay=0.06, budgets={}), tmp_path)).verdict == "unknown"


def test_unsound_wins_over_a_broken_budget(tmp_path: Path) -> None:
    broken = replace(OUTAGE, budgets={"qps_dip": 0.2})
    assert judge(write(broken, tmp_path / "sound")).verdict == "fail"
    assert judge(write(replace(broken, send_delay=0.06), tmp_path / "late")).verdict == "unknown"


def test_unsent_requests_make_the_generator_unsound(tmp_path: Path) -> None:
    few = judge(write(replace(HEALTHY, unsent=0.0005), tmp_path / "few")).generator
    many = judge(write(replace(HEALTHY, unsent=0.02), tmp_path / "many"))
    assert (few.sound, many.generator.sound) == (True, False)
    assert 0 < few.unsent < many.generator.unsent
    assert any("requests were never sent, at most 0.1% is allowed" in r for r in many.reasons)
    assert any("of the offered 201.51/s left in time, at least 99% is required" in r for r in many.reasons)


def test_samples_that_were_never_written_are_no_samples_and_damaged_ones_are_an_error(tmp_path: Path) -> None:
    recording = write(HEALTHY, tmp_path)
    (tmp_path / "samples.bin").unlink()
    verdict = judge(recording)
    assert verdict.reasons[0] == "no request was recorded, 200/s were asked for: see why the load did not start"
    assert verdict.verdict == "unknown"
    (tmp_path / "samples.bin").write_bytes(b"not a header")
    with pytest.raises(RecordingError, match=r"samples\.bin: no samples can be read"):
        judge(Recording.open(tmp_path))


def test_stuck_is_named_with_the_command_and_makes_the_run_unknown(tmp_path: Path) -> None:
    told = {
        "event": "fault.stuck",
        "fault": "f0",
        "host": "worker-1",
        "why": "no route",
        "by_hand": "tc qdisc del dev e0",
    }
    verdict = judge(write(replace(HEALTHY, extra=[told]), tmp_path))
    assert verdict.stuck == ("worker-1: f0 could not be undone: no route; run by hand: tc qdisc del dev e0",)
    assert verdict.verdict == "unknown"
    assert not verdict.faults[0].reverted


BUDGETS = {
    "recovered in time": (OUTAGE, "mttr", 15.0, "pass", ""),
    "recovered too late": (OUTAGE, "mttr", 5.0, "fail", "mttr: 7 s was measured, at most 5 s is allowed"),
    "never recovered": (
        OPEN,
        "mttr",
        15.0,
        "fail",
        "mttr: not recovered within 60 s: at the end it was still out of its band",
    ),
    "not watched for as long as the budget allows": (
        OPEN,
        "mttr",
        90.0,
        "unknown",
        "mttr: not recovered within 60 s: at the end it was still out of its band",
    ),
    "back too short before the end, within the limit": (
        replace(OUTAGE, outages=[Outage(0.0, 52.0)]),
        "mttr",
        55.0,
        "unknown",
        "mttr: back in its band for the last 8 s only, 12 s are required to call it recovered: lengthen "
        "timeline.observe "
        "by 4 s",
    ),
    "back too short before the end, beyond the limit": (
        replace(OUTAGE, outages=[Outage(0.0, 52.0)]),
        "mttr",
        15.0,
        "fail",
        "mttr: back in its band for the last 8 s only, 12 s are required to call it recovered: lengthen "
        "timeline.observe "
        "by 4 s",
    ),
    "lost requests of an outage that goes on": (
        OPEN,
        "lost_requests",
        100.0,
        "fail",
        "lost_requests: counted to the end of the observation, where it was not over: not recovered within 60 s: at "
        "the "
        "end it was still out of its band",
    ),
    "no fault, nothing to recover from": (
        replace(OUTAGE, faults=()),
        "mttr",
        15.0,
        "unknown",
        "mttr: no fault was applied, so there is nothing to recover from: add a fault or remove this budget",
    ),
    "nothing to detect": (
        HEALTHY,
        "time_to_detect",
        5.0,
        "unknown",
        "time_to_detect: no onset was seen: the fault never took the service out of the band of its baseline, so "
        "there was "
        "nothing to detect",
    ),
    "survivors can't pass a latency budget": (
        OUTAGE,
        "latency_p99",
        1.0,
        "fail",
        "latency_p99: 12.12% of the requests had no successful answer, so this percentile is one of the answered "
        "only; over "
        "all requests it lies beyond every latency that was measured",
    ),
    "the median is known in spite of them": (OUTAGE, "latency_p50", 1.0, "pass", ""),
    "least allowed": (OUTAGE, "qps", 190.0, "fail", "qps: 176.8 1/s was measured, at least 190 1/s is allowed"),
    "too few requests for this CV": (
        replace(HEALTHY, rate=20.0, observe=20.0),
        "qps_cv",
        0.2,
        "unknown",
        "qps_cv: 20 windows of 21 requests carry a sampling noise of 0.22 and can't resolve a limit of 0.2 (dispersion "
        "test p = 0.58): raise the rate or widen the window to 225 requests a window, or observe for longer",
    ),
    "a dip that the arrivals explain": (
        replace(HEALTHY, rate=20.0),
        "qps_dip",
        0.1,
        "unknown",
        "qps_dip: a dip of 21.1% is within the 30.8% that arrivals at 19/s make by themselves: raise the rate or widen "
        "the window",
    ),
}


@pytest.mark.parametrize("case", BUDGETS)
def test_a_budget_line(tmp_path: Path, case: str) -> None:
    script, name, limit, outcome, reason = BUDGETS[case]
    verdict = judge(write(replace(script, budgets={name: limit}), tmp_path))
    assert (line(verdict, name).verdict, verdict.verdict) == (outcome, outcome)
    about = tuple(r for r in verdict.reasons if r.startswith(f"{name}:"))
    assert about == ((reason,) if reason else ())


def test_fail_is_worse_than_unknown_and_unknown_than_pass(tmp_path: Path) -> None:
    script = replace(OUTAGE, faults=(), budgets={"qps_dip": 0.2, "mttr": 15.0, "qps": 100.0})
    verdict = judge(write(script, tmp_path))
    assert [b.verdict for b in verdict.budgets] == ["fail", "unknown", "pass"]
    assert verdict.verdict == "fail"


def test_without_a_fault_no_baseline_is_needed_and_no_figure_of_recovery_is_there(tmp_path: Path) -> None:
    verdict = judge(write(Script(warmup=0, baseline=0, observe=20, budgets={"qps": 100.0}), tmp_path))
    assert verdict.verdict == "pass"
    absent = {"time_to_recover_s", "lost_requests", "ttft_p50_s", "qps_dip", "availability_time"}
    assert not absent & verdict.figures.keys()
    assert verdict.reasons == ()
    needing = Script(warmup=0, baseline=0, observe=20, budgets={"qps_dip": 0.5})
    assert judge(write(needing, tmp_path)).verdict == "unknown"


@pytest.mark.parametrize("rate", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_load_far_too_slow_is_judged_without_a_crash_and_its_budgets_are_unknown(
    tmp_path: Path, rate: float, seed: int
) -> None:
    script = replace(HEALTHY, rate=rate, seed=seed, budgets={"qps_cv": 0.2})
    assert judge(write(script, tmp_path)).verdict == "unknown"


def test_a_crash_in_a_part_travels_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("chaos.judge.figures.fluctuation_findings", crash)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        judge(write(HEALTHY, tmp_path))
