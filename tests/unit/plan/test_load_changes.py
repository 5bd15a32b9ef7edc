"""Changes of the load in a plan: laid over the schedule, in the terms that are judged by, and on no host."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from chaos import catalog
from chaos.errors import PlanRefused
from chaos.plan.day import check_day
from chaos.plan.plan import Plan, PlannedLoad, make_plan
from chaos.run.load import load_plan
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory
from probes.superposition import schedule_of
from tests.unit.plan.test_rates import INVENTORY

CLASSES = '[{name: hot, weight: 3, body: "{key}"}, {name: cold, body: x}]'


def plan(folder: Path, faults: str, arrivals: str = "{rate: 100/s}", classes: str = CLASSES, protect: str = "") -> Plan:
    (folder / "inventory.yaml").write_text(INVENTORY + protect)
    times = np.linspace(0, 60, 1500)
    rows = [f"{time:.7f},{number},{number}" for number, time in enumerate(times.tolist())]
    (folder / "synthetic.csv").write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    load = f"{{url: 'http://{{box}}/', method: POST, keys: 50, classes: {classes}, arrivals: {arrivals}}}"
    times_ = "timeline: {warmup: 2s, baseline: 10s, observe: 20s}"
    (folder / "x.yaml").write_text(f"name: x\nload: {load}\n{times_}\nfaults:\n{faults}")
    experiment = load_experiment(folder / "x.yaml", catalog.faults())
    return make_plan(experiment, load_inventory(folder / "inventory.yaml"))


def counts(made: Plan, folder: Path) -> np.ndarray:
    """Return how many requests are sent in each second from zero on, by the very schedule."""
    assert isinstance(made.load, PlannedLoad)
    times = [time / 1e9 - 12 for _, time, _ in schedule_of(load_plan(folder, made.load, start=0))]
    return np.histogram(times, np.arange(0, 21))[0]


def test_a_burst_is_in_the_schedule_and_in_the_terms(tmp_path: Path) -> None:
    made = plan(tmp_path, "- {kind: burst, at: 4s, for: 5s, times: 3}\n- {kind: burst, at: 12s, requests: 700}\n")
    assert [(c.id, c.at_s, c.for_s, c.asked) for c in made.changes] == [
        ("burst-0", 4.0, 5.0, {"offered_rate": 300.0}),
        ("burst-1", 12.0, 0.0, {"requests": 700.0}),
    ]
    sent, terms = counts(made, tmp_path), made.terms
    intended = [terms.intended(*span) for span in ((0, 4), (4, 9), (9, 12), (12, 13))]
    assert intended == pytest.approx([400, 1500, 300, 800])
    for first, last, rate in ((0, 4, 100), (4, 9, 300), (9, 12, 100), (12, 13, 800), (13, 20, 100)):
        mean = rate * (last - first)
        assert sent[first:last].sum() == pytest.approx(mean, abs=6 * np.sqrt(mean))
    assert (terms.rate, terms.profile) == (100.0, ())
    assert terms.peak_rate == pytest.approx(800)
    assert terms.offered_evenly(-10, 20)


@pytest.mark.parametrize(
    ("fault", "arrivals", "rates"),
    [
        ("to: 250/s", "{steps: [{for: 22s, from: 50/s, to: 270/s}, {rate: 10/s}]}", [250] * 5),
        ("times: 2", "{process: constant, steps: [{for: 14s, rate: 50/s}, {rate: 100/s}]}", [100, 100, 200, 200, 200]),
        ("requests: 500", "{process: constant, rate: 20/s}", [120] * 5),
        ("times: 2", "{process: trace, trace: synthetic.csv}", [50] * 5),
        ("times: 4", "{process: gamma, burstiness: 2, rate: 100/s}", [400] * 5),
    ],
)
def test_it_goes_with_the_loads_own_rate(fault: str, arrivals: str, rates: list[float], tmp_path: Path) -> None:
    made = plan(tmp_path, f"- {{kind: burst, for: 5s, {fault}}}\n", arrivals)
    assert [made.terms.intended(second, second + 1) for second in range(5)] == pytest.approx(rates, abs=2)
    assert counts(made, tmp_path)[:5] == pytest.approx(rates, abs=6 * np.sqrt(max(rates)))
    assert made.changes[0].asked["offered_rate"] == pytest.approx(sum(rates) / 5, abs=2)


def test_a_skew_adds_nothing(tmp_path: Path) -> None:
    made = plan(tmp_path, "- {kind: skew, at: 2s, for: 4s, share: 80%, classes: {cold: 3, hot: 1}}\n")
    assert made.terms.added == ()
    assert made.changes[0].asked == {"share_of_hot": 0.25, "share_of_cold": 0.75, "share_of_hot_keys": 0.8}
    assert isinstance(made.load, PlannedLoad)
    (laid,) = load_plan(tmp_path, made.load, start=0).overlays
    assert (laid.begin, laid.end, laid.weights) == (14.0, 18.0, (1.0, 3.0))
    assert laid.keys is not None and (laid.keys.hot, laid.keys.share) == (0.2, 0.8)


def test_it_reaches_no_host_and_still_counts_for_the_hours(tmp_path: Path) -> None:
    protect = "protect: {hours: [{days: [mon], between: ['09:00', '09:10'], zone: UTC}]}\n"
    made = plan(tmp_path, "- {kind: burst, for: 5s, times: 3}\n", protect=protect)
    assert (made.reach.hosts, made.steps, made.faulty_until_s) == ((), (), 17.0)
    with pytest.raises(PlanRefused):
        check_day(
            [made], load_inventory(tmp_path / "inventory.yaml").protect, datetime(2026, 11, 24, 12, tzinfo=UTC), 10.0
        )


def test_a_rehearsal_leaves_the_load_alone(tmp_path: Path) -> None:
    made = plan(tmp_path, "- {kind: burst, for: 5s, times: 3}\n").rehearsed()
    assert isinstance(made.load, PlannedLoad)
    assert (made.load.overlays, made.changes, made.terms.added) == ((), (), ())


def test_requests_with_token_counts_of_a_trace_are_in_no_burst(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"faults\[0\]: the bodies have token counts of the trace's requests"):
        plan(
            tmp_path, "- {kind: burst, for: 5s, times: 3}\n", "{process: trace, trace: synthetic.csv}",
            '[{name: a, body: "{context}"}]',
        )  # fmt: skip
