"""netem: delay, loss and their kin on what an interface sends or receives (tc-netem(8)), all of it or some.

The controller's own SSH flow passes beside it, either way. The queue's `limit` is computed, since netem's default of
1000 packets turns a delay into loss at a few hundred requests a second: enough packets for the line rate over the
delay, half as many again, at least 1000.

What tc(8) or the kernel would refuse, cut or leave out without a word is refused here, under the key that asks for it:
a jitter beyond 2.1 s, a distribution without a jitter, a gap without a reordering. The kernel does not show the table
of a distribution again, so of that only the delay and the jitter it came with are read back.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from chaos import delay_tables
from chaos.contracts import Need, Output, Reading
from chaos.faults import _netem, _qdisc
from chaos.kernel import Link, Option, Qdisc
from chaos.units import BitRate, Duration, Share, Size

_EFFECTS = ("delay", "jitter", "loss", "loss_state", "loss_gemodel", "duplicate", "corrupt", "reorder", "rate", "slot")
_LONGEST = 274.0  # s: 2^32 ticks of 64 ns, as tc before 6.9 sends a delay
_WIDEST = 2.147483647  # s: the kernel cuts a jitter to 2^31-1 ns
_LEAST_SHARE = 0.5 / (2**32 - 1)

# a key and those of which one must stand beside it, or it would do nothing
_BASES = {
    "jitter": ("delay",),
    "delay_correlation": ("jitter",),
    "distribution": ("jitter",),
    "samples": ("jitter",),
    "loss_correlation": ("loss",),
    "ecn": ("loss", "loss_state", "loss_gemodel"),
    "duplicate_correlation": ("duplicate",),
    "corrupt_correlation": ("corrupt",),
    "reorder": ("delay",),
    "reorder_correlation": ("reorder",),
    "gap": ("reorder",),
    "packet_overhead": ("rate",),
    "cell_size": ("rate",),
    "cell_overhead": ("cell_size",),
}
_EXCLUSIVE = {"loss_state": ("loss",), "loss_gemodel": ("loss", "loss_state"), "samples": ("distribution",)}


def _samples(value: Any, info: ValidationInfo) -> Any:
    """Return a list as it is, and a file's lines in the place of its name."""
    if not isinstance(value, str):
        return value
    path = Path((info.context or {}).get("folder", ""), value)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"the file {path} can't be read: {error}") from error
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


Samples = Annotated[
    tuple[Duration, ...],
    BeforeValidator(_samples),
    WithJsonSchema(
        {"type": ["array", "string"], "items": {"type": ["string", "number"]}, "examples": [["9ms", "10ms", "31ms"]]}
    ),
]


