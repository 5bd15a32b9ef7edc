"""The intended rate of a plan is that of the schedule its load will send."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chaos.catalog import FaultRegistry
from chaos.errors import InputError
from chaos.plan.plan import Plan, PlannedLoad, make_plan
from chaos.run.load import load_plan
from chaos.spec.experiment import Experiment, load_experiment
from chaos.spec.inventory import load_inventory
from probes.trace import Replay

INVENTORY = "hosts: {box: {address: 10.0.0.1, endpoint: '10.0.0.1:80'}}\n"


def experiment(folder: Path, arrivals: str, classes: str = "[{name: a}]") -> Experiment:
    """Read an experiment that has a synthetic trace of 300 rows in 60 s, and a file of prompts, beside it."""
    times = np.linspace(0, 60, 300)
    rows = [f"{time:.7f},{number},{number}" for number, time in enumerate(times.tolist())]
    (folder / "synthetic.csv").write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    (folder / "prompts.txt").write_text("one\ntwo\n")
    file = folder / "x.yaml"
    load = f"{{url: 'http://{{box}}/', method: POST, classes: {classes}, arrivals: {arrivals}, prompts: prompts.txt}}"
    file.write_text(f"name: x\nload: {load}\ntimeline: {{warmup: 2s, baseline: 10s, observe: 20s}}\n")
    return load_experiment(file, FaultRegistry("fault"))


def plan(folder: Path, arrivals: str, classes: str = "[{name: a}]") -> Plan:
    (folder / "inventory.yaml").write_text(INVENTORY)
    return make_plan(experiment(folder, arrivals, classes), load_inventory(folder / "inventory.yaml"))


def test_an_even_rate_needs_no_profile(tmp_path: Path) -> None:
    terms = plan(tmp_path, "{rate: 5/s}").terms
    assert (terms.rate, terms.profile) == (5.0, ())


def test_steps_count_from_the_start_of_the_load(tmp_path: Path) -> None:
    made = plan(tmp_path, "{steps: [{for: 12s, rate: 10/s}, {for: 10s, from: 10/s, to: 30/s}, {rate: 0/s}]}")
    pieces = [(piece.begin, piece.end, piece.first, piece.last) for piece in made.terms.profile]
    assert pieces == [(-12, 0, 10, 10), (0, 10, 10, 30), (10, 20, 0, 0)]
    assert made.terms.rate == 10
    steps = load_plan(tmp_path, load_of(made), start=0).steps
    assert [(step.seconds, step.first, step.last) for step in steps] == [(12, 10, 10), (10, 10, 30), (None, 0, 0)]


@pytest.mark.parametrize("fit", ["", ", fit: thin, rate: 2/s", ", fit: scale, rate: 8/s"])
def test_a_trace_is_counted_as_it_will_be_sent(tmp_path: Path, fit: str) -> None:
    made = plan(tmp_path, f"{{process: trace, trace: synthetic.csv{fit}}}")
    load = load_plan(tmp_path, load_of(made), start=0)
    assert load.trace == str(tmp_path / "synthetic.csv")
    replay = Replay.of(load.trace, load.fit, load.rate, load.duration, load.seed)
    times = np.concatenate(list(replay.offsets())) / 1e9 - 12
    for begin, end in ((-12, 20), (-10, 20), (-10, 0), (0, 20), (3, 7)):
        assert made.terms.intended(begin, end) == pytest.approx(((times >= begin) & (times < end)).sum())
    assert made.terms.rate == pytest.approx((times >= 0).sum() / 20)


def test_a_trace_that_changed_since_it_was_checked_is_refused(tmp_path: Path) -> None:
    read = experiment(tmp_path, "{process: trace, trace: synthetic.csv}")
    (tmp_path / "synthetic.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n1,1,1\n2,1,1\n")
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    with pytest.raises(InputError, match="lasts 1 s, the load lasts 32 s"):
        make_plan(read, load_inventory(tmp_path / "inventory.yaml"))


def test_classes_know_their_prompts_and_whether_they_are_json(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("three\n")
    classes = '[{name: a, json: {n: "{prompt}"}}, {name: b, body: "{prompt}", prompts: own.txt}]'
    first, second = load_plan(tmp_path, load_of(plan(tmp_path, "{rate: 5/s}", classes)), start=0).classes
    assert (first.is_json, first.prompts) == (True, str(tmp_path / "prompts.txt"))
    assert (second.is_json, second.prompts) == (False, str(tmp_path / "own.txt"))


def load_of(made: Plan) -> PlannedLoad:
    assert isinstance(made.load, PlannedLoad)
    return made.load
