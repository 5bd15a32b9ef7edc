from __future__ import annotations

from pathlib import Path

import pytest

from chaos import catalog
from chaos.catalog import FaultRegistry
from chaos.errors import SpecError
from chaos.lab.inventory import netns_inventory, to_yaml
from chaos.lab.layout import Layout, lay_out
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


def test_a_peer_that_nobody_knows_has_a_place(tmp_path: Path) -> None:
    file, hosts = tmp_path / "x.yaml", tmp_path / "inventory.yaml"
    file.write_text(
        "name: x\nload: {url: http://192.0.2.1/, arrivals: {rate: 1/s}}\n"
        "timeline: {baseline: 1s, observe: 9s}\nfaults:\n"
        "  - {kind: partition, on: all, for: 1s, peers: [b, far]}\n"
        "  - {kind: partition, on: all, for: 1s, peers:   [10.0.0.1, nobody]}\n"
        "  - {kind: partition, on: a, for: 1s, peers: [a]}\n"
    )
    hosts.write_text(
        "hosts: {a: {address: 10.0.0.1}, b: {address: 127.0.0.1, addresses: [10.0.0.2]}, far: {address: a.example}}\n"
        "groups: {all: [a, b]}\n"
    )
    with pytest.raises(SpecError) as caught:
        check_references(load_experiment(file, catalog.faults()), load_inventory(hosts))
    where, what = zip(*(line.split(": ", 2)[::2] for line in caught.value.lines), strict=True)
    assert where == (f"{file}:5:52", f"{file}:6:61", f"{file}:7:39")
    assert [text.split(" ", 1)[1].partition(" (")[0] for text in what] == [
        "inventory has no numeric address of far off loopback; give it `addresses: [...]`",
        "is no address and no host or group of the inventory",
        "nobody but a itself; no peers at all would mean everybody",
    ]


def test_our_experiments_fit_a_lab(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(
        to_yaml(
            netns_inventory(Layout("netns", "", lay_out(2, {}), 1), {"gateway": 1, "worker-1": 2, "worker-2": 3}, 80)
        )
    )
    for file in (Path(__file__).parents[3] / "experiments").glob("network/*.yaml"):
        check_references(load_experiment(file, catalog.faults()), load_inventory(inventory))
