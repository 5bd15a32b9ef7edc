"""netem: delay, loss and their kin on what an interface sends (tc-netem(8)).

Egress only: netem is a queueing discipline, so it holds what leaves the interface. The controller's own SSH flow passes
beside it. The queue's `limit` is computed, since netem's default of 1000 packets turns a delay into loss at a few
hundred requests a second: enough packets for the line rate over the delay, half as many again, at least 1000.
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import Need
from chaos.faults import _qdisc
from chaos.kernel import Link, Option, Qdisc
from chaos.units import BitRate, Duration, Share

_SHARES = ("loss", "duplicate", "corrupt", "reorder")
_ASSUMED_LINE_RATE = 10e9  # bit/s, where the interface does not say (virtual ones don't)
_PACKET = 512  # bytes: requests are small, and a queue counts packets
_CLOSE = {"delay": 2e-6, "jitter": 2e-6, "rate": 1.0}  # what tc's and the kernel's own units round away
_DIGITS = 1e-5  # tc's JSON has six digits


class Netem(_qdisc.Impairment):
    """Delay, loss, duplication, corruption, reordering and a rate on what an interface sends."""

    kind: ClassVar[str] = "netem"
    example: ClassVar[str] = "{kind: netem, on: {group: workers, pick: 1}, for: 20s, delay: 50ms, jitter: 5ms}"
    qdisc_kind: ClassVar[str] = "netem"
    needs: ClassVar[tuple[Need, ...]] = _qdisc.needs("sch_netem")

    delay: Duration = Field(0.0, description="added to every packet", ge=0, le=4)
    jitter: Duration = Field(0.0, description="the delay varies by plus or minus this", ge=0, le=4)
    delay_correlation: Share = Field(0.0, description="how much a packet's delay depends on the one before")
    loss: Share = Field(0.0, description="share of packets dropped at random")
    loss_correlation: Share = Field(0.0, description="how much a loss depends on the one before")
    duplicate: Share = Field(0.0, description="share of packets sent twice")
    duplicate_correlation: Share = Field(0.0, description="how much a duplicate depends on the one before")
    corrupt: Share = Field(0.0, description="share of packets with one bit flipped")
    corrupt_correlation: Share = Field(0.0, description="how much a corruption depends on the one before")
    reorder: Share = Field(0.0, description="share of packets sent at once while the others wait; needs a delay")
    reorder_correlation: Share = Field(0.0, description="how much a reordering depends on the one before")
    gap: int = Field(0, description="reorder only each gap-th packet", ge=0)
    rate: BitRate = Field(0.0, description="the most the interface sends", ge=0)
    limit: int = Field(0, description="packets the queue holds; computed by default", ge=0)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not (self.delay or self.jitter or self.rate or any(getattr(self, name) for name in _SHARES)):
            raise ValueError(
                "does nothing; give at least one of delay, jitter, loss, duplicate, corrupt, reorder, rate"
            )
        if any(0 < getattr(self, name) < 1e-6 for name in ("delay", "jitter")):
            raise ValueError("delay and jitter count in whole microseconds, as tc(8) does; give at least 1us")
        for needed, by in (
            ("delay", "jitter"),
            ("jitter", "delay_correlation"),
            ("delay", "reorder"),
            ("reorder", "gap"),
        ):
            if getattr(self, by) and not getattr(self, needed):
                raise ValueError(f"{by} needs {needed}: give it too")
        for name in _SHARES:
            if getattr(self, f"{name}_correlation") and not getattr(self, name):
                raise ValueError(f"{name}_correlation needs {name}: give it too")
        return self

    def qdisc(self, link: Link) -> Qdisc:
        """A netem."""
        return Qdisc("netem", options=self.options(link))

    def shows(self, held: Qdisc, link: Link) -> bool:
        """Compare, but for what tc and the kernel round."""
        asked = self.options(link)
        return all(_close(name, asked.get(name, 0), held.options.get(name, 0)) for name in {*asked, *held.options})

    def achieved(self, held: Qdisc) -> dict[str, float]:
        """Delay, jitter, loss and rate as the kernel has them."""
        kept = {"delay": "delay_s", "jitter": "jitter_s", "loss": "loss", "rate": "rate_bytes_per_s"}
        return {unit: float(held.options[name]) for name, unit in kept.items() if name in held.options}

    def longest_stay(self) -> float:
        """Behind a rate nobody can tell: its queue may be long."""
        return math.inf if self.rate else self.delay + self.jitter + 0.1

    def asked(self) -> dict[str, float]:
        """Return what is not off, in SI."""
        units = {"delay": "delay_s", "jitter": "jitter_s", "rate": "rate_bytes_per_s"}
        given = {name: float(value) for name, value in self.options(None).items() if name not in ("limit", "gap")}
        return {units.get(name, name): value for name, value in given.items()}

    def options(self, link: Link | None) -> dict[str, Option]:
        """Return the qdisc's options, those that are off left out; `link` gives the line rate for the limit."""
        names = [n for n in type(self).model_fields if n not in ("interface", "limit")]
        options: dict[str, Option] = {name: getattr(self, name) for name in names if getattr(self, name)}
        if "reorder" in options:
            options.setdefault("gap", 1)  # what the kernel takes when none is given
        return options | {"limit": self.limit or self._limit(link.bits_per_second if link else None)}

    def _limit(self, line_rate: float | None) -> int:
        bits = self.rate * 8 or line_rate or _ASSUMED_LINE_RATE
        in_flight = bits / 8 / _PACKET * (self.delay + 3 * self.jitter)
        return max(1000, math.ceil(1.5 * in_flight))


def _close(name: str, asked: Option, found: Option) -> bool:
    off = bool(asked) != bool(found)
    return not off and abs(float(asked) - float(found)) <= _CLOSE.get(name, 1e-6) + _DIGITS * float(asked)
