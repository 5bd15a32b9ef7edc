"""Settings: what is refused, and how."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from chaos.errors import InputError
from chaos.lab.appliance.settings import GatewaySettings, Settings, WorkerSettings, change, describe


@pytest.mark.parametrize("settings", [WorkerSettings(), GatewaySettings()])
def test_every_default_is_allowed_and_the_table_is_json(settings: Settings) -> None:
    change(settings, {entry.name: entry.default for entry in fields(settings)}, running=False)
    table = json.loads(json.dumps(describe(settings)))
    assert all(entry["help"] and entry["value"] == entry["default"] for entry in table.values())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"max_batch": 0}, "max_batch: asked 0, allowed: a whole number from 1 to 4096"),
        ({"max_batch": 8.5}, "max_batch: asked 8.5, allowed: a whole number from 1 to 4096"),
        ({"max_batch": True}, "max_batch: asked True, allowed: a whole number from 1 to 4096"),
        ({"max_batch": "8"}, "max_batch: asked '8', allowed: a whole number from 1 to 4096"),
        ({"step_base": float("nan")}, "step_base: asked nan, allowed: a number from 0 to 10 s"),
        ({"max_bach": 8}, "no setting 'max_bach'; did you mean 'max_batch'?"),
        ({"startup": 1.0}, "startup counts at the start only"),
        ([8], "found list"),
    ],
)
def test_what_is_not_allowed_is_refused(asked: object, says: str) -> None:
    settings = WorkerSettings()
    with pytest.raises(InputError, match=says.replace("?", r"\?")):
        change(settings, asked)
    assert settings == WorkerSettings()


def test_one_bad_value_leaves_the_good_ones_alone_too() -> None:
    settings = WorkerSettings()
    with pytest.raises(InputError):
        change(settings, {"max_batch": 8, "kv_capacity": -1})
    assert settings.max_batch == 32


def test_a_choice_names_the_others() -> None:
    with pytest.raises(InputError, match="balancer: asked 'best', allowed: round_robin, least_outstanding"):
        change(GatewaySettings(), {"balancer": "best"})


def test_a_change_is_there() -> None:
    settings = WorkerSettings()
    change(settings, {"max_batch": 8, "step_base": 1})
    assert (settings.max_batch, settings.step_base) == (8, 1)
