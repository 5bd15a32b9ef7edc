"""What a run needs to know of a load that is not our own: a locustfile, or traffic that is there already."""

from __future__ import annotations

from typing import Any

from chaos.record.terms import Frozen
from chaos.spec.experiment import Timeline
from chaos.spec.inventory import Inventory
from chaos.spec.load import fill, placeholders
from chaos.spec.load_locust import Locust
from chaos.spec.load_prometheus import Traffic


class PlannedLocust(Frozen):
    """A locustfile and how many users run it. Times in s, the spawn rate in 1/s; `classes` is empty for all."""

    locustfile: str
    host: str | None
    users: int
    spawn_rate: float
    workers: int
    classes: tuple[str, ...]
    warmup: float
    duration: float
    timeout: float
    slo_latency: float | None


class PlannedTraffic(Frozen):
    """What to ask a Prometheus, every `interval` s for `duration` s. A query is None where it was not given."""

    prometheus: str
    query: str
    offered: str | None
    latency: str | None
    interval: float
    duration: float

    @property
    def timeout(self) -> float:
        """How long the last answer may take, in s."""
        return self.interval


def plan_existing(load: Locust | Traffic, timeline: Timeline, inventory: Inventory) -> PlannedLocust | PlannedTraffic:
    """Return the load with the inventory's addresses filled in."""
    duration = timeline.warmup + timeline.baseline + timeline.observe
    if isinstance(load, Traffic):
        return PlannedTraffic(
            prometheus=_filled(load.prometheus, inventory),
            query=load.query,
            offered=load.offered,
            latency=load.latency,
            interval=load.interval,
            duration=duration,
        )
    return PlannedLocust(
        locustfile=load.locust,
        host=None if load.host is None else _filled(load.host, inventory),
        users=load.users,
        spawn_rate=load.spawn_rate,
        workers=load.workers,
        classes=load.classes,
        warmup=timeline.warmup,
        duration=duration,
        timeout=load.timeout,
        slo_latency=load.slo.latency if load.slo else None,
    )


def existing_terms(load: Locust | Traffic) -> dict[str, Any]:
    """Return what the terms of a run say of such a load."""
    if isinstance(load, Traffic):
        return {"process": "watched", "window": load.interval, "offered_known": load.offered is not None}
    return {"process": "closed", "classes": ("locust",), "slo_latency": load.slo.latency if load.slo else None}


def _filled(url: str, inventory: Inventory) -> str:
    return fill(url, {name: inventory.url_of(name) for name in placeholders(url)})
