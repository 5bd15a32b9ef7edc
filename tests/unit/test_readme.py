"""What the README shows is what is in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from chaos import catalog
from chaos.cli.kinds import catalog_table
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory
from chaos.spec.references import check_references

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_experiment_is_the_one_in_the_file() -> None:
    shown = re.search(r"```yaml\n# (experiments/\S+)\n(.*?)```", README, re.DOTALL)
    assert shown
    in_file = yaml.safe_load((ROOT / shown[1]).read_text(encoding="utf-8"))
    del in_file["tags"]
    assert yaml.safe_load(shown[2]) == in_file


def test_its_table_of_faults_is_the_catalogue() -> None:
    assert catalog_table(catalog.causes()) in README


def test_its_probes_can_be_run_and_its_table_has_every_kind(tmp_path: Path) -> None:
    shown = re.search(r"```yaml\n(probes:\n.*?)```", README, re.DOTALL)
    assert shown
    file = tmp_path / "x.yaml"
    file.write_text(f"{(ROOT / 'tests/cases/spec/good/control.yaml').read_text()}{shown[1]}")
    experiment = load_experiment(file, catalog.faults())
    check_references(experiment, load_inventory(ROOT / "tests/cases/spec/good-inventory.yaml"))
    table = README[README.index("| kind | well when |") :].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == [kind for kind, _ in catalog.health_probes()]


def test_every_file_and_script_it_names_is_there() -> None:
    for name in re.findall(r"\b(?:scripts|experiments|inventory|chaos|probes)/[\w./-]*\w", README):
        if name != "inventory/staging.yaml":  # the reader's own
            assert (ROOT / name).exists(), name
