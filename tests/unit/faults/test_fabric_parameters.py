"""shallow_buffer, pause_storm, ecn, pause: what they refuse as given, and what they compute."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from chaos import catalog
from chaos.faults.ecn import Ecn
from chaos.faults.pause_storm import PauseStorm
from chaos.faults.shallow_buffer import ShallowBuffer
from chaos.kernel import Link


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("ecn", {}, "does nothing; give at least one of tcp, notification, reaction"),
        ("ecn", {"tcp": "off", "priorities": [8]}, "less than or equal to 7"),
        ("pause", {"interface": "eth1"}, "does nothing; give at least one of autoneg, rx, tx"),
        ("pause_storm", {"pause": "5ms"}, "release_for"),
        ("shallow_buffer", {"rate": "1gbit", "buffer": "1kB"}, "greater than or equal to 10000"),
    ],
)
def test_what_is_refused(kind: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        catalog.faults().get(kind).model_validate(given)


@pytest.mark.parametrize(("rate", "burst"), [("50mbit", 10_000), ("10gbit", 125_000)])
def test_the_bucket_holds_a_frame_or_what_a_late_timer_misses(rate: str, burst: int) -> None:
    options = ShallowBuffer.model_validate({"rate": rate, "buffer": "60kB"}).options()
    assert (options["burst"], options["limit"]) == (burst, 60_000)


def test_a_slot_holds_what_the_line_sends_in_it() -> None:
    storm = PauseStorm.model_validate({"interface": "eth0", "pause": "20ms", "release_for": "5ms"})
    options = storm.options(Link("eth0", True, bits_per_second=10e9))
    assert (options["slot_min"], options["slot_max"], options["slot_bytes"]) == (0.025, 0.025, 6_250_000)
    seen = storm.typical()
    assert "does not say how fast it is" in (storm.objection(seen) or "")
    long = PauseStorm.model_validate({"interface": "eth0", "pause": "20ms", "release_for": "50s", "rate": "1gbit"})
    assert "more than netem counts" in (long.objection(seen) or "")


def test_roce_needs_an_interface_and_tcp_does_not() -> None:
    roce, tcp = Ecn(notification=False), Ecn(tcp="off")
    assert "no interface" in (roce.objection(roce.typical()) or "")
    assert tcp.objection(tcp.typical()) is None
