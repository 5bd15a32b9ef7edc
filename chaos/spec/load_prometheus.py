"""A `load` that is there already: nothing is sent, and what a Prometheus counts of it is watched."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from chaos.spec.abort import Signal
from chaos.spec.fields import PositiveDuration, Spec, Text
from chaos.spec.load import check_template
from chaos.units import show_seconds


class Traffic(Spec):
    """Traffic that is there already, watched through a Prometheus by expressions of one value each."""

    prometheus: Annotated[Text, AfterValidator(check_template)]
    """Its address; `{name}` stands for a host of the inventory, or for the first host of a group."""
    query: Text
    """Successful requests per second, like sum(rate(http_requests_total{code!~"5.."}[10s]))."""
    offered: Text | None = None
    """All requests per second, failed ones among them; goodput is known only with it."""
    latency: Text | None = None
    """A latency in s, like the p95 of a histogram."""
    interval: PositiveDuration
    """How often they are asked, the interval of the scrapes or more: the resolution of every figure."""

    def untold(self, signal: Signal) -> str:
        """Return why an abort condition on a signal can't be told, or ""."""
        key = {"goodput": "offered", "errors": "offered", "latency": "latency"}.get(signal)
        if key and getattr(self, key) is None:
            return f"watches {signal}, which needs load.{key}: a query for it"
        if signal.startswith("latency_"):
            return f"watches {signal}; what is watched has the quantile that load.latency asks for: write `latency`"
        return ""

    def misfit(self, before: float) -> str:
        """Return why no window would begin when the baseline, `before` s from the start, ends; or ""."""
        windows = before / self.interval
        if abs(windows - round(windows)) < 1e-6:
            return ""
        return (
            f"warm-up and baseline ({show_seconds(before)}) are {windows:.4g} intervals of "
            f"{show_seconds(self.interval)}; a whole number is needed, for a window to begin where the baseline ends"
        )
