"""The inventory that a lab writes of itself: `inventory.yaml` and, where hosts are reached by SSH, `known_hosts`.

The keeper writes both once every host is ready. Pure: values in, text out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from chaos.lab.layout import SERVICE_PORT, HostLayout, Layout

Ports = Mapping[str, tuple[int, ...]]
"""Each host's ports on 127.0.0.1: SSH first, then, for the gateway, its service."""


def vm_inventory(layout: Layout, ports: Ports, image: Path, folder: Path) -> dict[str, Any]:
    """Return the inventory of virtual hosts, reached by SSH on loopback, each with a power controller."""
    hosts = {
        h.name: {"address": "127.0.0.1", "port": ports[h.name][0], "endpoint": _endpoint(h)}
        | {"addresses": [h.address, h.address6], "power": _power(h, folder)}
        for h in layout.hosts
    }
    hosts[layout.gateway.name]["endpoint"] = f"127.0.0.1:{ports[layout.gateway.name][1]}"
    defaults = {
        "connection": "ssh",
        "user": "root",
        "identity_file": str(image / "client_key"),
        "known_hosts": str(folder / "known_hosts"),
        "interface": "eth1",
    }
    return {"defaults": defaults, "hosts": hosts, "groups": _groups(layout)}


def netns_inventory(layout: Layout, processes: Mapping[str, int], port: int) -> dict[str, Any]:
    """Return the inventory of namespaced hosts, reached by netlink in the namespace of their first process."""
    hosts = {
        h.name: {"pid": processes[h.name], "endpoint": _endpoint(h), "addresses": [h.address, h.address6]}
        for h in layout.hosts
    }
    hosts[layout.gateway.name]["endpoint"] = f"127.0.0.1:{port}"
    return {"defaults": {"connection": "netns", "interface": "eth0"}, "hosts": hosts, "groups": _groups(layout)}


def known_hosts(ports: Ports, host_key: str) -> str:
    """Return the lines by which ssh knows the hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return "".join(f"[127.0.0.1]:{own[0]} {host_key}\n" for own in ports.values())


def to_yaml(inventory: Mapping[str, Any]) -> str:
    """Return an inventory as YAML, one host a line where it fits, in the order of the layout."""
    return "# written by `gameday lab up`; changes are lost\n" + yaml.safe_dump(
        dict(inventory), sort_keys=False, default_flow_style=None, width=1000
    )


def _endpoint(host: HostLayout) -> str:
    return f"{host.address}:{SERVICE_PORT}"


def _power(host: HostLayout, folder: Path) -> dict[str, Any]:
    """Return the power controller of a host: the lab's own command, told which lab it is."""
    command = ["env", f"GAMEDAY_LAB_DIR={folder}", f"PYTHONPATH={Path(__file__).parents[2]}", sys.executable]
    command += ["-m", "chaos.lab", "power", host.name]
    return {"kind": "command"} | {to: [*command, to] for to in ("on", "off", "status")}


def _groups(layout: Layout) -> dict[str, list[str]]:
    return {"workers": [h.name for h in layout.workers]}
