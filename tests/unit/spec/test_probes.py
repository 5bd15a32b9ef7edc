"""Probes as they are written, and as the plan hands them on."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.catalog import FaultRegistry, ProbeRegistry
from chaos.errors import SpecError
from chaos.plan.plan import Plan, make_plan
from chaos.record.terms import ProbeTerms
from chaos.run.health import instrument
from chaos.spec.experiment import Experiment, load_experiment
from chaos.spec.inventory import load_inventory
from probes.errors import ErrorKind
from probes.health import Outcome, Probe, Seconds
from probes.health.http import Http

CASES = Path(__file__).parents[2] / "cases" / "spec"


@pytest.fixture
def experiment(registry: FaultRegistry) -> Experiment:
    return load_experiment(CASES / "good" / "probes.yaml", registry)


@pytest.fixture
def plan(experiment: Experiment) -> Plan:
    return make_plan(experiment, load_inventory(CASES / "good-inventory.yaml"))


def test_they_are_read_with_units_and_named_by_their_kind(experiment: Experiment) -> None:
    assert [(p.type.kind, p.name, p.values.every, p.values.timeout) for p in experiment.probes] == [
        ("http", "healthz", 0.1, 1.0),
        ("tcp", "tcp", 1.0, 1.0),
        ("icmp", "icmp", 1.0, 1.0),
        ("promql", "promql", 1.0, 1.0),
        ("command", "command", 2.0, 0.5),
    ]


def test_the_plan_has_every_name_filled_in_but_in_commands(plan: Plan) -> None:
    parameters = {probe.name: probe.parameters for probe in plan.probes}
    assert parameters["healthz"]["url"] == "http://10.0.0.10/healthz"
    assert parameters["tcp"]["address"] == "10.0.0.11:22"
    assert parameters["icmp"]["address"] == "10.0.0.11"
    assert parameters["promql"]["query"] == 'up{job="gateway"}'
    assert parameters["command"]["run"] == ["./check.sh", "{gateway}"]


def test_the_terms_say_how_each_is_judged(plan: Plan) -> None:
    assert plan.terms.probes[1] == ProbeTerms(
        name="tcp", kind="tcp", every=1.0, timeout=1.0, failure_threshold=1, success_threshold=1
    )


def test_a_plan_read_back_from_json_makes_the_same_probes(plan: Plan) -> None:
    back = [type(plan.probes[0]).model_validate_json(probe.model_dump_json()) for probe in plan.probes]
    made = [instrument(probe).make() for probe in back]
    assert [type(probe).__name__ for probe in made] == ["Http", "Tcp", "Icmp", "Promql", "Command"]
    assert made[0] == Http(name="healthz", url="http://10.0.0.10/healthz", every=0.1)


class Outsider(Probe):
    """A kind from another package."""

    kind = "outsider"
    patience: Seconds = 3.0
    """How long."""

    async def check(self) -> Outcome:
        return Outcome(ErrorKind.OK)


def test_an_outsiders_kind_is_read_by_the_same_door(registry: FaultRegistry, tmp_path: Path) -> None:
    kinds = ProbeRegistry("probe")
    kinds.add(Outsider.kind, Outsider, owner="tests")
    file = tmp_path / "x.yaml"
    text = (CASES / "good" / "control.yaml").read_text()
    file.write_text(f"{text}probes: [{{kind: outsider, patience: 2m}}]\n")
    (probe,) = load_experiment(file, registry, kinds).probes
    assert probe.values.model_dump()["patience"] == 120.0
    file.write_text(f"{text}probes: [{{kind: http, url: 'http://x/'}}]\n")
    with pytest.raises(SpecError, match=r"'http' is no probe \(there are: outsider\)"):
        load_experiment(file, registry, kinds)