class _Part(BaseModel):
    """A mapping within a netem."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("*")
    @classmethod
    def _can_be_counted(cls, value: Any) -> Any:
        return _counted(value)


class StateLoss(_Part):
    """Loss by a Markov chain of four states (tc-netem(8), `loss state`): 1 received, 2 received within a burst,
    3 lost within a burst, 4 lost alone."""

    p13: Share = Field(description="from received to a burst of losses", gt=0)
    p31: Share | None = Field(None, description="from a burst of losses back; 100% - p13 by default")
    p32: Share = Field(0.0, description="from lost to received within a burst")
    p23: Share = Field(1.0, description="from received to lost within a burst")
    p14: Share = Field(0.0, description="from received to one loss alone")

    def options(self) -> dict[str, Option]:
        """Return the options of the qdisc."""
        values = self.model_dump() | {"p31": 1 - self.p13 if self.p31 is None else self.p31}
        return {f"state_{name}": value for name, value in values.items() if value >= _LEAST_SHARE}


class BurstLoss(_Part):
    """Loss by a Gilbert-Elliott chain of a good and a bad state (tc-netem(8), `loss gemodel`)."""

    p: Share = Field(description="from good to bad", gt=0)
    r: Share | None = Field(None, description="from bad to good; 100% - p by default")
    lost_in_bad: Share = Field(1.0, alias="1-h", description="share of packets lost in the bad state")
    lost_in_good: Share = Field(0.0, alias="1-k", description="share of packets lost in the good state")

    def options(self) -> dict[str, Option]:
        """Return the options of the qdisc."""
        back = 1 - self.p if self.r is None else self.r
        values = {"p": self.p, "r": back, "1-h": self.lost_in_bad, "1-k": self.lost_in_good}
        return {f"gemodel_{name}": value for name, value in values.items() if value >= _LEAST_SHARE}


class Slot(_Part):
    """Packets held and sent together in slots (tc-netem(8), `slot`), as a half-duplex medium does."""

    min_delay: Duration = Field(0.0, description="the shortest time between two slots", ge=0, le=_LONGEST)
    max_delay: Duration = Field(0.0, description="the longest; min_delay by default", ge=0, le=_LONGEST)
    distribution: delay_tables.Name = Field(
        "uniform", description="of the time between two slots; other than uniform with delay and jitter"
    )
    samples: Samples = Field((), description="a distribution of one's own, as for the delay")
    delay: Duration = Field(0.0, description="the mean of that distribution", ge=0, le=_LONGEST)
    jitter: Duration = Field(0.0, description="its standard deviation", ge=0, le=_WIDEST)
    packets: int = Field(0, description="the most packets in a slot; any number by default", ge=0, le=2**31 - 1)
    bytes: Size = Field(0.0, description="the most bytes in a slot; any number by default", ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        drawn, either = self.distribution != "uniform" or bool(self.samples), bool(self.min_delay or self.max_delay)
        if self.distribution != "uniform" and self.samples:
            raise ValueError("slot has a distribution and samples; give one of them")
        if drawn and (either or not (self.delay and self.jitter)):
            raise ValueError("a slot with a distribution needs delay and jitter, and no min_delay or max_delay")
        if not drawn and (self.delay or self.jitter or not either):
            raise ValueError("slot needs min_delay; or delay and jitter, with a distribution other than uniform")
        if 0 < self.max_delay < self.min_delay:
            raise ValueError("the max_delay of a slot is less than its min_delay")
        if self.samples:
            delay_tables.text_of(self.samples)
        return self

    def options(self) -> dict[str, Option]:
        """Return the options of the qdisc."""
        limits: dict[str, Option] = {"slot_packets": self.packets, "slot_bytes": round(self.bytes)}
        if self.delay:
            limits |= {"slot_delay": self.delay, "slot_jitter": self.jitter}
            limits["slot_distribution"] = delay_tables.text_of(self.samples) if self.samples else self.distribution
        else:
            limits |= {"slot_min": self.min_delay, "slot_max": self.max_delay or self.min_delay}
        return {name: value for name, value in limits.items() if value}


class Netem(_qdisc.Impairment):
    """Delay, loss, duplication, corruption, reordering, slots and a rate on what an interface sends or receives."""

    kind: ClassVar[str] = "netem"
    example: ClassVar[str] = "{kind: netem, on: {group: workers, pick: 1}, for: 20s, delay: 50ms, jitter: 5ms}"
    qdisc_kind: ClassVar[str] = "netem"
    needs: ClassVar[tuple[Need, ...]] = _qdisc.needs("sch_netem")

    # a key stands after those it needs, which its validator sees
    delay: Duration = Field(0.0, description="added to every packet", ge=0, le=_LONGEST)
    jitter: Duration = Field(0.0, description="the delay varies by plus or minus this", ge=0, le=_WIDEST)
    delay_correlation: Share = Field(0.0, description="how much a packet's delay depends on the one before")
    distribution: delay_tables.Name = Field(
        "uniform", description="of the delay; of any but uniform, jitter is the standard deviation"
    )
    samples: Samples = Field(
        (),
        description="a distribution of one's own: delays that were measured, as a list or a file with one a line; "
        "they give its shape, delay and jitter its mean and standard deviation",
    )
    loss: Share = Field(0.0, description="share of packets dropped at random")
    loss_correlation: Share = Field(0.0, description="how much a loss depends on the one before")
    loss_state: StateLoss | None = Field(None, description="loss by a chain of four states: {p13, p31, p32, p23, p14}")
    loss_gemodel: BurstLoss | None = Field(None, description="loss by a Gilbert-Elliott chain: {p, r, 1-h, 1-k}")
    ecn: bool = Field(False, description="packets that can be are marked (ECN) where they would be lost")
    duplicate: Share = Field(0.0, description="share of packets sent twice")
    duplicate_correlation: Share = Field(0.0, description="how much a duplicate depends on the one before")
    corrupt: Share = Field(0.0, description="share of packets with one bit flipped")
    corrupt_correlation: Share = Field(0.0, description="how much a corruption depends on the one before")
    reorder: Share = Field(0.0, description="share of packets sent at once while the others wait; needs a delay")
    reorder_correlation: Share = Field(0.0, description="how much a reordering depends on the one before")
    gap: int = Field(0, description="reorder only each gap-th packet", ge=0, le=2**32 - 1)
    rate: BitRate = Field(0.0, description="the most that passes", ge=0, le=2.0**50)
    packet_overhead: int = Field(0, description="bytes that each packet counts for more (or less)", ge=-64, le=65535)
    cell_size: int = Field(0, description="bytes of a cell; a packet takes whole ones", ge=0, le=65535)
    cell_overhead: int = Field(0, description="bytes that each cell counts for more (or less)", ge=-65535, le=65535)
    slot: Slot | None = Field(
        None,
        description="packets leave together in slots: {min_delay, max_delay, packets, bytes}, or {distribution, delay, "
        "jitter, packets, bytes}",
    )
    limit: int = Field(0, description="packets the queue holds; computed by default", ge=0, le=2**32 - 1)
    seed: int | None = Field(
        None, description="makes the random choices the same each time; needs Linux 6.6 and its tc", ge=0, le=2**64 - 1
    )

    @field_validator("*")
    @classmethod
    def _has_its_base(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if not value:
            return value
        bases = _BASES.get(name, ())
        # a base that has a mistake of its own is not in `data`, and not what is wrong here
        if bases and not any(info.data.get(base, True) for base in bases):
            raise ValueError(f"{name} needs {' or '.join(bases)}: give it too")
        for other in _EXCLUSIVE.get(name, ()):
            if info.data.get(other) not in (None, 0.0, "uniform"):
                raise ValueError(f"there is {other} too; give one of them")
        return _counted(value)

    @field_validator("delay", "jitter")
    @classmethod
    def _can_be_seen(cls, value: float) -> float:
        if 0 < value < 2e-6:
            raise ValueError("delay and jitter count in microseconds, and tc(8) shows 1us as none; give at least 2us")
        return value

    @field_validator("rate")
    @classmethod
    def _is_a_byte(cls, value: float) -> float:
        if 0 < value < 1:
            raise ValueError("a rate counts in whole bytes/s; give at least 8bit")
        return value

    @field_validator("cell_overhead")
    @classmethod
    def _leaves_a_cell(cls, value: int, info: ValidationInfo) -> int:
        if value < 0 and value + int(info.data.get("cell_size", 0)) <= 0:
            raise ValueError("cell_overhead takes the whole cell away; its size and overhead must come to more than 0")
        return value

    @field_validator("samples")
    @classmethod
    def _has_a_shape(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value:
            delay_tables.text_of(value)
        return value

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not any(getattr(self, name) for name in _EFFECTS):
            raise ValueError(f"does nothing; give at least one of {', '.join(_EFFECTS)}")
        return self

    def reading(self) -> Reading[_qdisc.Seen]:
        """Ask also whether kernel and tc know a seed, where one is given."""
        questions = super().reading().questions
        return Reading(questions if self.seed is None else (*questions, Output(_SEEDS)), _qdisc.Seen)

    def objection(self, before: _qdisc.Seen) -> str | None:
        """Object also to a seed that the host's kernel or tc would not know."""
        return super().objection(before) or (None if self.seed is None else _no_seed(before.more))

    def typical(self) -> _qdisc.Seen:
        """A host of today."""
        return replace(super().typical(), more="" if self.seed is None else "6.12.0\nseed\n")

    def qdisc(self, link: Link) -> Qdisc:
        """A netem."""
        return Qdisc("netem", options=self.options(link))

    def shows(self, held: Qdisc, link: Link) -> bool:
        """Compare all that the kernel shows, but for what tc and the kernel round."""
        return _netem.is_same(self.options(link), held.options)

    def achieved(self, held: Qdisc) -> dict[str, float]:
        """What the kernel has of what can be told in numbers, but the queue's own limits."""
        return _netem.in_si(held.options)

    def longest_stay(self) -> float:
        """Behind a rate or a slot nobody can tell: its queue may be long."""
        return math.inf if self.rate or self.slot else self.delay + self.jitter + 0.1

    def asked(self) -> dict[str, float]:
        """Return what is not off, in SI."""
        return _netem.in_si(self.options(None))

    def options(self, link: Link | None) -> dict[str, Option]:
        """Return the qdisc's options, those that are off left out; `link` gives the line rate for the limit."""
        names = [name for name in Netem.model_fields if name not in _NOT_OPTIONS]
        options: dict[str, Option] = {name: getattr(self, name) for name in names if getattr(self, name)}
        if "reorder" in options:
            options.setdefault("gap", 1)  # what the kernel takes when none is given
        if self.samples or self.distribution != "uniform":
            options["distribution"] = delay_tables.text_of(self.samples) if self.samples else self.distribution
        for part in (self.loss_state, self.loss_gemodel, self.slot):
            options |= part.options() if part else {}
        options |= {} if self.seed is None else {"seed": self.seed}
        return options | {"limit": self.limit or self._limit(link.bits_per_second if link else None)}

    def _limit(self, line_rate: float | None) -> int:
        held = self.delay + 3 * self.jitter
        if self.slot:
            held += max(self.slot.min_delay, self.slot.max_delay, self.slot.delay + 3 * self.slot.jitter)
        return _netem.limit(self.rate or (line_rate or 0) / 8, held)


_SEEDS = "uname -r; tc qdisc add dev lo root netem help 2>&1 | grep -o -m 1 -w seed; true"


def _no_seed(said: str) -> str | None:
    release, _, known = said.partition("\n")
    if tuple(map(int, re.findall(r"\d+", release)[:2])) < (6, 6):
        return f"a seed needs Linux 6.6 or later; this host runs {release.strip()}"
    return None if known.strip() else "a seed needs the tc of iproute2 6.6 or later; this host's does not know one"


_NOT_OPTIONS = (
    *_qdisc.Impairment.model_fields,
    *("limit", "seed", "distribution", "samples", "loss_state", "loss_gemodel", "slot"),
)


def _counted(value: Any) -> Any:
    if isinstance(value, float) and 0 < value < _LEAST_SHARE:
        raise ValueError(f"is less than netem can count; give at least {_LEAST_SHARE:.1e}, or nothing")
    return value
