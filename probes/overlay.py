"""What is laid over a load's schedule for a while, known in advance like the schedule itself.

    more arrivals        superposed: the schedule's own keep their times, their classes and their numbers to the bit.
                         They come as those do, by a stream of their own: Poisson upon Poisson is Poisson of the summed
                         rate (Cinlar, "Introduction to Stochastic Processes", 1975, section 4.4), gamma upon gamma of
                         one shape keeps its dispersion; paced ones are a second paced stream, half a gap apart
    other weights, keys  the arrivals stay, and what they are changes: the same draw falls on other shares

An overlay that is called off is one that ends there: the plan with `called_off` in it is still a pure function of its
values, by which what should have been sent is known to the last request.
"""

from __future__ import annotations

from dataclasses import dataclass

from probes.checks import build, check_list, check_number, check_whole
from probes.errors import PlanError
from probes.keys import KeyLaw
from probes.profile import Step

MOST = 32
"""The most overlays of one load: the live counters have a bit for each."""
NUMBERS = 1 << 40
"""The arrivals that overlay k adds are numbered from (k + 1) times this on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """One overlay, from `begin` to `end` (s from the start of the load).

    extra       the rate of the arrivals it adds, over time
    requests    how many it adds, evenly from begin to end; all at once where the two are one
    weights     those of the classes meanwhile
    keys        how the keys are drawn meanwhile
    called_off  when it was called off, in ns from the start of the load
    """

    begin: float
    end: float
    extra: tuple[Step, ...] = ()
    requests: int = 0
    weights: tuple[float, ...] = ()
    keys: KeyLaw | None = None
    called_off: int | None = None

    def __post_init__(self) -> None:
        check_number("overlays.begin", self.begin, least=0)
        check_number("overlays.end", self.end, least=self.begin)
        check_whole("overlays.requests", self.requests, 0)
        for weight in self.weights:
            check_number("overlays.weights", weight, least=0)
        if self.weights and not any(self.weights):
            raise PlanError("overlays.weights: at least one must be more than 0")
        if self.extra and self.requests:
            raise PlanError("overlays: give either extra or requests")
        if self.extra and self.end == self.begin:
            raise PlanError("overlays.end: a rate needs some time; found none")

    @classmethod
    def of(cls, values: object) -> Overlay:
        """Return an overlay from what JSON makes of one. Raises PlanError."""
        if isinstance(values, dict):
            values = dict(values)
            for name, item in (("extra", _step), ("weights", float)):
                if name in values:
                    values[name] = tuple(map(item, check_list(f"overlays.{name}", values[name])))
            if values.get("keys") is not None:
                values["keys"] = build(KeyLaw, "overlays.keys.", values["keys"])
        return build(cls, "overlays.", values)


def _step(values: object) -> Step:
    return build(Step, "overlays.extra.", values)
