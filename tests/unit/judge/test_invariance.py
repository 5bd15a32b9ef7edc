"""What must not change a verdict, and what must."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.judge import judge
from chaos.judge.verdict import Verdict

from .scripted import NS, Injected, Outage, Script, write

RUN = Script(
    rate=60,
    baseline=20,
    observe=40,
    faults=[Injected(cleared=10.0)],
    outages=[Outage(0.4, 9.0, 0.7)],
    cv=0.05,
    budgets={"mttr": 15.0, "qps_cv": 0.2, "qps_dip": 0.2, "latency_p99": 1.0},
)
GENTLE = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def judged(script: Script, folder: Path) -> Verdict:
    return judge(write(script, folder))


@GENTLE
@given(shift=st.integers(-4_000 * NS, 10**17))
def test_shifting_all_times_changes_nothing(tmp_path: Path, shift: int) -> None:
    assert judged(replace(RUN, zero=RUN.zero + shift), tmp_path) == judged(RUN, tmp_path)


@GENTLE
@given(seed=st.integers(0, 2**16))
def test_the_order_of_the_samples_does_not_matter(tmp_path: Path, seed: int) -> None:
    script = replace(RUN, seed=seed)
    assert judged(replace(script, shuffled=True), tmp_path) == judged(script, tmp_path)


@GENTLE
@given(less=st.floats(0, 0.2), more=st.floats(0, 0.2))
def test_more_unsent_requests_never_make_a_generator_sounder(tmp_path: Path, less: float, more: float) -> None:
    low, high = sorted((less, more))
    fewer = judged(replace(RUN, unsent=low), tmp_path).generator
    greater = judged(replace(RUN, unsent=high), tmp_path).generator
    assert greater.unsent >= fewer.unsent
    assert greater.achieved_rate <= fewer.achieved_rate
    assert fewer.sound or not greater.sound


@GENTLE
@given(depth=st.floats(0.3, 1), length=st.floats(1, 20), seed=st.integers(0, 1000))
def test_a_recovery_is_never_before_the_end_of_the_outage_by_more_than_the_smoothing(
    tmp_path: Path, depth: float, length: float, seed: int
) -> None:
    script = replace(RUN, rate=250, cv=0.0, seed=seed, outages=[Outage(0.0, length, depth)])
    found = judged(script, tmp_path).figures["time_to_recover_s"].value
    assert found is not None
    assert length - 2 <= found <= length + 3


@pytest.mark.parametrize("again", [1, 2])
def test_judging_again_gives_the_same(tmp_path: Path, again: int) -> None:
    recording = write(RUN, tmp_path)
    assert [judge(recording) for _ in range(again)] == [judge(recording)] * again
