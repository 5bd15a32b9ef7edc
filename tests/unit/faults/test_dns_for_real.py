"""dns between two network namespaces: what becomes of what is asked of a name server, and of everything else."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from chaos.faults.dns import Dns
from chaos.kernel import Flow
from tests.unit.faults.joined_hosts import HERE4, PEER4, PEER6, Pair, apply, joined, now, undo

SERVERS = (PEER4, PEER6, "127.0.0.1", "::1")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """The echo of port 8000 stands in for a name server: what counts is whether a question gets there."""
    with joined() as both:
        yield both


def asked(pair: Pair, kind: str, patience: float) -> list[str]:
    return [pair.ask(pair.host, kind, server, patience=patience) for server in SERVERS]


def test_no_answer_comes_by_any_way(pair: Pair) -> None:
    fault = Dns(ports=(8000, 853))
    before = apply(pair, fault, (Flow(ip_address(PEER4), 22),))
    assert asked(pair, "STREAM", 0.2) == ["silence"] * 4
    assert asked(pair, "DGRAM", 0.2) == ["silence"] * 4
    assert pair.ask(pair.peer, "DGRAM", HERE4, patience=5) == "ok", "a name server of this host answers"
    assert pair.ask(pair.host, "STREAM", PEER4, 22, patience=5) == "ok", "another port"
    dose = fault.dose(before, now(pair, fault))
    assert dose.confirmed
    assert dose.achieved["packets"] >= 8
    undo(pair, fault, before)
    assert asked(pair, "STREAM", 5) == asked(pair, "DGRAM", 5) == ["ok"] * 4


def test_questions_are_refused_at_once(pair: Pair) -> None:
    fault = Dns(ports=(8000,), action="reject", forwarded=True)
    before = apply(pair, fault)
    assert asked(pair, "STREAM", 5) == ["ECONNREFUSED"] * 4
    assert asked(pair, "DGRAM", 5) == ["EPERM"] * 4
    undo(pair, fault, before)


def test_where_nobody_asks_nothing_fails(pair: Pair) -> None:
    fault = Dns()
    before = apply(pair, fault)
    assert fault.chains(())["ingress"][-1].text == "meta l4proto { tcp, udp } th sport 53 counter drop"
    assert pair.ask(pair.host, "STREAM", PEER4, patience=5) == "ok"
    assert fault.dose(before, now(pair, fault)).why_not == "no name server was asked, so nothing failed"
    undo(pair, fault, before)


@pytest.mark.parametrize("wrong", [{"ports": []}, {"ports": [0]}, {"action": "lie"}])
def test_what_is_no_such_fault(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Dns.model_validate(wrong)
