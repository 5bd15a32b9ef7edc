"""burst: more requests for a while, superposed on the load: x times its rate, up to a rate, or so many more at once.

The load's own requests keep their moments, their classes and their numbers; those that come on top are as fixed
beforehand as they are, and come as they do (`probes.overlay`). So many `requests` at once are what a full token bucket
lets pass; a process sends one in some 20 µs, and the last of them is as late as that takes.

What the figures make of it: a burst is offered load, and counts as such in `offered_rate`, in goodput and in the
generator's own soundness. Its windows are no fluctuation of the service and are left out of the CV. It only adds, so
QPS below that of the baseline is a dip of the service, under a burst as at any other time.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import LoadChange
from chaos.errors import Misfit
from chaos.overlays import LoadView, Overlay, RatePiece, Sent
from chaos.units import Rate

_MOST = 1_000_000


class Burst(LoadChange):
    """Send more requests for a while: `times` the rate, `to` a rate, or so many `requests` more."""

    kind: ClassVar[str] = "burst"
    example: ClassVar[str] = "{kind: burst, at: 5s, for: 10s, times: 3}"
    release: ClassVar[str] = "the requests on top end; those that are out, or wait, are still to be answered"
    shade: ClassVar[str] = "#4c78a8"

    times: float | None = Field(None, description="how many times the load's own rate", gt=1, le=1000)
    to: Rate | None = Field(None, description="up to which rate, over whatever the load's own is", gt=0, le=1e6)
    requests: int | None = Field(
        None, description="how many requests more, evenly over `for`; all at once without it", ge=1, le=_MOST
    )

    @model_validator(mode="after")
    def _says_how_many(self) -> Self:
        if sum(given is not None for given in (self.times, self.to, self.requests)) != 1:
            raise ValueError("must say exactly one of times, to, requests")
        return self

    @property
    def lasts(self) -> bool:
        """A rate needs some time; so many requests may come at once."""
        return self.requests is None

    def overlay(self, load: LoadView) -> Overlay:
        """Return the requests that come on top."""
        if load.tokens:
            text = "the bodies have token counts of the trace's requests, and those of a burst stand in no trace"
            raise Misfit((), text)
        if self.requests is not None:
            return Overlay(begin=load.begin, end=load.end, requests=self.requests)
        extra = tuple(self._on_top(piece) for piece in load.rates)
        if not any(piece.first + piece.last for piece in extra):
            raise Misfit((), f"adds nothing: the load is at {load.mean_rate:g}/s then")
        return Overlay(begin=load.begin, end=load.end, extra=extra)

    def asked(self, load: LoadView) -> dict[str, float]:
        """Return the rate on the mean, or the number of requests where they come at once."""
        seconds = load.end - load.begin
        if not seconds:
            return {"requests": float(self.requests or 0)}
        more = sum(piece.intended(load.begin, load.end) for piece in self.overlay(load).extra) + (self.requests or 0)
        return {"offered_rate": load.mean_rate + more / seconds}

    def achieved(self, sent: Sent) -> dict[str, float]:
        """Return the same of what was sent."""
        return {"offered_rate": sent.requests / sent.seconds} if sent.seconds else {"requests": float(sent.requests)}

    def _on_top(self, piece: RatePiece) -> RatePiece:
        first, last = (self._more(rate) for rate in (piece.first, piece.last))
        return piece.model_copy(update={"first": first, "last": last})

    def _more(self, rate: float) -> float:
        if self.to is None:
            return rate * ((self.times or 1.0) - 1)
        if rate > self.to:
            raise Misfit(("to",), f"the load is at {rate:g}/s then, above {self.to:g}/s; a burst only adds")
        return self.to - rate
