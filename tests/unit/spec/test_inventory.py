from __future__ import annotations

from pathlib import Path

import pytest

from chaos.errors import InventoryError
from chaos.spec.inventory import Inventory, load_inventory
from chaos.spec.power import RedfishPower

ROOT = Path(__file__).parents[3]
CASES = ROOT / "tests" / "cases" / "spec"


def write(folder: Path, text: str) -> Inventory:
    file = folder / "inventory.yaml"
    file.write_text(text, encoding="utf-8")
    return load_inventory(file)


def test_the_documented_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/sre")
    inventory = load_inventory(CASES / "good-inventory.yaml")
    worker = inventory.hosts["worker-1"]
    assert (worker.address, worker.user, worker.become, worker.interface) == ("10.0.0.11", "sre", "sudo", "eth0")
    assert worker.identity_file == Path("/home/sre/.ssh/id_ed25519")
    assert isinstance(worker.power, RedfishPower)
    assert inventory.groups == {"workers": ("worker-1", "worker-2")}
    assert (inventory.protect.hosts, inventory.protect.max_hosts) == (("gateway",), 1)
    assert inventory.protect.max_fraction == pytest.approx(0.5)


def test_the_example_for_staging() -> None:
    inventory = load_inventory(ROOT / "inventory" / "staging.example.yaml")
    powers = [inventory.hosts[f"worker-{n}"].power for n in (1, 2, 3)]
    assert [power and power.kind for power in powers] == ["redfish", "ipmi", "command"]
    assert isinstance(powers[0], RedfishPower)
    assert powers[0].ca == ROOT / "inventory" / "bmc-ca.pem"
    assert inventory.url_of("gateway") == "10.0.0.10:8000"
    assert inventory.url_of("worker-2") == "[2001:db8::12]"


def test_a_host_overrides_the_defaults_and_paths_start_at_the_folder(tmp_path: Path) -> None:
    inventory = write(
        tmp_path,
        "defaults: {port: 2222, identity_file: keys/id, interface: eth1}\n"
        "hosts:\n"
        "  a: {address: a.example}\n"
        "  b: {address: b.example, port: 22, known_hosts: /etc/known, interface: bond0}\n",
    )
    a, b = inventory.hosts["a"], inventory.hosts["b"]
    assert (a.port, a.identity_file, a.interface) == (2222, tmp_path / "keys" / "id", "eth1")
    assert (b.port, b.identity_file, b.known_hosts) == (22, tmp_path / "keys" / "id", Path("/etc/known"))
    assert inventory.view("b").interface == "bond0"


def test_hosts_of_the_lab(tmp_path: Path) -> None:
    inventory = write(
        tmp_path,
        "hosts:\n"
        '  gateway: {connection: netns, pid: 4242, endpoint: "127.0.0.1:23180", interface: eth0}\n'
        "  here: {connection: local}\n"
        "groups: {all: [gateway, here]}\n",
    )
    assert inventory.url_of("all") == "127.0.0.1:23180"
    assert inventory.members("here") == ("here",)
    with pytest.raises(InventoryError, match="neither endpoint nor address"):
        inventory.url_of("here")
    with pytest.raises(KeyError):
        inventory.url_of("nobody")
