"""link_down, flapping, on a host in namespaces: it goes down and comes back in turn, and comes back for good."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from chaos.contracts import Target
from chaos.faults.link_down import LinkDown
from tests.hosts import ssh_hosts
from tests.unit.faults.payload_hosts import Standing

FURNITURE = """
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up
ip addr add 10.9.0.1/24 dev d0; ip addr add fd09::1/64 dev d0 nodad; ip route add 10.5.0.0/16 via 10.9.0.3
"""
SHOWN = "ip addr show dev d0; ip route show dev d0; ip -6 route show dev d0"


@pytest.fixture(scope="module")
def host() -> Iterator[Target]:
    with ssh_hosts(1) as made, made.as_controller():
        target = made.target(made.names[0])
        target.run(FURNITURE)
        yield target
        target.close()


def flapping() -> LinkDown:
    return LinkDown.model_validate({"interface": "d0", "down_for": "200ms", "up_for": "300ms"})


def is_up(host: Target) -> bool:
    return ",UP" in host.run("ip -o link show dev d0").stdout


def test_it_goes_down_and_up_in_turn_and_has_all_it_had_in_the_end(host: Target) -> None:
    standing = Standing(host, flapping())
    standing.eventually(lambda: is_up(host))
    had = "10.5.0.0/16 via 10.9.0.3"
    standing.apply()
    assert standing.is_applied()
    for up in (False, True, False, True):
        standing.eventually(lambda up=up: is_up(host) == up)  # type: ignore[misc]
    standing.eventually(standing.dose, lambda dose: dose.achieved.get("flaps", 0) >= 3)
    assert standing.dose().confirmed
    for action in standing.fault.revert(standing.before) * 2:
        host.perform(action)
    standing.eventually(standing.is_reverted)
    assert standing.fuse.reads_clean()
    assert had in host.run(SHOWN).stdout
    assert "fd09::1/64" in host.run(SHOWN).stdout
    standing.fuse.disarm()


def test_a_payload_that_is_killed_leaves_it_up(host: Target) -> None:
    standing = Standing(host, flapping())
    standing.eventually(lambda: not is_up(host))
    host.run("kill -9 $(pgrep -f '^sh ./program d0')")
    standing.eventually(standing.dose, lambda dose: dose.why_not.startswith("its payload was not at work"))
    standing.eventually(lambda: is_up(host) and "10.5.0.0/16" in host.run(SHOWN).stdout)
    standing.fuse.fire(patience=20)
    standing.eventually(standing.is_reverted)
    standing.fuse.disarm()


def test_both_times_or_neither() -> None:
    with pytest.raises(ValidationError, match="give both"):
        LinkDown.model_validate({"interface": "d0", "down_for": "1s"})
