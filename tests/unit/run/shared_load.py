"""Plans for loads that several processes share, and what a run of one says."""

from __future__ import annotations

from pathlib import Path

from chaos import catalog
from chaos.plan.plan import Plan, make_plan
from chaos.run.trial import Snapshot
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import Host, Inventory

_EXPERIMENT = """\
name: shared
load:
  url: {url}
  method: POST
  classes: [{{name: only, json: {{n: "<{{seq}}>"}}}}]
  arrivals: {{process: poisson, rate: {rate}/s}}
  processes: {processes}
  connections: 100
  timeout: 2s
timeline: {{warmup: 0s, baseline: 1s, observe: {observe}s}}
"""


class Quiet:
    """A watcher that says nothing, and remembers what it was told last."""

    def __init__(self) -> None:
        self.last: Snapshot | None = None

    def phase(self, name: str, seconds: float) -> None:
        """Nothing to say."""

    def update(self, snapshot: Snapshot) -> None:
        self.last = snapshot

    def note(self, text: str) -> None:
        """Nothing to say."""


def plan_of(folder: Path, url: str, processes: int, rate: int = 90, observe: int = 1) -> Plan:
    path = folder / "shared.yaml"
    path.write_text(_EXPERIMENT.format(url=url, processes=processes, rate=rate, observe=observe), encoding="utf-8")
    nobody = Inventory(hosts={"here": Host(connection="local")})
    return make_plan(load_experiment(path, catalog.faults()), nobody)
