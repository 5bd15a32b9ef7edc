from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

import chaos.catalog
from chaos.catalog import FaultRegistry
from chaos.contracts import HostView, PowerState, Reading
from chaos.errors import Exit, PlanRefused, SpecError
from chaos.plan.draw import draw_hosts
from chaos.plan.existing import PlannedLocust, PlannedTraffic
from chaos.plan.plan import Plan, PlannedLoad, make_plan
from chaos.record.terms import Terms
from chaos.spec.experiment import Experiment, load_experiment
from chaos.spec.inventory import Inventory, load_inventory
from chaos.units import Duration
from tests.unit.spec.toy_faults import Toy

HOSTS = """
defaults: {interface: eth0}
hosts:
  gateway: {address: 10.0.0.10, endpoint: "10.0.0.10:8000"}
  w1: {address: 10.0.0.11, power: {kind: command, on: [x, on], off: [x, off], status: [x]}}
  w2: {address: "2001:db8::12", interface: eth1, power: {kind: redfish, url: https://bmc, user: u, password_env: P}}
  w3: {address: w3.example}
  w4: {address: w4.example}
groups: {workers: [w1, w2, w3, w4]}
"""
LOAD = """
name: case
load:
  url: http://{gateway}/v1
  method: POST
  classes: [{name: hot, weight: 3, json: {n: "{seq}", é: 1}}, {name: cold, body: "raw {rand}"}, {name: bare}]
  arrivals: {process: gamma, rate: 50/s, burstiness: 0.5}
  slo: {latency: 2s}
timeline: {warmup: 5s, baseline: 20s, observe: 60s}
budgets: {mttr: 15s}
abort: ["goodput < 50% for 10s"]
"""


class Slow(Toy):
    kind: ClassVar[str] = "slow"
    delay: Duration
    interface: str = ""

    def bind(self, host: HostView) -> Self:
        return self.model_copy(update={"interface": host.interface})


class Outage(Slow):
    kind: ClassVar[str] = "outage"
    delay: Duration = 0.0

    def reading(self) -> Reading[Any]:
        return Reading((PowerState(),), str)


def inventory(folder: Path, protect: str = "{}") -> Inventory:
    file = folder / "inventory.yaml"
    file.write_text(f"{HOSTS}protect: {protect}\n")
    return load_inventory(file)


def experiment(folder: Path, *steps: str, seed: int = 1) -> Experiment:
    registry = FaultRegistry("fault")
    for cls in (Slow, Outage):
        registry.add(cls.kind, cls, owner="tests")
    file = folder / "case.yaml"
    file.write_text(f"{LOAD}seed: {seed}\nfaults: [{', '.join(steps)}]\n")
    return load_experiment(file, registry)


def slow(on: str, at: str = "0s", held: str = "10s") -> str:
    return f"{{kind: slow, on: {on}, at: {at}, for: {held}, delay: 50ms}}"


def refusal(folder: Path, protect: str, *steps: str) -> str:
    with pytest.raises(PlanRefused) as caught:
        make_plan(experiment(folder, *steps), inventory(folder, protect))
    assert caught.value.exit_code == Exit.REFUSED
    return str(caught.value)


def test_a_step_for_each_host(tmp_path: Path) -> None:
    plan = make_plan(experiment(tmp_path, slow("w3", "5s"), slow("{hosts: [w1, w2]}", "20s")), inventory(tmp_path))
    assert [(s.id, s.host, s.at_s, s.until_s) for s in plan.steps] == [
        ("slow-0@w3", "w3", 5.0, 15.0),
        ("slow-1@w1", "w1", 20.0, 30.0),
        ("slow-1@w2", "w2", 20.0, 30.0),
    ]


def test_a_fault_is_bound_to_its_host(tmp_path: Path) -> None:
    plan = make_plan(experiment(tmp_path, slow("{hosts: [w1, w2]}")), inventory(tmp_path))
    assert [s.fault.model_dump()["interface"] for s in plan.steps] == ["eth0", "eth1"]


def own(plan: Plan) -> PlannedLoad:
    assert isinstance(plan.load, PlannedLoad)
    return plan.load


def test_the_load_is_complete(tmp_path: Path) -> None:
    load = own(make_plan(experiment(tmp_path), inventory(tmp_path)))
    assert load.url == "http://10.0.0.10:8000/v1"
    assert load.headers == {"Content-Type": "application/json"}
    assert [(c.name, c.weight, c.body) for c in load.classes] == [
        ("hot", 3.0, '{"n": "{seq}", "é": 1}'),
        ("cold", 1.0, "raw {rand}"),
        ("bare", 1.0, None),
    ]
    assert (load.rate, load.burstiness, load.duration, load.slo.latency) == (50.0, 0.5, 85.0, 2.0)


def test_terms_are_read_back_from_json(tmp_path: Path) -> None:
    plan = make_plan(experiment(tmp_path, slow("w1")), inventory(tmp_path))
    dumped = json.loads(plan.model_dump_json())
    assert Terms.model_validate(dumped["terms"]) == plan.terms
    assert plan.terms.classes == ("hot", "cold", "bare")
    assert [(b.name, b.limit) for b in plan.terms.budgets] == [("mttr", 15.0)]
    assert dumped["steps"][0]["fault"] == {"kind": "slow", "delay": 0.05, "interface": "eth0"}
    assert dumped["abort"][0] == {
        "text": "goodput < 50% for 10s",
        "signal": "goodput",
        "side": "<",
        "limit": 0.5,
        "for_s": 10.0,
    }


