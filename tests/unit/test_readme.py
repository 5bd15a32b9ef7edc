"""What the README shows is what is in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from chaos import catalog
from chaos.cli.author import catalog_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_experiment_is_the_one_in_the_file() -> None:
    shown = re.search(r"```yaml\n# (experiments/\S+)\n(.*?)```", README, re.DOTALL)
    assert shown
    in_file = yaml.safe_load((ROOT / shown[1]).read_text(encoding="utf-8"))
    del in_file["tags"]
    assert yaml.safe_load(shown[2]) == in_file


def test_its_table_of_faults_is_the_catalogue() -> None:
    assert catalog_table(catalog.faults()) in README


def test_every_file_and_script_it_names_is_there() -> None:
    for name in re.findall(r"\b(?:scripts|experiments|inventory|chaos)/[\w./-]*\w", README):
        if name != "inventory/staging.yaml":  # the reader's own
            assert (ROOT / name).exists(), name
