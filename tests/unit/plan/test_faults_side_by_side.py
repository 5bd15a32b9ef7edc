"""Several faults that queue packets of one interface: the plan gives each a lane, or says which can't be together."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import catalog
from chaos.contracts import PlantQdisc
from chaos.errors import SpecError
from chaos.faults._qdisc import Impairment
from chaos.kernel import Beside
from chaos.plan.plan import Plan, make_plan
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory

HOSTS = """
defaults: {interface: eth0}
hosts:
  gateway: {address: 192.0.2.10}
  w1: {address: 192.0.2.11}
  w2: {address: 192.0.2.12, addresses: [192.0.2.12, "2001:db8::12"]}
groups: {workers: [w1, w2]}
"""
EXPERIMENT = """name: beside
load: {url: "http://192.0.2.1/", arrivals: {process: constant, rate: 5/s}}
timeline: {warmup: 0s, baseline: 3s, observe: 60s}
faults:
"""


def planned(folder: Path, *faults: str) -> Plan:
    (folder / "hosts.yaml").write_text(HOSTS)
    (folder / "beside.yaml").write_text(EXPERIMENT + "".join(f"  - {{{fault}}}\n" for fault in faults))
    experiment = load_experiment(folder / "beside.yaml", catalog.faults())
    return make_plan(experiment, load_inventory(folder / "hosts.yaml"))


def places(plan: Plan) -> list[Beside]:
    found = []
    for step in plan.steps:
        assert isinstance(step.fault, Impairment)
        (plant,) = step.fault.apply(step.fault.typical())
        assert isinstance(plant, PlantQdisc)
        assert isinstance(plant.place, Beside)
        found.append(plant.place)
    return found


def test_each_has_a_lane_of_its_own(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        "kind: netem, on: gateway, for: 20s, delay: 50ms, peers: [w1]",
        "kind: netem, on: gateway, for: 20s, loss: 1%, peers: [w2]",
        "kind: process_pause, on: gateway, for: 5s, match: x",
        "kind: bandwidth, on: gateway, for: 20s, rate: 1mbit, direction: ingress",
        "kind: bandwidth, on: w1, for: 20s, rate: 1mbit",
    )
    lanes = places(plan.model_copy(update={"steps": tuple(s for s in plan.steps if s.fault.kind != "process_pause")}))
    assert [(place.lane, place.hook) for place in lanes] == [
        (0, "egress"),
        (1, "egress"),
        (2, "ingress"),
        (0, "egress"),
    ]
    second = plan.steps[1].fault
    assert isinstance(second, Impairment)
    assert [str(selection.peer) for selection in second.towards] == ["192.0.2.12/32", "2001:db8::12/128"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("kind: netem, delay: 1ms", "kind: bandwidth, rate: 1mbit"),
        ("kind: netem, delay: 1ms, peers: [w1]", "kind: bandwidth, rate: 1mbit"),
        ("kind: netem, delay: 1ms, peers: [192.0.2.0/24]", "kind: netem, loss: 1%, peers: [w2], ports: [80]"),
        ("kind: netem, delay: 1ms, protocols: [udp]", "kind: netem, loss: 1%, ports: [80]"),
    ],
)
def test_a_packet_that_would_have_to_pass_two_is_refused(first: str, second: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        planned(tmp_path, f"{first}, on: gateway, for: 20s", f"{second}, on: gateway, for: 20s, at: 10s")
    assert str(refused.value).startswith(f"{tmp_path}/beside.yaml:6:5: faults[1]: on gateway: ")
    assert "is on the same packets of eth0 at the same time, and a packet is held once" in str(refused.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("kind: netem, delay: 1ms, peers: [w1]", "kind: netem, delay: 1ms, peers: [w2]"),
        ("kind: netem, delay: 1ms, protocols: [udp]", "kind: netem, loss: 1%, ports: [80], protocols: [tcp]"),
        ("kind: netem, delay: 1ms", "kind: netem, delay: 1ms, direction: ingress"),
        ("kind: netem, delay: 1ms", "kind: netem, delay: 1ms, interface: eth1"),
        ("kind: netem, delay: 1ms, dscp: [46]", "kind: bandwidth, rate: 1mbit, dscp: [0]"),
        ("kind: netem, delay: 1ms", "kind: bandwidth, rate: 1mbit, at: 20s"),
    ],
)
def test_what_never_meets_is_planned(first: str, second: str, tmp_path: Path) -> None:
    assert len(planned(tmp_path, f"{first}, on: gateway, for: 20s", f"{second}, on: gateway, for: 20s").steps) == 2


def test_hosts_that_are_drawn_are_compared_once_they_are(tmp_path: Path) -> None:
    """Two of two, and one of two: on which it falls only the plan knows."""
    with pytest.raises(SpecError, match=r"beside.yaml:6:5: faults\[1\]: on w[12]: "):
        planned(
            tmp_path,
            "kind: netem, on: {group: workers, pick: 1}, for: 20s, delay: 1ms",
            "kind: netem, on: workers, for: 20s, loss: 1%",
        )
