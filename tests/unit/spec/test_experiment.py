from __future__ import annotations

from pathlib import Path

import pytest

import chaos.catalog
from chaos.catalog import FaultRegistry
from chaos.plan.plan import make_plan
from chaos.record.terms import BUDGETS
from chaos.spec.abort import AbortCondition, ProbeCondition, QueryCondition
from chaos.spec.budgets import Budgets
from chaos.spec.experiment import Experiment, load_experiment
from chaos.spec.inventory import load_inventory
from chaos.spec.load import Load
from chaos.spec.references import check_references
from chaos.spec.selection import On, Pick

CASES = Path(__file__).parents[2] / "cases" / "spec"


def own(experiment: Experiment) -> Load:
    assert isinstance(experiment.load, Load)
    return experiment.load


def test_the_documented_experiment(registry: FaultRegistry) -> None:
    del registry
    experiment = load_experiment(CASES / "good" / "worker-latency.yaml", chaos.catalog.faults())
    ((_, step),) = experiment.host_steps
    assert experiment.name == "50 ms on one worker"
    assert [(c.name, c.weight) for c in own(experiment).classes] == [("hot", 90.0), ("cold", 10.0)]
    assert (step.fault.kind, step.on, step.at, step.for_) == (
        "netem",
        On(group="workers", pick=Pick(count=1)),
        0.0,
        20.0,
    )
    assert step.fault.asked()["delay_s"] == pytest.approx(0.05)
    assert {b.name: b.limit for b in experiment.agreed_budgets} == pytest.approx(
        {"mttr": 15.0, "qps_cv": 0.2, "qps_dip": 0.2, "availability": 0.99}
    )
    check_references(experiment, load_inventory(CASES / "good-inventory.yaml"))


@pytest.fixture
def shorthands(registry: FaultRegistry) -> Experiment:
    return load_experiment(CASES / "good" / "shorthands.yaml", registry)


def test_shorthands(shorthands: Experiment) -> None:
    assert (shorthands.name, shorthands.hypothesis, shorthands.tags) == ("on", "no", ("yes", "1:30"))
    assert own(shorthands).arrivals.rate == pytest.approx(20.0)
    assert [(s.on, s.at, s.for_) for _, s in shorthands.host_steps] == [
        ("worker-1", 0.0, 20.0),
        (On(hosts=("worker-1", "worker-2")), 30.0, 20.0),
        (On(group="workers", pick=Pick(share=0.5)), 60.0, 20.0),
    ]


def test_abort_conditions(shorthands: Experiment) -> None:
    conditions = [a for a in shorthands.abort if isinstance(a, AbortCondition)]
    assert [(a.signal, a.side, a.limit, a.for_s) for a in conditions] == [
        ("goodput", "<", 0.5, 10.0),
        ("errors", ">", 0.2, 5.0),
        ("latency", ">", 2.0, 5.0),
        ("qps", "<", 100.0, 5.0),
    ]
    assert len(conditions) == len(shorthands.abort)


def test_aborts_by_probe_and_query(registry: FaultRegistry) -> None:
    experiment = load_experiment(CASES / "good" / "aborts.yaml", registry)
    inventory = load_inventory(CASES / "good-inventory.yaml")
    check_references(experiment, inventory)
    median, probe, errors, down = make_plan(experiment, inventory).abort
    assert isinstance(median, AbortCondition)
    assert (median.signal, median.limit) == ("latency_p50", 2.0)
    assert probe == ProbeCondition(text="probe healthz unhealthy for 5s", probe="healthz", for_s=5.0)
    query = 'sum(rate(http_requests_total{code=~"5.."}[30s]))'
    assert errors == QueryCondition(
        text=f"{query} > 5 for 10 s", promql=query, prometheus="http://10.0.0.10:9090", side=">", limit=5.0, for_s=10.0
    )
    assert isinstance(down, QueryCondition)
    assert (down.side, down.limit, down.for_s, down.text) == ("<", -0.5, 0.5, "up < -0.5 for 500 ms")


def test_budgets_are_read_by_their_units(shorthands: Experiment) -> None:
    limits = {b.name: b.limit for b in shorthands.agreed_budgets}
    assert limits == pytest.approx(
        {"latency_p99": 0.25, "qps_cv": 1.2, "lost_requests": 0.0, "qps": 15.0, "availability": 0.99}
    )


def test_every_budget_can_be_written() -> None:
    assert list(Budgets.model_fields) == list(BUDGETS)


def test_a_control_run_has_no_faults(registry: FaultRegistry) -> None:
    control = load_experiment(CASES / "good" / "control.yaml", registry)
    assert control.faults == ()
    assert (control.seed, control.trials, control.timeline.warmup, own(control).timeout) == (1, 1, 5.0, 10.0)
    assert [c.name for c in own(control).classes] == ["default"]


def test_what_does_not_last_needs_no_for(registry: FaultRegistry) -> None:
    kill, waits = load_experiment(CASES / "good" / "kill.yaml", registry).faults
    assert (kill.at, kill.for_) == (20.0, 0.0)
    assert (waits.at, waits.for_) == (0.0, 5.0)


def test_an_experiment_is_frozen(shorthands: Experiment) -> None:
    with pytest.raises(ValueError, match="frozen"):
        shorthands.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("pick", "size", "hosts"),
    [
        (Pick(), 5, 5),
        (Pick(count=2), 5, 2),
        (Pick(share=0.5), 5, 2),
        (Pick(share=0.1), 5, 1),
        (Pick(share=0.7), 10, 7),
        (Pick(share=1.0), 3, 3),
    ],
)
def test_a_share_is_rounded_down_to_no_less_than_one(pick: Pick, size: int, hosts: int) -> None:
    assert pick.out_of(size) == hosts


@pytest.mark.parametrize("name", ["trace", "steps"])
def test_loads_that_change_over_time(name: str, registry: FaultRegistry) -> None:
    load = load_experiment(CASES / "good" / f"{name}.yaml", registry).load
    assert isinstance(load, Load)
    arrivals = load.arrivals
    if name == "steps":
        assert [(step.for_, step.rates) for step in arrivals.steps] == [
            (15.0, (100.0, 100.0)),
            (5.0, (100.0, 500.0)),
            (None, (500.0, 500.0)),
        ]
    else:
        assert arrivals.fit == "thin"
        assert arrivals.rate == pytest.approx(0.05)
        assert arrivals.trace is not None
        assert Path(arrivals.trace).is_absolute()
        assert load.prompts is not None
        assert Path(load.prompts).read_text().startswith("Say")
