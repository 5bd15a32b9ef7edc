"""loss between two network namespaces: the share that is lost, whose packets, and what stays untouched."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from chaos.contracts import HostView
from chaos.faults._table import Seen
from chaos.faults.loss import Loss
from chaos.kernel import Flow
from chaos.run.injector import read
from tests.unit.faults.joined_hosts import HERE4, HERE6, PEER4, PEER6, Pair, apply, joined, now, undo

PACKETS = 6000
# sends datagrams and prints how many the kernel refused to send
FLOOD = f"""
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((("::" if ":" in host else "0.0.0.0"), 7000))
refused = 0
for _ in range({PACKETS}):
    try:
        s.sendto(b"x", (host, port))
    except PermissionError:
        refused += 1
print(refused)
"""
# datagrams that reached IP, for a socket or not; without IPv6's header there is none
ARRIVED = "awk '/^Udp:/ {n = $2 + $3} END {print n}' /proc/net/snmp"
ARRIVED6 = "awk '/^Udp6(InDatagrams|NoPorts|InErrors)/ {n += $2} END {print n}' /proc/net/snmp6"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with joined() as both:
        yield both


def flood(pair: Pair, to: str, port: int = 7001) -> int:
    """Send from the host, or from its peer; return how many packets were refused."""
    source = pair.host if to in (PEER4, PEER6) else pair.peer
    return int(source.run(f"python3 -c '{FLOOD}' {to} {port}").stdout)


def is_share(lost: int, of: int, share: float) -> bool:
    """Whether a share lies in the exact 99.9 % interval of a count, so that chance fails one run in a thousand."""
    interval = stats.binomtest(lost, of).proportion_ci(0.999)
    return bool(interval.low <= share <= interval.high)


@pytest.mark.parametrize(("share", "to"), [("5%", PEER4), ("30%", PEER6)])
def test_the_share_of_what_is_sent(pair: Pair, share: str, to: str) -> None:
    fault = Loss.model_validate({"share": share, "peers": [PEER4, PEER6], "direction": "egress"})
    before = apply(pair, fault)
    refused = flood(pair, to)
    assert is_share(refused, PACKETS, fault.share)
    dose = fault.dose(before, now(pair, fault))
    assert dose.confirmed
    assert (dose.achieved["packets"], dose.achieved["dropped"]) == (PACKETS, refused)
    undo(pair, fault, before)
    assert flood(pair, to) == 0


@pytest.mark.parametrize(("to", "arrived"), [(HERE4, ARRIVED), (HERE6, ARRIVED6)])
def test_the_share_of_what_arrives(pair: Pair, to: str, arrived: str) -> None:
    fault = Loss.model_validate({"share": "10%", "ports": [7001, 7000], "direction": "ingress"})
    before, had = apply(pair, fault), int(pair.host.run(arrived).stdout)
    assert flood(pair, to) == 0, "who sends is not told"
    lost = PACKETS - (int(pair.host.run(arrived).stdout) - had)
    dose = fault.dose(before, now(pair, fault))
    assert (dose.achieved["packets"], dose.achieved["dropped"]) == (PACKETS, lost), "a packet is drawn once"
    assert is_share(lost, PACKETS, fault.share)
    undo(pair, fault, before)


def test_all_is_lost_but_the_controllers_flow_and_other_peoples(pair: Pair) -> None:
    fault = Loss.model_validate({"share": "99.9999999%", "peers": [PEER4]})
    before = apply(pair, fault, (Flow(ip_address(PEER4), 22),))
    assert pair.ask(pair.peer, "STREAM", HERE4, 22, patience=5) == "ok"
    assert pair.ask(pair.peer, "STREAM", HERE4) == "silence"
    assert pair.ask(pair.host, "STREAM", PEER6, patience=5) == "ok"
    assert fault.dose(before, now(pair, fault)).achieved["loss"] == 1.0
    undo(pair, fault, before)


def test_nothing_lost_is_no_dose(pair: Pair) -> None:
    fault = Loss.model_validate({"share": "0.0000001%", "peers": [PEER4]})
    before = apply(pair, fault)
    assert pair.ask(pair.host, "STREAM", PEER4, patience=5) == "ok"
    dose = fault.dose(before, now(pair, fault))
    assert (dose.confirmed, dose.why_not) == (False, f"no packet of {dose.achieved['packets']:.0f} was lost")
    undo(pair, fault, before)


def test_a_rule_that_somebody_changed_is_not_ours(pair: Pair) -> None:
    fault = Loss.model_validate({"share": "1%", "peers": [PEER4]})
    before = apply(pair, fault)
    pair.host.run(f"nft insert rule inet {fault.table} lose numgen random mod 100 == 1 counter drop")
    assert not fault.is_applied(before, now(pair, fault))
    assert "did not hold our rules" in fault.dose(before, now(pair, fault)).why_not
    undo(pair, fault, before)


def test_the_need_is_met_here_and_asks_the_kernel(pair: Pair) -> None:
    (need,) = (need for need in Loss.needs if need.name == "nft numgen")
    assert pair.host.run(need.check, check=False).status == 0
    assert pair.host.run(need.check.replace("random mod", "randomly mod"), check=False).status != 0
    assert "gameday_try" not in pair.host.run("nft list tables").stdout


@given(
    share=st.integers(1, 10**9 - 1).map(lambda n: f"{n / 10**7:.7f}%"),
    peers=st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.0/24", "fd00::/64", "127.0.0.1"]), max_size=3),
    ports=st.lists(st.integers(1, 65535), max_size=3),
    direction=st.sampled_from(["both", "egress", "ingress"]),
    forwarded=st.booleans(),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_kernel_lists_every_rule_as_it_was_meant(pair: Pair, **parameters: Any) -> None:
    fault = Loss.model_validate(parameters)
    before = Seen(None, (), (Flow(ip_address("10.0.0.1"), 22), Flow(ip_address("fd00::1"), 22)))
    for action in fault.apply(before):
        pair.host.perform(action)
    assert read(pair.host, fault.reading()).chains == fault.chains(before.control)
    undo(pair, fault, before)


@pytest.mark.parametrize("share", ["0%", "0.00000001%", "100%", "101%", 0.1])
def test_what_is_no_loss(share: object) -> None:
    with pytest.raises(ValidationError):
        Loss.model_validate({"share": share})


def test_names_become_addresses() -> None:
    view = HostView("w1", peers={"gateway": {"gateway": ("10.0.0.9",)}})
    fault = Loss.model_validate({"share": "1%", "peers": ["gateway"]})
    assert "no address is known of gateway" in (fault.objection(Seen(None, (), ())) or "")
    assert fault.bind(view).peers == ("10.0.0.9",)
