"""The kinds of fault and of probe there are. A new one is one file, its tests, and a line here."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

import chaos.faults
import probes.health
from chaos import catalog
from chaos.cli.app import app
from chaos.contracts import Cause, Fault, LoadChange
from chaos.errors import DuplicateKind, UnknownKind
from chaos.faults.netem import Netem
from chaos.faults.node_kill import NodeKill
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory
from chaos.spec.probes import written
from chaos.spec.references import check_references
from probes.health import Probe

CASES = Path(__file__).parents[1] / "cases" / "faults"
CONTROL = Path(__file__).parents[1] / "cases" / "spec" / "good" / "control.yaml"
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FAULTS = sorted(Path(inspect.getfile(chaos.faults)).parent.glob("[!_]*.py"))
KINDS = [
    "affinity",
    "bandwidth",
    "burst",
    "clock",
    "command",
    "connection_storm",
    "conntrack_full",
    "cpu",
    "disk_fill",
    "disk_io",
    "disk_throttle",
    "dns",
    "dns_answer",
    "ecn",
    "ets",
    "fd_exhaustion",
    "http",
    "link_down",
    "loss",
    "memory",
    "memory_bandwidth",
    "mtu",
    "mtu_black_hole",
    "netem",
    "node_hang",
    "node_kill",
    "node_reboot",
    "partition",
    "pause",
    "pause_storm",
    "pfc",
    "port_exhaustion",
    "process_kill",
    "process_pause",
    "service",
    "setting",
    "shallow_buffer",
    "skew",
    "slow_clients",
    "sysctl",
]
PROBES = ["command", "http", "icmp", "promql", "tcp"]
OUR_PROBES = [cls for _, cls in catalog.health_probes() if cls.__module__.startswith("probes.health.")]
OURS = [cls for _, cls in catalog.causes() if cls.__module__.startswith("chaos.faults.")]


def test_the_kinds() -> None:
    assert [cls.kind for cls in OURS] == KINDS


def test_a_kind_is_a_file() -> None:
    assert [path.stem for path in FAULTS] == KINDS
    assert [cls.__module__ for cls in OURS] == [f"chaos.faults.{kind}" for kind in KINDS]


@pytest.mark.parametrize("cls", OURS, ids=KINDS)
def test_it_says_what_it_is(cls: type[Cause]) -> None:
    assert cls.__doc__
    assert cls.__doc__ not in (Fault.__doc__, LoadChange.__doc__)
    assert (inspect.getmodule(cls).__doc__ or "").startswith(f"{cls.kind}: ")
    assert {name for name, field in cls.model_fields.items() if not field.description} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_cases_of_acting_and_of_refusing(kind: str) -> None:
    objections = ['"objection": null' in path.read_text() for path in (CASES / kind).glob("*.json")]
    assert set(objections) == {True, False}


@pytest.mark.parametrize("cls", OURS, ids=KINDS)
def test_its_release_is_said(cls: type[Cause]) -> None:
    assert cls.release != "none"


@pytest.mark.parametrize("cls", OURS, ids=KINDS)
def test_its_example_is_a_step_as_it_stands_in_an_experiment(cls: type[Cause], tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    keyed = 'method: POST, keys: 9, classes: [{name: a, body: "{key}"}], arrivals:'
    text = CONTROL.read_text().replace("arrivals:", keyed)
    file.write_text(text.replace("faults: []", f"faults: [{cls.example}]"))
    experiment = load_experiment(file, catalog.faults())
    assert [step.fault.kind for step in experiment.faults] == [cls.kind]
    check_references(experiment, load_inventory(CONTROL.parents[1] / "good-inventory.yaml"))


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_an_experiment_of_it(kind: str) -> None:
    experiments = (load_experiment(path, catalog.faults()) for path in EXPERIMENTS.rglob("*.yaml"))
    assert any(step.fault.kind == kind for experiment in experiments for step in experiment.faults)


@pytest.mark.parametrize("kind", KINDS)
def test_gameday_catalog_shows_all_of_it(kind: str) -> None:
    shown = CliRunner().invoke(app, ["catalog", kind]).output
    for title in ("acts on:", "needs:", "dose:", "letting go:", f"example:    {{kind: {kind},"):
        assert title in shown


def test_two_owners_of_a_kind_are_both_named() -> None:
    registry = catalog.FaultRegistry("fault")
    registry.add("netem", Netem, owner="chaos.faults.netem")
    with pytest.raises(DuplicateKind, match=r"claimed by chaos\.faults\.netem and by acme-faults \(acme:N\)"):
        registry.add("netem", NodeKill, owner="acme-faults (acme:N)")
    assert registry.get("netem") is Netem


def test_a_fault_and_a_change_of_the_load_share_no_kind() -> None:
    changes = catalog.LoadChangeRegistry("change of the load")
    changes.add("netem", catalog.load_changes().get("burst"), owner="acme-faults (acme:B)")
    with pytest.raises(DuplicateKind, match=r"'netem' is claimed by chaos\.faults\.netem and by acme-faults"):
        catalog.faults().beside(changes)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(UnknownKind, match=r"did you mean 'process_kill'.*there are: affinity, .*netem, node_hang"):
        catalog.faults().get("proces_kill")


def test_the_kinds_of_probe() -> None:
    assert [cls.kind for cls in OUR_PROBES] == PROBES


def test_a_kind_of_probe_is_a_file() -> None:
    files = sorted(path.stem for path in Path(inspect.getfile(probes.health)).parent.glob("[!_]*.py"))
    assert files == PROBES
    assert [cls.__module__ for cls in OUR_PROBES] == [f"probes.health.{kind}" for kind in PROBES]


@pytest.mark.parametrize("cls", OUR_PROBES, ids=PROBES)
def test_a_probe_says_what_it_is(cls: type[Probe]) -> None:
    assert cls.__doc__ != Probe.__doc__
    assert (inspect.getmodule(cls).__doc__ or "").startswith(f"{cls.kind}: ")
    assert {name for name, field in cls.model_fields.items() if not field.description} == set()


@pytest.mark.parametrize("cls", OUR_PROBES, ids=PROBES)
def test_a_probe_that_is_written_is_the_probe_and_takes_units(cls: type[Probe]) -> None:
    model = written(cls)
    assert issubclass(model, cls)
    assert (set(model.model_fields), model.__doc__) == (set(cls.model_fields), cls.__doc__)
    required = {"url": "http://x/", "address": "x:1", "query": "up", "ok": "> 0", "run": ("true",)}
    given = {key: value for key, value in required.items() if key in cls.model_fields}
    assert model.model_validate(given | {"every": "250ms", "timeout": "2s"}).model_dump() == {
        **cls.model_validate(given).model_dump(),
        "every": 0.25,
        "timeout": 2.0,
    }


def test_an_unknown_probe_names_the_nearest() -> None:
    with pytest.raises(UnknownKind, match=r"did you mean 'icmp'.*there are: command, http"):
        catalog.health_probes().get("imcp")
