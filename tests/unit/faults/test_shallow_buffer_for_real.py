"""shallow_buffer on what comes in, in real network namespaces: how much of a burst gets through, and what is lost.

What is sent is held by a netem too, which this machine's kernel may not have: tests/integration/vm.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from chaos.faults.shallow_buffer import ShallowBuffer
from tests.unit.faults.joined_hosts import HERE4, PEER4, Pair, is_clean, joined, now, perform

FRAME, COUNT = 1000, 100
BURST = f"""
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
began = time.monotonic()
for _ in range({COUNT}):
    s.sendto(bytes({FRAME - 42}), ("{HERE4}", 9))
print(time.monotonic() - began)
"""
GOT = "sed -n 's/^Udp: [0-9]* \\([0-9]*\\) .*/\\1/p' /proc/net/snmp"  # to a port where nobody listens


@pytest.fixture
def pair() -> Iterator[Pair]:
    with joined() as both:
        assert both.ping(both.peer, HERE4, patience=5)
        yield both


def fault(**more: Any) -> ShallowBuffer:
    given = {"interface": "eth0", "direction": "ingress", "peers": [PEER4], "rate": "400kbit", "buffer": "20kB"}
    return ShallowBuffer.model_validate(given | more)


@pytest.mark.parametrize("way", ["netlink", "sh"])
def test_a_burst_gets_through_as_far_as_the_bucket_and_the_buffer_reach(pair: Pair, way: str) -> None:
    shallow = fault()
    before = now(pair, shallow)
    assert shallow.objection(before) is None
    for action in shallow.apply(before):
        pair.host.perform(action) if way == "netlink" else pair.host.run(pair.host.render(action).do)
    assert shallow.is_applied(before, now(pair, shallow))
    assert not is_clean(pair, shallow, before)
    got = int(pair.host.run(GOT).stdout)
    took = float(pair.peer.run(f"{sys.executable} -S -c '{BURST}'").stdout)
    dose = shallow.dose(before, now(pair, shallow))
    for _ in range(2):
        perform(pair, shallow.revert(before))
        assert shallow.is_reverted(before, now(pair, shallow))
        assert is_clean(pair, shallow, before)
    drained = 50_000 * took / FRAME + 1  # while it was sent
    assert COUNT - 10 - 20 - drained <= dose.achieved["dropped"] <= COUNT - 10 - 20 + 1
    assert int(pair.host.run(GOT).stdout) - got == COUNT - dose.achieved["dropped"], "all else came, if late"
    assert (dose.confirmed, dose.achieved["rate_bytes_per_s"]) == (True, 50_000)
    assert dose.achieved["buffer_bytes"] == pytest.approx(20_000, abs=2)


def test_a_buffer_that_never_overflowed_is_no_dose(pair: Pair) -> None:
    shallow = fault(buffer="1MB")
    before = now(pair, shallow)
    perform(pair, shallow.apply(before))
    assert pair.ping(pair.peer, HERE4, patience=5)
    assert "never overflowed" in shallow.dose(before, now(pair, shallow)).why_not
    perform(pair, shallow.revert(before))
