"""An inventory: the hosts, how to reach them, what powers them, and what must not be touched.

`load_inventory` takes a path and gives a frozen `Inventory`, or one InventoryError with every mistake in the file.
`defaults` are filled into every host that does not say otherwise; relative paths start at the inventory's folder, and
`~` is the home of whoever runs the harness. Nothing is looked up: no file, no name, no host.

Passwords are never in an inventory: `password_env` names the environment variable that holds one.
"""

from __future__ import annotations

from functools import cached_property
from ipaddress import IPv6Address
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from chaos.contracts import HostView
from chaos.errors import InventoryError
from chaos.names import InterfaceName
from chaos.spec.addresses import Endpoint, EnvironmentName, HostAddress, LocalPath, Name, NumericAddress, Port, number
from chaos.spec.fields import Count, NotEmpty, Spec, Text
from chaos.spec.places import Path
from chaos.spec.power import Power
from chaos.spec.protect import Protect
from chaos.spec.sheet import Sheet, found, nearest
from chaos.spec.yaml import read_yaml


class Defaults(Spec):
    """What hosts have in common, and how they are reached where nothing else is said."""

    connection: Literal["ssh", "netns", "local"] = "ssh"
    """ssh; netns: the network namespace of process `pid` on this machine; local: this machine itself."""
    port: Port = 22
    """The port of sshd."""
    user: Text | None = None
    """The account to log in to; by default what ~/.ssh/config says, else one's own name."""
    identity_file: LocalPath | None = None
    """The private key; by default the agent's and the usual ones."""
    known_hosts: LocalPath | None = None
    """The host keys to trust; by default ~/.ssh/known_hosts."""
    proxy_jump: Text | None = None
    """The host to go through, as in ssh_config(5)."""
    become: Literal["sudo", "none"] = "none"
    """How to be root there."""
    password_env: EnvironmentName | None = None
    """The environment variable that holds the password for sudo."""
    python: Text = "python3"
    """The Python there that has chaos-gameday[distributed], for a host that loads are sent from."""
    interface: Annotated[InterfaceName, NotEmpty] | None = None
    """The interface that network faults act on."""


class Host(Defaults):
    """One host."""

    address: HostAddress | None = None
    """An IPv4 or IPv6 address, or a name."""
    endpoint: Endpoint | None = None
    """What {name} in a URL stands for, as host or host:port; by default the address."""
    addresses: tuple[NumericAddress, ...] = ()
    """The IPv4 and IPv6 addresses that its peers know it by, for faults that name them; by default its address."""
    pid: Count | None = None
    """For connection netns: a process in that namespace."""
    power: Power | None = None
    """How to cut and give its power from outside."""

    @model_validator(mode="after")
    def _is_within_reach(self) -> Self:
        if self.connection == "ssh" and self.address is None:
            raise ValueError("has no address; connection ssh needs one")
        if self.connection == "netns" and self.pid is None:
            raise ValueError("has no pid; connection netns needs that of a process in the namespace")
        return self

    @property
    def authority(self) -> str | None:
        """What stands for this host in a URL (RFC 3986 3.2); None where neither endpoint nor address is known."""
        if self.endpoint or not self.address:
            return self.endpoint
        return f"[{self.address}]" if isinstance(number(self.address), IPv6Address) else self.address

    @property
    def peer_addresses(self) -> tuple[str, ...]:
        """What its peers know it by, as numbers; empty where only a name or a forwarded port on loopback is known."""
        if self.addresses or not self.address:
            return self.addresses
        known = number(self.address)
        return () if known is None or known.is_loopback else (str(known),)


