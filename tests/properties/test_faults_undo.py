"""On a host that behaves: the undo of every kind brings back what was, once or twice, applied or not."""

from __future__ import annotations

import copy
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import catalog
from chaos.contracts import Completed, Fault
from chaos.kernel import Dcb, Ets, Flow, Link, Pfc, Process, Qdisc
from chaos.run.injector import read
from chaos.testing import FakeTarget

PARAMETERS: dict[str, dict[str, Any]] = {
    "bandwidth": {"interface": "eth0", "rate": "10mbit"},
    "ets": {"interface": "eth0", "tc_bw": {0: 3, 7: 22}},
    "netem": {"interface": "eth0", "delay": "50ms", "loss": "1%"},
    "node_kill": {},
    "pause_storm": {"interface": "eth0", "pause": "20ms", "release_for": "5ms", "rate": "10gbit"},
    "pfc": {"interface": "eth0", "priorities": [4]},
    "process_kill": {"match": "^serve"},
    "process_pause": {"match": "^serve"},
    "shallow_buffer": {"interface": "eth0", "rate": "10gbit", "buffer": "150kB"},
}
# nft's text and payloads are no fake's to understand: tests/unit/faults/test_*_for_real.py
ON_A_KERNEL = {
    "affinity",
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
    "fd_exhaustion",
    "http",
    "link_down",
    "loss",
    "memory",
    "memory_bandwidth",
    "mtu",
    "mtu_black_hole",
    "node_hang",
    "node_reboot",
    "partition",
    "pause",
    "port_exhaustion",
    "service",
    "setting",
    "slow_clients",
    "sysctl",
}
ROOTS = st.sampled_from(
    [
        (),
        (Qdisc("noqueue"),),
        (Qdisc("mq"), Qdisc("fq_codel", parent=":1"), Qdisc("fq_codel", parent=":2")),
        (Qdisc("fq_codel", "8001:", options={"limit": 5}, words=("limit", "5")),),
        (Qdisc("noqueue"), Qdisc("clsact", "ffff:", "ffff:fff1")),
    ]
)
FLOWS = st.lists(st.builds(Flow, st.sampled_from([ip_address("192.0.2.1"), ip_address("2001:db8::1")]), st.just(22)))
COMMANDS = st.sampled_from(["serve a", "serve b", "x"])
PROCESSES = st.lists(
    st.builds(
        Process, st.integers(2, 99), st.integers(1, 999), st.just("S"), st.sampled_from(["serve a", "serve b", "x"])
    ),
    unique_by=lambda process: process.pid,
)
PFC = st.builds(
    Pfc, st.frozensets(st.integers(0, 7), max_size=7).filter(lambda some: some != {4}), delay=st.integers(0, 9)
)
ETS = Ets(("ets",) * 8, (13,) * 4 + (12,) * 4, tuple(range(8)))
ETH0 = "2: eth0: <BROADCAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP link/ether minmtu 68 maxmtu 9000\n"
IP_SAYS = f"{ETH0}--addresses\n--routes4\n--routes6\n--shared\n--neighbours\n--mtu6\n--control\n--agents\n"
HOSTS = st.builds(
    lambda root, pfc, flows, processes: FakeTarget(
        links=[Link("eth0", True, root)],
        dcb={"eth0": Dcb(pfc, ETS)},
        shell=lambda _: Completed(0, IP_SAYS, ""),
        flows=flows,
        processes=[*processes, Process(100, 1, "S", "serve c")],
        supervised=True,
    ),
    ROOTS,
    PFC,
    FLOWS,
    PROCESSES,
)


def test_every_kind_is_tried() -> None:
    assert sorted({*PARAMETERS, *ON_A_KERNEL}) == [
        kind for kind, cls in catalog.faults() if cls.__module__.startswith("chaos.")
    ]


@pytest.mark.parametrize("kind", sorted(PARAMETERS))
@given(host=HOSTS, times=st.tuples(st.integers(1, 2), st.integers(1, 2)))
@settings(deadline=None)
def test_revert_undoes_apply(kind: str, host: FakeTarget, times: tuple[int, int]) -> None:
    fault = catalog.faults().get(kind).model_validate(PARAMETERS[kind])
    before = read(host, fault.reading())
    assert fault.objection(before) is None
    perform(host, fault.apply(before), times[0])
    assert fault.is_applied(before, read(host, fault.reading()))
    perform(host, fault.revert(before), times[1])
    assert fault.is_reverted(before, read(host, fault.reading()))
    assert visible(host, fault) == visible_before(before, fault)


@pytest.mark.parametrize("kind", sorted(set(PARAMETERS) - {"node_kill"}))
@given(host=HOSTS)
@settings(deadline=None)
def test_an_undo_that_has_nothing_to_undo_changes_nothing(kind: str, host: FakeTarget) -> None:
    fault = catalog.faults().get(kind).model_validate(PARAMETERS[kind])
    before, state = read(host, fault.reading()), (copy.deepcopy(host.links), list(host.processes))
    perform(host, fault.revert(before), 2)
    assert (host.links, host.processes) == state
    assert fault.is_reverted(before, read(host, fault.reading()))


def perform(host: FakeTarget, actions: list[Any], times: int) -> None:
    for action in actions * times:
        host.perform(action)


def visible(host: FakeTarget, fault: Fault[Any]) -> Any:
    return visible_before(read(host, fault.reading()), fault)


def visible_before(state: Any, fault: Fault[Any]) -> Any:
    """What must be the same to the letter; a killed process comes back under another number."""
    return sorted(process.command for process in state.processes) if fault.kind == "process_kill" else state
