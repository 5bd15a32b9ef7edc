"""Whatever stands where a probe should: SpecError with places, or a plan that the process of the probes accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings

import chaos.catalog
from chaos.errors import SpecError
from chaos.plan.plan import make_plan
from chaos.run.health import instrument
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory
from chaos.spec.yaml import read_yaml
from tests.properties.test_spec_hostile import HOSTS, check_lines, mutated

GOOD = Path(__file__).parents[1] / "cases" / "spec" / "good" / "probes.yaml"
FAULTS = chaos.catalog.faults()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutated(read_yaml(GOOD, SpecError).value["probes"]))
def test_any_values_in_probes(tmp_path: Path, probes: Any) -> None:
    file = tmp_path / "hostile.yaml"
    document = read_yaml(GOOD, SpecError).value | {"probes": probes}
    file.write_bytes(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))
    try:
        plan = make_plan(load_experiment(file, FAULTS), load_inventory(HOSTS))
    except SpecError as error:
        check_lines(error, tmp_path)
    else:
        for probe in plan.probes:
            made = instrument(type(probe).model_validate_json(probe.model_dump_json())).make()
            assert made.called == probe.name