class Inventory(Spec):
    """Hosts and groups by name, and what is protected."""

    defaults: Defaults = Defaults()
    """Filled into every host that does not say otherwise."""
    hosts: Annotated[dict[Name, Host], NotEmpty]
    """The hosts by name."""
    groups: dict[Name, Annotated[tuple[Text, ...], NotEmpty]] = Field(default_factory=dict)
    """Groups of hosts by name."""
    protect: Protect = Protect()
    """How far an experiment may reach."""

    def members(self, name: str) -> tuple[str, ...]:
        """Return the hosts of a group in the inventory's order, or the one host of that name. Raises KeyError."""
        if name not in self.groups and name not in self.hosts:
            raise KeyError(name)
        return self.groups.get(name, (name,))

    def url_of(self, name: str) -> str:
        """Return what {name} in a URL stands for: a host's endpoint or address (IPv6 in brackets).

        A group stands for its first host: one URL is one door, and spreading load is the gateway's business. Raises
        KeyError for an unknown name, InventoryError for a host that has neither endpoint nor address.
        """
        host = self.members(name)[0]
        authority = self.hosts[host].authority
        if authority is None:
            raise InventoryError([f"hosts.{host}: has neither endpoint nor address, so no URL can lead to it"])
        return authority

    def view(self, host: str) -> HostView:
        """Return what a fault may know of a host. Raises KeyError."""
        known = self.hosts[host]
        return HostView(host, known.interface or "", has_power=known.power is not None, peers=self._peers)

    @cached_property
    def _peers(self) -> dict[str, dict[str, tuple[str, ...]]]:
        names = (*self.hosts, *self.groups)
        return {name: {host: self.hosts[host].peer_addresses for host in self.members(name)} for name in names}


def load_inventory(path: FilePath) -> Inventory:
    """Read an inventory. Raises InventoryError with every mistake, each at file:line:column."""
    sheet = Sheet(read_yaml(path, InventoryError))
    raw = sheet.document.value
    if not isinstance(raw, dict):
        sheet.wrong((), f"an inventory is a mapping with `hosts:`; found {found(raw)}")
        sheet.close(InventoryError)
    context = {"folder": path.parent.absolute()}
    defaults = raw.get("defaults", {})
    sheet.check(Defaults, defaults, ("defaults",), context=context)
    bad = {p[1] for p in sheet.paths() if p[:1] == ("defaults",) and len(p) > 1}
    sound = {k: v for k, v in defaults.items() if k not in bad} if isinstance(defaults, dict) else {}
    inventory = sheet.check(Inventory, _with_defaults(raw, sound), (), context=context)
    _check_names(sheet, raw)
    sheet.close(InventoryError)
    assert inventory is not None, "the sheet raises when a model has mistakes"
    return inventory


def _with_defaults(raw: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the inventory with its defaults filled into every host."""
    hosts = raw.get("hosts")
    if isinstance(hosts, dict):
        filled = {
            name: defaults | (host or {}) if isinstance(host, dict | None) else host for name, host in hosts.items()
        }
        raw = raw | {"hosts": filled}
    return {key: value for key, value in raw.items() if key != "defaults"} | {"defaults": defaults}


def _check_names(sheet: Sheet, raw: dict[str, Any]) -> None:
    """Note each name that should be a host's and is not."""
    hosts = raw.get("hosts") if isinstance(raw.get("hosts"), dict) else {}
    groups = raw.get("groups") if isinstance(raw.get("groups"), dict) else {}
    protect = raw.get("protect") if isinstance(raw.get("protect"), dict) else {}
    assert hosts is not None and groups is not None and protect is not None
    for group, members in groups.items():
        if group in hosts:
            sheet.wrong(("groups", group), "is the name of a host too; a name in `on` or in a URL must mean one thing")
        _check_members(sheet, ("groups", group), members, hosts)
    _check_members(sheet, ("protect", "hosts"), protect.get("hosts"), hosts)


def _check_members(sheet: Sheet, at: Path, members: Any, hosts: dict[str, Any]) -> None:
    for index, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, str) and member not in hosts:
            known = f"{nearest(member, hosts)} (hosts: {', '.join(hosts)})"
            sheet.wrong((*at, index), f"{member!r} is no host of this inventory{known}")
        elif member in members[:index]:
            sheet.wrong((*at, index), f"{member!r} stands twice")
