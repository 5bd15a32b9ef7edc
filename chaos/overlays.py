"""What a change of the load comes to: something laid over its schedule for a while. Values, as a plan keeps them.

A change is told what the load is meant to be while it lasts (`LoadView`) and gives an `Overlay`; `probes.overlay` sends
what it says. Rates are in 1/s; times are in s from the end of the baseline, until the plan counts them from the start
of the load (`Overlay.later`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Least0 = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
"""Numbers that arithmetic can bear: a recording may be somebody else's."""


class Frozen(BaseModel):
    """A value: fixed once made, and nothing it does not know gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RatePiece(Frozen):
    """From `begin` to `end` (s from zero) the intended rate goes evenly from `first` to `last`, in 1/s."""

    begin: Finite
    end: Finite
    first: Least0
    last: Least0

    def at(self, time: float) -> float:
        """Return the rate at a time inside of it."""
        return self.first + (self.last - self.first) * (time - self.begin) / (self.end - self.begin)

    def within(self, begin: float, end: float) -> Self | None:
        """Return the part of it that lies in a span; None where none does."""
        begin, end = max(begin, self.begin), min(end, self.end)
        if end <= begin:
            return None
        return self.model_copy(update={"begin": begin, "end": end, "first": self.at(begin), "last": self.at(end)})

    def intended(self, begin: float, end: float) -> float:
        """Return how many requests are meant in the part of it that lies in a span."""
        part = self.within(begin, end)
        return (part.end - part.begin) * (part.first + part.last) / 2 if part else 0.0


class KeyLaw(Frozen):
    """How keys are drawn where they are not alike: see `probes.keys.KeyLaw`."""

    hot: float | None = None
    share: float | None = None
    zipf: float | None = None


class Overlay(Frozen):
    """What is laid over a schedule from `begin` to `end`.

    `extra` is the rate of the arrivals that it adds, `requests` how many it adds evenly (at once where begin is end);
    `weights` are those of the classes meanwhile, in their order, and `keys` says how keys are drawn meanwhile.
    """

    begin: float
    end: float
    extra: tuple[RatePiece, ...] = ()
    requests: int = 0
    weights: tuple[float, ...] = ()
    keys: KeyLaw | None = None

    @property
    def redraws(self) -> bool:
        """Whether it changes what the arrivals are, which no two can do at the same time."""
        return bool(self.weights) or self.keys is not None

    def later(self, by: float) -> Overlay:
        """Return it with all times `by` s later."""
        moved = [p.model_copy(update={"begin": p.begin + by, "end": p.end + by}) for p in self.extra]
        return self.model_copy(update={"begin": self.begin + by, "end": self.end + by, "extra": tuple(moved)})


@dataclass(frozen=True, slots=True)
class LoadView:
    """What a load is meant to be from `begin` to `end`: its rate over time, the weights of its classes by their names.

    `keys` is how many keys its bodies draw from, None where they have none; `tokens` whether bodies need the token
    counts of a trace.
    """

    begin: float
    end: float
    rates: tuple[RatePiece, ...]
    classes: Mapping[str, float]
    keys: int | None = None
    tokens: bool = False

    @property
    def mean_rate(self) -> float:
        """The rate that is intended on the mean; 0 of no time at all."""
        seconds = self.end - self.begin
        return sum(piece.intended(self.begin, self.end) for piece in self.rates) / seconds if seconds else 0.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent while a change lasted: for how long (s), how many requests, how many of each class."""

    seconds: float
    requests: int
    classes: Mapping[str, int]
