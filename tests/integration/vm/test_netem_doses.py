"""Doses on a VM host, by its packets; `scripts/doses` measures them all and writes docs/doses.md."""

from __future__ import annotations

from chaos.contracts import Target
from tests.integration.vm.netem_doses import DOSES, measure, wired

FEW = [
    {"delay": "40ms", "direction": "ingress"},
    {"delay": "60ms", "jitter": "10ms", "distribution": "normal"},
    {"loss": "2%"},
    {"rate": "16mbit", "direction": "egress", "limit": 100_000},
    {"rate": "16mbit", "direction": "egress", "latency": "9s"},
    {"rate": "800kbit", "buffer": "60kB"},
    {"pause": "20ms", "release_for": "5ms", "rate": "16mbit", "direction": "egress"},
]


def test_what_they_do_is_what_was_asked(worker: Target) -> None:
    doses = [dose for dose in DOSES if dose.given in FEW]
    assert len(doses) == len(FEW)
    with wired(worker):
        for dose in doses:
            for found in measure(worker, dose):
                assert found.is_within, (dose.given, found)
