"""A `load` that is the user's own locustfile, run by Locust: its users, its tasks, its waits.

A closed loop: a user sends again only when it has its answer. How fast requests come is the service's doing as much as
the load's, so there is no offered rate to state here, only users.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, field_validator

from chaos.spec.fields import Count, LocalFile, PositiveDuration, PositiveRate, Spec, Text
from chaos.spec.load import Slo, check_template
from chaos.units import show_seconds


class Locust(Spec):
    """The user's locustfile, run by Locust's own master and workers."""

    locust: LocalFile
    """The locustfile, relative to the experiment's file."""
    host: Annotated[Text, AfterValidator(check_template)] | None = None
    """Where the users send to, like "http://{gateway}"; what the locustfile says without it."""
    users: Count
    """How many users there are at once, over all workers."""
    spawn_rate: PositiveRate
    """How fast users are started, like "10/s"; all must be there when the warm-up ends."""
    workers: Count = 1
    """How many processes the users are shared between; each can fill a core."""
    classes: tuple[Text, ...] = ()
    """The classes of users to run; all of the locustfile without it."""
    timeout: PositiveDuration = 10.0
    """How long the tasks under way at the end may take to finish."""
    slo: Slo | None = None
    """When an answer is good; without it every request that Locust counts as a success is."""

    @field_validator("slo")
    @classmethod
    def _limits_latency(cls, slo: Slo) -> Slo:
        if slo.latency is None or slo.ttft is not None or slo.tpot is not None:
            raise ValueError("Locust times whole answers only; give latency, without ttft and tpot")
        return slo

    def spawning_mistake(self, warmup: float) -> str:
        """Return why the users can't all be there when the warm-up ends, or ""."""
        needed = self.users / self.spawn_rate
        if needed <= warmup:
            return ""
        return (
            f"{self.users} users at {self.spawn_rate:g}/s take {show_seconds(needed)} to start, longer than the warm-up"
            f" of {show_seconds(warmup)}; start them faster or lengthen timeline.warmup"
        )
