"""A unit of systemd as the faults see it: its name, its properties, and why it is not to be touched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from chaos.contracts import Need

SYSTEMD = Need("systemd", "[ -d /run/systemd/system ] && command -v systemctl", "systemd")
SHOW = """systemctl show -p Id -p Names -p LoadState -p ActiveState -p SubState -p UnitFileState -p InvocationID \\
    -p NRestarts -p Job -p Transient -p NeedDaemonReload -p CanStart -p CanStop \\
    -p RefuseManualStart -p RefuseManualStop"""
"""Sh that, followed by units, prints what `parse` reads."""

_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}")
KEPT = re.compile(
    r"(ssh|sshd|dropbear|dbus|dbus-broker|systemd-.*|user|gameday.*"
    r"|network|networking|NetworkManager.*|connman|dhcpcd|wpa_supplicant|ifup|cloud-init.*|netplan.*"
    r"|nftables|iptables|ip6tables|netfilter-persistent|firewalld|ufw|wg-quick|openvpn.*|tailscaled|strongswan.*|ipsec"
    r"|iscsid|open-iscsi|multipathd|lvm2-.*)(@.*)?\.(service|socket)"
)
"""What the control path, systemd or the fuse may hang on."""
_MOVING = {"activating", "deactivating", "reloading", "maintenance", "refreshing"}


def _unit(value: str) -> str:
    name = value if value.endswith(".service") else f"{value}.service"
    if not _NAME.fullmatch(name) or name[0] in "-.@":
        raise ValueError(f"{value!r} is no name of a service; write it as systemctl(1) prints it, like vllm.service")
    return name


Name = Annotated[str, AfterValidator(_unit)]
"""The name of a service; `.service` may be left out."""


@dataclass(frozen=True)
class Unit:
    """One unit as systemd shows it: its properties by their names (org.freedesktop.systemd1(5))."""

    shown: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.shown.get(name, "")

    @property
    def is_active(self) -> bool:
        """Whether it runs, or has done what it is for."""
        return self["ActiveState"] == "active"

    @property
    def moves(self) -> bool:
        """Whether systemd is about to start or to stop it."""
        return self["ActiveState"] in _MOVING or self["Job"] not in ("", "0")


def parse(printed: str) -> list[Unit]:
    """Return the units in what SHOW printed."""
    blocks = (block for block in printed.split("\n\n") if block)
    return [Unit(dict(line.split("=", 1) for line in block.splitlines() if line)) for block in blocks]


def objection(unit: Unit) -> str | None:
    """Return why a unit must not be stopped, or None."""
    if any(KEPT.fullmatch(name) for name in unit["Names"].split()):
        return "is what the control path, systemd or the fuse may hang on"
    if not re.search(r"\.(service|socket|timer|path)$", unit["Id"]):
        return "is no service, and what hangs on it could not be put back"
    if unit.moves:
        return f"is {unit['ActiveState']}, with an order of somebody else's"
    if unit["Transient"] == "yes":
        return "is transient: once stopped it is gone"
    if unit["NeedDaemonReload"] == "yes":
        return (
            "has a file that was changed since it was loaded, so another would start; `systemctl daemon-reload` first"
        )
    if "yes" in (unit["RefuseManualStart"], unit["RefuseManualStop"]) or "no" in (unit["CanStart"], unit["CanStop"]):
        return "can't be stopped and started by hand"
    return "is masked, so it could not be started again" if unit["UnitFileState"].startswith("masked") else None
