from __future__ import annotations

from pathlib import Path

import pytest

from chaos.catalog import FaultRegistry
from chaos.errors import SpecError
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory
from chaos.spec.references import check_references


def test_a_url_must_still_be_one_when_filled(tmp_path: Path, registry: FaultRegistry) -> None:
    file, hosts = tmp_path / "x.yaml", tmp_path / "inventory.yaml"
    file.write_text(
        'name: x\nload: {url: "http://{gateway}:80/", arrivals: {rate: 1/s}}\ntimeline: {baseline: 1s, observe: 1s}\n'
    )
    hosts.write_text('hosts: {gateway: {address: a, endpoint: "a:8000"}}\n')
    with pytest.raises(SpecError) as caught:
        check_references(load_experiment(file, registry), load_inventory(hosts))
    assert str(caught.value).startswith(f"{file}:2:8: load.url: ")
