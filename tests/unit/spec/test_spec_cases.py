"""Each wrong file in tests/cases/spec has its expected lines beside it, in a .txt of the same name."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.catalog import FaultRegistry
from chaos.errors import InventoryError, Mistakes, SpecError
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory
from chaos.spec.references import check_references

CASES = Path(__file__).parents[2] / "cases" / "spec"


def cases(folder: str) -> list[Path]:
    found = sorted((CASES / folder).glob("*.yaml"))
    assert found
    return found


def expected(case: Path) -> list[str]:
    return case.with_suffix(".txt").read_text(encoding="utf-8").splitlines()


def lines(error: Mistakes, case: Path) -> list[str]:
    """The lines of an error as they would read from the case's own folder."""
    return [line.replace(f"{case.parent}/", "") for line in error.lines]


@pytest.mark.parametrize("case", cases("wrong"), ids=lambda case: case.stem)
def test_wrong_experiment(case: Path, registry: FaultRegistry) -> None:
    with pytest.raises(SpecError) as caught:
        load_experiment(case, registry)
    assert lines(caught.value, case) == expected(case)


@pytest.mark.parametrize("case", cases("references"), ids=lambda case: case.stem)
def test_wrong_references(case: Path, registry: FaultRegistry) -> None:
    experiment = load_experiment(case, registry)
    with pytest.raises(SpecError) as caught:
        check_references(experiment, load_inventory(CASES / "good-inventory.yaml"))
    assert lines(caught.value, case) == expected(case)


@pytest.mark.parametrize("case", cases("inventories"), ids=lambda case: case.stem)
def test_wrong_inventory(case: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load_inventory(case)
    assert lines(caught.value, case) == expected(case)
