"""Everything that is random about a plan: which hosts of a group, and the seed of the load.

It follows from the experiment's seed and the number of the trial by SHA-256, and so is the same on every machine and
with every version of Python (`random.sample` promises no such thing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def draw_seed(seed: int, trial: int) -> int:
    """Return the seed of a trial's load, 0 <= seed < 2**63. Two arms of a comparison get the same."""
    return _number(seed, trial, "load") >> 1


def draw_hosts(hosts: Sequence[str], count: int, seed: int, trial: int, step: int) -> tuple[str, ...]:
    """Return `count` of the hosts, every choice equally likely, in the order in which they were given."""
    chosen = sorted(hosts, key=lambda host: _number(seed, trial, f"faults[{step}]", host))[:count]
    return tuple(host for host in hosts if host in chosen)


def _number(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
