"""The inventory a lab writes, and the layout behind it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from chaos.lab.inventory import known_hosts, netns_inventory, to_yaml, vm_inventory
from chaos.lab.layout import LISTEN, HostLayout, Layout, appliance, hosts_file, lay_out

LAYOUT = Layout("vm", "asked for", lay_out(2, {}))
PORTS = {"gateway": (23101, 23180), "worker-1": (23102,), "worker-2": (23103,)}


def test_a_vm_inventory_reaches_each_host_by_ssh_on_loopback() -> None:
    read = yaml.safe_load(to_yaml(vm_inventory(LAYOUT, PORTS, Path("/image"), Path("/lab"))))
    assert read["defaults"] == {
        "connection": "ssh",
        "user": "root",
        "identity_file": "/image/client_key",
        "known_hosts": "/lab/known_hosts",
        "interface": "eth1",
    }
    assert read["groups"] == {"workers": ["worker-1", "worker-2"]}
    assert {name: host["port"] for name, host in read["hosts"].items()} == {name: p[0] for name, p in PORTS.items()}
    assert read["hosts"]["gateway"]["endpoint"] == "127.0.0.1:23180"
    assert read["hosts"]["worker-2"]["endpoint"] == "10.77.0.12:8000"


def test_the_power_command_of_a_host_names_it_and_survives_yaml() -> None:
    read = yaml.safe_load(to_yaml(vm_inventory(LAYOUT, PORTS, Path("/image"), Path("/lab dir"))))
    power = read["hosts"]["worker-1"]["power"]
    assert power["kind"] == "command"
    assert power["off"][-5:] == ["-m", "chaos.lab", "power", "worker-1", "off"]
    assert "GAMEDAY_LAB_DIR=/lab dir" in power["on"]


def test_a_netns_inventory_names_each_host_by_its_first_process() -> None:
    pids = {"gateway": 100, "worker-1": 101, "worker-2": 102}
    read = yaml.safe_load(to_yaml(netns_inventory(LAYOUT, pids, 23180)))
    assert read["defaults"] == {"connection": "netns", "interface": "eth0"}
    gateway, worker = ["10.77.0.1", "fd77::1"], ["10.77.0.11", "fd77::11"]
    assert read["hosts"]["gateway"] == {"pid": 100, "endpoint": "127.0.0.1:23180", "addresses": gateway}
    assert read["hosts"]["worker-1"] == {"pid": 101, "endpoint": "10.77.0.11:8000", "addresses": worker}


def test_known_hosts_names_host_and_port() -> None:
    assert known_hosts(PORTS, "ssh-ed25519 AAAA").splitlines()[1] == "[127.0.0.1]:23102 ssh-ed25519 AAAA"


def test_a_layout_comes_back_from_json() -> None:
    layout = Layout("netns", "why", lay_out(3, {"worker-1": ["a", "b c"]}), owner=42)
    assert Layout.from_json(layout.to_json()) == layout


def test_addresses_do_not_collide() -> None:
    hosts = lay_out(200, {})
    for values in ({h.address for h in hosts}, {h.address6 for h in hosts}, {h.mac for h in hosts}):
        assert len(values) == 201


def test_a_host_script_becomes_its_command_word_for_word() -> None:
    words = ["it's", "a b", "$HOME", LISTEN]
    script = HostLayout("h", 1, (sys.executable, "-c", "import sys; print(sys.argv[1:])", *words)).script("fd:7")
    said = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(["it's", "a b", "$HOME", "fd:7"])


def test_a_host_without_a_command_has_an_empty_script() -> None:
    assert HostLayout("h", 1, ()).script("fd:7") == ""


def test_the_appliance_knows_every_worker_by_its_address() -> None:
    gateway = shlex.join(appliance(2)["gateway"])
    assert "--worker worker-1=http://10.77.0.11:8000 --worker worker-2=http://10.77.0.12:8000" in gateway
    assert set(appliance(2)) == {"gateway", "worker-1", "worker-2"}


def test_every_host_is_in_the_hosts_file() -> None:
    assert "10.77.0.12 worker-2\n" in hosts_file(LAYOUT)


def test_importing_the_lab_loads_nothing_heavy() -> None:
    script = (
        "import sys, chaos.lab; "
        "heavy = {'pyroute2', 'paramiko', 'numpy', 'yaml', 'asyncio', 'dataclasses', 'subprocess', 'pydantic'}; "
        "print(heavy & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
