"""What the kinds that are a netem share: how long its queue is, and what is read back of its options."""

from __future__ import annotations

import math
from collections.abc import Mapping

from chaos.kernel import Option

_ASSUMED_LINE_RATE = 1.25e9  # bytes/s, where the interface does not say (virtual ones don't)
_PACKET = 512  # bytes: requests are small, and a queue counts packets
_CLOSE = {"delay": 2e-6, "jitter": 2e-6, "rate": 1.0}  # what tc's and the kernel's own units round away
_DIGITS = 1e-5  # tc's JSON has six digits
_NOT_SHOWN = ("distribution", "slot_distribution")
_UNITS = {
    "delay": "delay_s",
    "jitter": "jitter_s",
    "rate": "rate_bytes_per_s",
    **{f"slot_{name}": f"slot_{name}_s" for name in ("min", "max", "delay", "jitter")},
}


def limit(bytes_per_second: float | None, held: float) -> int:
    """Return how many packets a queue needs that holds what a line brings in that many s, and half as many again."""
    in_flight = (bytes_per_second or _ASSUMED_LINE_RATE) / _PACKET * held
    return min(2**31 - 1, max(1000, math.ceil(1.5 * in_flight)))


def is_same(asked: Mapping[str, Option], held: Mapping[str, Option]) -> bool:
    """Compare all that the kernel shows, but for what tc and the kernel round."""
    shown = {name: value for name, value in asked.items() if name not in _NOT_SHOWN}
    return all(_close(name, shown.get(name, 0), held.get(name, 0)) for name in {*shown, *held})


def in_si(options: Mapping[str, Option]) -> dict[str, float]:
    """Return what can be told in numbers, with its unit, but the queue's own limits."""
    told = {name: value for name, value in options.items() if name not in ("limit", "gap", "seed", *_NOT_SHOWN)}
    return {_UNITS.get(name, name): float(value) for name, value in told.items()}


def _close(name: str, asked: Option, found: Option) -> bool:
    if isinstance(asked, int) and asked:
        return asked == found
    off = bool(asked) != bool(found)
    return not off and abs(float(asked) - float(found)) <= _CLOSE.get(name, 1e-6) + _DIGITS * float(asked)
