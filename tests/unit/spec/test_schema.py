from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships none
import pytest

from chaos.catalog import FaultRegistry, health_probes
from chaos.errors import SpecError
from chaos.spec.schema import experiment_schema
from chaos.spec.yaml import read_yaml

GOOD = Path(__file__).parents[2] / "cases" / "spec" / "good"


@pytest.fixture
def schema(registry: FaultRegistry) -> dict[str, Any]:
    return experiment_schema(registry, health_probes())


def mistakes(schema: dict[str, Any], file: Path) -> list[str]:
    found = jsonschema.Draft202012Validator(schema).iter_errors(read_yaml(file, SpecError).value)
    return [error.message for error in found]


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", ["shorthands", "control", "kill", "trace", "steps", "probes", "locust", "prometheus"])
def test_it_takes_what_is_right(schema: dict[str, Any], name: str) -> None:
    assert mistakes(schema, GOOD / f"{name}.yaml") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("delay: 50ms", "dealy: 50ms"),
        ("kind: slow", "kind: swol"),
        ("name: control", "nam: control"),
        ("for: 5s, ", ""),
        ("address: a:1", "adress: a:1"),
        ("kind: tcp", "kind: tpc"),
    ],
)
def test_it_refuses_what_is_wrong(schema: dict[str, Any], tmp_path: Path, old: str, new: str) -> None:
    text = (GOOD / "control.yaml").read_text().replace("[]", "[{kind: slow, on: a, for: 5s, delay: 50ms}]")
    text += "\nprobes: [{kind: tcp, address: a:1, every: 2s}]\n"
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert mistakes(schema, file) == []
    file.write_text(text.replace(old, new))
    assert mistakes(schema, file) != []


def follow(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return what a bare reference refers to."""
    name = value.get("$ref", "").removeprefix("#/$defs/")
    return {**schema["$defs"].get(name, {}), **value}


def test_every_key_is_described(schema: dict[str, Any]) -> None:
    step = schema["properties"]["faults"]["items"]["oneOf"][-1]
    described = {**schema["properties"], **{key: step["properties"][key] for key in ("kind", "on", "at", "for")}}
    texts = {key: follow(schema, value).get("description") for key, value in described.items()}
    assert [key for key, text in texts.items() if not text] == []
    assert step["properties"]["kind"]["description"] == "Answers late."
