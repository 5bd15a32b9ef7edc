"""What the kinds that are a token bucket (tc-tbf(8)) share: how its options are compared."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.kernel import Option

_ROUNDED = 2.1e-6  # s: the kernel keeps the burst as a time in µs, and tc prints the limit as one


def is_same(asked: Mapping[str, Option], held: Mapping[str, Option]) -> bool:
    """Compare rate (bytes/s), burst and limit (bytes), but for what tc and the kernel round."""
    off = {name: abs(float(held[name]) - float(value)) for name, value in asked.items()}
    near = 2 + float(asked["rate"]) * _ROUNDED
    return off["rate"] <= 1 and off["burst"] <= near and off["limit"] <= near
