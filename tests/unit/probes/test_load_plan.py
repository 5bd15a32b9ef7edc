"""A plan comes back from its file as it was, and a wrong one is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probes.errors import PlanError
from probes.plan import LoadPlan, RequestClass
from probes.profile import Step
from probes.slo import Slo
from probes.url import Url

GIVEN: dict[str, Any] = {"url": "http://h/", "rate": 1.0, "duration": 1.0, "start": 0, "samples": "s", "live": "l"}
STEP: dict[str, Any] = {"seconds": None, "first": 1, "last": 2}
STEPS: dict[str, Any] = {"rate": None}


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    classes = (RequestClass(name="hot", weight=9, body="{}"), RequestClass(name="cold"))
    plan = LoadPlan(**GIVEN, classes=classes, headers={"A": "b"}, process="gamma", burstiness=0.5, slo=Slo(latency=0.2))
    plan.write(tmp_path / "plan.json")
    assert LoadPlan.read(tmp_path / "plan.json") == plan


def test_so_does_one_of_steps_and_one_of_a_trace(tmp_path: Path) -> None:
    steps = (Step(0.4, 100, 500), Step(None, 50, 50))
    classes = (RequestClass(name="a", body='{"n": "{generated_tokens}"}', is_json=True, prompts="p.txt"),)
    for changes in ({"rate": None, "steps": steps}, {"process": "trace", "trace": "t.csv", "fit": "thin"}):
        given: dict[str, Any] = GIVEN | changes | ({"classes": classes} if "trace" in changes else {})
        plan = LoadPlan(**given)
        plan.write(tmp_path / "plan.json")
        assert LoadPlan.read(tmp_path / "plan.json") == plan


def test_the_drain_is_the_timeout_unless_given() -> None:
    assert LoadPlan(**GIVEN, timeout=4.0).drain_or_timeout == 4.0
    assert LoadPlan(**GIVEN, timeout=4.0, drain=0).drain_or_timeout == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0}, "rate: must be a number > 0; found 0"),
        ({"rate": "200/s"}, "rate: must be a number > 0; found '200/s'"),
        ({"timeout": float("nan")}, "timeout: must be a number > 0; found nan"),
        ({"drain": -1}, "drain: must be a number >= 0; found -1"),
        ({"connections": 0}, "connections: must be a whole number >= 1; found 0"),
        ({"start": 1.5}, "start: must be a whole number >= 0; found 1.5"),
        ({"rate": None}, "rate: give either rate or steps"),
        ({"steps": [{"seconds": None, "first": 1, "last": 2}]}, "rate: give either rate or steps"),
        (STEPS | {"steps": [{"seconds": 1, "first": -1, "last": 2}]}, "steps.first: must be a number >= 0; found -1"),
        (STEPS | {"steps": [{"seconds": 1, "first": 0, "last": 0}]}, "steps: every rate is 0"),
        (STEPS | {"steps": [{"seconds": 0.5, "first": 1, "last": 1}]}, "steps: they end at 0.5 s, the load lasts 1 s"),
        (STEPS | {"steps": [STEP, STEP]}, "steps: step 1 says not how long it lasts; only the last may leave that out"),
        (STEPS | {"steps": [STEP | {"seconds": 2}, STEP]}, "steps: step 2 would begin at 2 s, the load lasts 1 s"),
        ({"trace": "t.csv"}, "trace: belongs to process trace; found process poisson"),
        ({"fit": "squeeze"}, "fit: allowed are thin, scale; found 'squeeze'"),
        ({"process": "trace"}, "trace: process trace needs the path of one"),
        ({"process": "trace", "trace": "t.csv"}, "fit: a trace is fitted to a rate by rate and fit together"),
        ({"process": "trace", "trace": "t.csv", "steps": [STEP]}, "steps: a trace brings its own times"),
        ({"classes": [{"name": "a", "body": "{prompt}"}]}, "classes.a.body: {prompt} needs a file of prompts"),
        ({"classes": [{"name": "a", "body": "{context}"}]}, "classes.a.body: {context} needs the token counts"),
        ({"classes": [{"name": "a", "is_json": 1}]}, "classes.a.is_json: must be true or false; found 1"),
        ({"process": "uniform"}, "process: allowed are constant, poisson, gamma, trace; found 'uniform'"),
        ({"url": "ftp://h/"}, "url: 'ftp://h/' is not an address"),
        ({"url": "http://u:p@h/"}, "url: it holds credentials"),
        ({"url": "http://h/a b"}, "url: 'http://h/a b' holds a character"),
        ({"url": "http://h:99999/"}, "url: 'http://h:99999/': Port out of range"),
        ({"method": "GE T"}, "method: must be an HTTP method"),
        ({"headers": {"X": "a\r\nB: c"}}, "headers.X: must be an HTTP field on one line"),
        ({"headers": {"Content-Length": "3"}}, "headers.Content-Length: the load frames its requests itself"),
        ({"classes": []}, "classes: must be at least one"),
        ({"classes": [{"name": "a"}, {"name": "a"}]}, "classes: must be at least one, each with a name of its own"),
        ({"classes": [{"name": "a", "weight": -1}]}, "classes.a.weight: must be a number > 0; found -1"),
        ({"classes": [{"name": "a", "bdy": ""}]}, "classes.bdy: no such key; allowed are name, weight, body"),
        ({"tmeout": 3}, "tmeout: no such key; allowed are url, duration"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(GIVEN | change))
    with pytest.raises(PlanError) as refused:
        LoadPlan.read(tmp_path / "plan.json")
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://h", Url("h", 80, "h", "/", False)),
        ("https://h/a?b=c#d", Url("h", 443, "h", "/a?b=c", True)),
        ("http://[::1]:81/", Url("::1", 81, "[::1]:81", "/", False)),
    ],
)
def test_urls(text: str, expected: Url) -> None:
    assert Url.parse(text) == expected
