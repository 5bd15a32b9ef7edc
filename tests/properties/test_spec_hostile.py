"""Whatever a file holds, reading it gives a value or the error of its kind, each line at a place in that file."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chaos.catalog
from chaos.catalog import FaultRegistry
from chaos.errors import InventoryError, Mistakes, PlanRefused, SpecError
from chaos.plan.plan import PlannedLoad, make_plan
from chaos.run.load import load_plan
from chaos.spec.experiment import Experiment, load_experiment
from chaos.spec.inventory import Inventory, load_inventory
from chaos.spec.yaml import read_yaml

CASES = Path(__file__).parents[1] / "cases" / "spec"
GOOD = CASES / "good" / "worker-latency.yaml"
GUARDED = CASES / "good" / "aborts.yaml"
HOSTS = CASES / "good-inventory.yaml"
LINE = re.compile(r"hostile\.yaml(:[1-9]\d*:[1-9]\d*)?: \S.*")

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(
        [
            "5s",
            "50%",
            "200/s",
            "all",
            "netem",
            "workers",
            "{gateway}",
            "http://x/",
            "http://u:p@x/",
            "http://é/",
            "9" * 400 + "s",
            "{",
            "%",
        ]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def registry() -> FaultRegistry:
    return chaos.catalog.faults()


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to everything in a value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from paths(child, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """A document with one to three values replaced by anything at all."""
    changed = {"root": copy.deepcopy(document)}
    for _ in range(draw(st.integers(1, 3))):
        path = ("root", *draw(st.sampled_from(list(paths(changed["root"])))))
        inner: Any = changed
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = draw(values)
    return changed["root"]


def read(text: str, folder: Path, registry: FaultRegistry) -> Experiment | None:
    file = folder / "hostile.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        return load_experiment(file, registry)
    except SpecError as error:
        check_lines(error, folder)
        return None


def check_lines(error: Mistakes, folder: Path) -> None:
    assert error.lines
    for line in error.lines:
        assert LINE.fullmatch(line.removeprefix(f"{folder}/")), line


def check_load(planned: PlannedLoad) -> None:
    """What was accepted here is accepted by the load too: a run must not find out."""
    load_plan(Path("run"), planned, start=0)


@few
@given(st.text(alphabet=st.characters() | st.sampled_from("{}[]:,-&*?!|>%@#'\"\\\n\t ")))
def test_any_text(tmp_path: Path, registry: FaultRegistry, text: str) -> None:
    read(text, tmp_path, registry)


@few
@given(st.sampled_from((GOOD, GUARDED)).flatmap(lambda file: mutated(read_yaml(file, SpecError).value)))
def test_any_values_in_an_experiment(tmp_path: Path, registry: FaultRegistry, document: Any) -> None:
    experiment = read(yaml.safe_dump(document, allow_unicode=True), tmp_path, registry)
    if experiment:
        try:
            planned = make_plan(experiment, load_inventory(HOSTS)).load
        except SpecError as error:
            check_lines(error, tmp_path)
        except PlanRefused:
            return
        else:
            assert isinstance(planned, PlannedLoad)
            check_load(planned)


@few
@given(mutated(read_yaml(HOSTS, InventoryError).value))
def test_any_values_in_an_inventory(tmp_path: Path, document: Any) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    try:
        assert isinstance(load_inventory(file), Inventory)
    except InventoryError as error:
        check_lines(error, tmp_path)


@few
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, registry: FaultRegistry, content: bytes) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError):
        load_experiment(file, registry)