def picked(plan: Plan) -> tuple[str, ...]:
    return tuple(step.host for step in plan.steps)


def test_a_pick_follows_from_the_seed_and_the_trial(tmp_path: Path) -> None:
    hosts, case = inventory(tmp_path), experiment(tmp_path, slow("{group: workers, pick: 2}"))
    assert make_plan(case, hosts, 3) == make_plan(case, hosts, 3)
    assert len({picked(make_plan(case, hosts, trial)) for trial in range(20)}) > 3
    seeds = {own(make_plan(experiment(tmp_path, seed=seed), hosts, trial)).seed for seed in (1, 2) for trial in (0, 1)}
    assert len(seeds) == 4


def test_every_host_is_picked_as_often() -> None:
    counts = dict.fromkeys("abcd", 0)
    for trial in range(2000):
        for host in draw_hosts("abcd", 1, seed=1, trial=trial, step=0):
            counts[host] += 1
    assert all(430 < count < 570 for count in counts.values()), counts  # 500 expected, s.d. 19


def test_the_blast_radius(tmp_path: Path) -> None:
    steps = slow("{hosts: [w1, w2]}"), slow("w3", "5s"), slow("gateway", "30s"), slow("w1", "30s")
    reach = make_plan(experiment(tmp_path, *steps), inventory(tmp_path)).reach
    assert (reach.hosts, reach.hosts_at_once, reach.groups_at_once) == (
        ("w1", "w2", "w3", "gateway"),
        3,
        {"workers": 0.75},
    )


def test_a_control_run_reaches_nobody(tmp_path: Path) -> None:
    plan = make_plan(experiment(tmp_path), inventory(tmp_path, "{max_hosts: 1, max_fraction: 50%}"))
    assert (plan.steps, plan.reach.hosts_at_once, plan.reach.groups_at_once) == ((), 0, {"workers": 0.0})


def test_a_protected_host_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "{hosts: [gateway]}", slow("gateway"))
    assert said == "slow-0@gateway: gateway is protected (protect.hosts); choose another host with `on`"


def test_too_many_hosts_at_once_are_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "{max_hosts: 1}", slow("w1"), slow("w2", "9s"))
    assert said == (
        "2 hosts would be under a fault at once, at 9 s: w1, w2; 1 allowed (protect.max_hosts);"
        " pick fewer or leave time between the faults"
    )


def test_faults_that_touch_count_as_at_once(tmp_path: Path) -> None:
    assert "at 10 s: w1, w2" in refusal(tmp_path, "{max_hosts: 1}", slow("w1"), slow("w2", "10s"))


def test_faults_apart_are_allowed(tmp_path: Path) -> None:
    plan = make_plan(experiment(tmp_path, slow("w1"), slow("w2", "11s")), inventory(tmp_path, "{max_hosts: 1}"))
    assert plan.reach.hosts_at_once == 1


def test_too_large_a_share_of_a_group_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "{max_fraction: 50%}", slow("{group: workers, pick: 3}"))
    assert said.startswith("3 of 4 hosts of group workers would be under a fault at once, at 0 s: ")
    assert said.endswith("; at most 50% allowed (protect.max_fraction)")
    half = make_plan(
        experiment(tmp_path, slow("{group: workers, pick: 50%}")), inventory(tmp_path, "{max_fraction: 50%}")
    )
    assert half.reach.groups_at_once == {"workers": 0.5}


def test_every_line_that_is_crossed_is_said(tmp_path: Path) -> None:
    said = refusal(tmp_path, "{hosts: [w1, w2], max_hosts: 2, max_fraction: 50%}", slow("workers"))
    assert len(said.splitlines()) == 4


def test_a_name_the_inventory_does_not_have_is_a_mistake_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"case\.yaml:\d+:\d+: faults\[0\]\.on: 'w9' is no host or group"):
        make_plan(experiment(tmp_path, slow("w9")), inventory(tmp_path))


def with_load(tmp_path: Path, load: str) -> Plan:
    file = tmp_path / "existing.yaml"
    file.write_text(f"name: x\nload: {load}\ntimeline: {{warmup: 5s, baseline: 100s, observe: 60s}}\n")
    return make_plan(load_experiment(file, chaos.catalog.faults()), inventory(tmp_path))


def test_a_locustfile_is_found_beside_its_experiment_and_is_a_closed_loop(tmp_path: Path) -> None:
    (tmp_path / "users.py").touch()
    load = "{locust: users.py, host: 'http://{gateway}/', users: 9, spawn_rate: 3/s, slo: {latency: 2s}}"
    plan = with_load(tmp_path, load)
    assert isinstance(plan.load, PlannedLocust)
    assert (plan.load.locustfile, plan.load.host) == (str(tmp_path / "users.py"), "http://10.0.0.10:8000/")
    assert (plan.load.users, plan.load.spawn_rate, plan.load.workers, plan.load.duration) == (9, 3.0, 1, 165.0)
    assert (plan.terms.process, plan.terms.is_open_loop, plan.terms.slo_latency) == ("closed", False, 2.0)


def test_watched_traffic_has_windows_of_its_interval(tmp_path: Path) -> None:
    plan = with_load(tmp_path, "{prometheus: 'http://{gateway}', query: up, interval: 5s}")
    assert isinstance(plan.load, PlannedTraffic)
    assert (plan.load.prometheus, plan.load.interval) == ("http://10.0.0.10:8000", 5.0)
    assert (plan.terms.process, plan.terms.window, plan.terms.offered_known) == ("watched", 5.0, False)
