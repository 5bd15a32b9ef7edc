"""Runs of a load that is not our own: an experiment's text in, its recording out, with nobody watching."""

from __future__ import annotations

from pathlib import Path

from chaos import catalog
from chaos.plan.plan import Plan, make_plan
from chaos.record.recording import Recording
from chaos.run.runner import Runner
from chaos.run.trial import Snapshot
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory


class Nobody:
    """A watcher who does not look."""

    def phase(self, name: str, seconds: float) -> None:
        pass

    def update(self, snapshot: Snapshot) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def planned(folder: Path, load: str, timeline: str) -> Plan:
    (folder / "hosts.yaml").write_text("hosts: {nowhere: {address: 127.0.0.1}}\n")
    (folder / "experiment.yaml").write_text(f"name: existing\nload: {load}\ntimeline: {timeline}\n")
    experiment = load_experiment(folder / "experiment.yaml", catalog.faults())
    return make_plan(experiment, load_inventory(folder / "hosts.yaml"))


def run(folder: Path, load: str, timeline: str) -> Recording:
    plan = planned(folder, load, timeline)
    return Recording.open(Runner(plan, {}, "", folder / "runs", Nobody()).run())
