"""What tc(8) or the kernel would refuse, cut or leave out without a word is refused at check time, under its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chaos import catalog, delay_tables
from chaos.errors import SpecError
from chaos.faults._qdisc import Seen
from chaos.faults.netem import Netem
from chaos.kernel import Link
from chaos.spec.experiment import load_experiment

EXPERIMENT = """name: netem
load: {{url: "http://192.0.2.1/", arrivals: {{process: constant, rate: 5/s}}}}
timeline: {{warmup: 0s, baseline: 3s, observe: 60s}}
faults:
  - kind: netem
    on: worker-1
    for: 10s
{keys}
"""
FIRST = EXPERIMENT.count("\n", 0, EXPERIMENT.index("{keys}")) + 1
"""The line of the first key."""


def experiment(folder: Path, keys: dict[str, Any]) -> Path:
    path = folder / "netem.yaml"
    lines = "\n".join(f"    {key}: {json.dumps(value)}" for key, value in keys.items())
    path.write_text(EXPERIMENT.format(keys=lines))
    return path


# the last key is the one that is wrong; `within` stands below it
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"loss": "1%", "jitter": "1ms"}, "jitter needs delay: give it too"),
    ({"delay": "1ms", "jitter": "3s"}, "must be at most 2.147483647"),
    ({"delay": "300s"}, "must be at most 274"),
    ({"delay": "1us"}, "delay and jitter count in microseconds, and tc(8) shows 1us as none; give at least 2us"),
    ({"delay": "1ms", "delay_correlation": "5%"}, "delay_correlation needs jitter"),
    ({"delay": "1ms", "distribution": "normal"}, "distribution needs jitter"),
    ({"delay": "1ms", "samples": ["1ms", "2ms"]}, "samples needs jitter"),
    ({"delay": "9ms", "jitter": "1ms", "samples": ["2ms", "2ms"]}, "samples must differ"),
    ({"delay": "9ms", "jitter": "1ms", "samples": "none.txt"}, "none.txt can't be read"),
    ({"delay": "9ms", "jitter": "1ms", "distribution": "normal", "samples": ["1ms", "2ms"]}, "there is distribution"),
    ({"delay": "9ms", "jitter": "1ms", "distribution": "cauchy"}, "must be 'uniform', 'normal', 'pareto' or"),
    ({"delay": "1ms", "loss_correlation": "5%"}, "loss_correlation needs loss"),
    ({"delay": "1ms", "ecn": True}, "ecn needs loss or loss_state or loss_gemodel"),
    ({"loss": "1%", "loss_state": {"p13": "1%"}}, "there is loss too; give one of them"),
    ({"loss_state": {"p13": "1%"}, "loss_gemodel": {"p": "1%"}}, "there is loss_state too"),
    ({"loss_gemodel": {"p": "0%"}}, "must be more than 0"),
    ({"loss_gemodel": {"p": "1%", "h": "1%"}}, "unknown key (allowed: p, r, 1-h, 1-k)"),
    ({"loss": "0.00000001%"}, "is less than netem can count"),
    ({"delay": "1ms", "duplicate_correlation": "5%"}, "duplicate_correlation needs duplicate"),
    ({"delay": "1ms", "corrupt_correlation": "5%"}, "corrupt_correlation needs corrupt"),
    ({"rate": "1mbit", "reorder": "5%"}, "reorder needs delay"),
    ({"delay": "1ms", "reorder_correlation": "5%"}, "reorder_correlation needs reorder"),
    ({"delay": "1ms", "gap": 5}, "gap needs reorder"),
    ({"rate": "4bit"}, "a rate counts in whole bytes/s; give at least 8bit"),
    ({"delay": "1ms", "packet_overhead": 5}, "packet_overhead needs rate"),
    ({"delay": "1ms", "cell_size": 5}, "cell_size needs rate"),
    ({"rate": "1mbit", "cell_overhead": 5}, "cell_overhead needs cell_size"),
    ({"rate": "1mbit", "cell_size": 48, "cell_overhead": -48}, "cell_overhead takes the whole cell away"),
    ({"slot": {"packets": 5}}, "slot needs min_delay"),
    ({"slot": {"min_delay": "2ms", "max_delay": "1ms"}}, "the max_delay of a slot is less than its min_delay"),
    ({"slot": {"distribution": "pareto", "delay": "2ms"}}, "a slot with a distribution needs delay and jitter"),
    ({"slot": {"delay": "2ms", "jitter": "1ms"}}, "slot needs min_delay; or delay and jitter, with a distribution"),
    ({"slot": {"distribution": "normal", "samples": ["1ms", "2ms"]}}, "slot has a distribution and samples"),
]


@pytest.mark.parametrize(("keys", "why"), REFUSED, ids=lambda value: "+".join(value) if isinstance(value, dict) else "")
def test_what_would_be_ignored_is_refused_under_its_key(keys: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = experiment(tmp_path, keys)
    with pytest.raises(SpecError) as refused:
        load_experiment(path, catalog.faults())
    *_, last = keys
    (said,) = str(refused.value).splitlines()
    assert said.startswith(f"{path}:{FIRST + len(keys) - 1}:")
    assert f": faults[0].{last}" in said
    assert why in said


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(ValidationError, match="does nothing; give at least one of delay, jitter, loss, loss_state"):
        Netem(interface="eth0")


def test_samples_may_lie_in_a_file_beside_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "delays.txt").write_text("# of Monday\n9ms\n\n10ms\n31ms\n")
    path = experiment(tmp_path, {"delay": "12ms", "jitter": "5ms", "samples": "delays.txt"})
    fault = load_experiment(path, catalog.faults()).faults[0].fault
    assert isinstance(fault, Netem)
    assert fault.samples == pytest.approx((0.009, 0.010, 0.031))
    table = delay_tables.entries(str(fault.options(None)["distribution"]))
    assert {round(entry / delay_tables.SCALE, 2) for entry in table} == {-0.76, -0.66, 1.41}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("6.1.0-56-amd64\n", "a seed needs Linux 6.6 or later; this host runs 6.1.0-56-amd64"),
        ("6.12.1\n", "a seed needs the tc of iproute2 6.6 or later; this host's does not know one"),
        ("6.12.1\nseed\n", None),
    ],
)
def test_a_seed_is_objected_to_where_it_would_not_be_known(said: str, why: str | None) -> None:
    fault = Netem.model_validate({"interface": "eth0", "loss": "1%", "seed": 7})
    assert fault.objection(Seen(Link("eth0", exists=True, index=2, has_ifb=True), (), said)) == why
