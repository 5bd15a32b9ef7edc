"""What gives a host its power: three commands, Redfish, or IPMI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Tag

from chaos.spec.addresses import Argv, EnvironmentName, HostAddress, LocalPath, Port
from chaos.spec.fields import Spec, Text
from chaos.spec.load import check_url
from chaos.spec.sheet import found


class CommandPower(Spec):
    """A power controller behind three commands, run on the controller's machine."""

    kind: Literal["command"]
    """Commands."""
    on: Argv
    """Gives power; repeatable."""
    off: Argv
    """Cuts power; repeatable."""
    status: Argv
    """Prints `on` or `off`."""


class RedfishPower(Spec):
    """A baseboard management controller that speaks Redfish (DMTF DSP0266)."""

    kind: Literal["redfish"]
    """Redfish."""
    url: Annotated[Text, AfterValidator(check_url)]
    """Of the controller, without a path. With https its certificate is always verified."""
    user: Text
    """The account there."""
    password_env: EnvironmentName
    """The environment variable that holds its password."""
    system: Text | None = None
    """The Id of the system, where the controller has more than one."""
    ca: LocalPath | None = None
    """A file of authorities (PEM) in place of the system's, or the controller's own certificate."""


class IpmiPower(Spec):
    """A baseboard management controller that speaks IPMI 2.0 over the network (RMCP+), by ipmitool(1)."""

    kind: Literal["ipmi"]
    """IPMI."""
    address: HostAddress
    """Of the controller."""
    port: Port = 623
    """Of the controller."""
    user: Text
    """The account there; it needs the privilege of an operator."""
    password_env: EnvironmentName
    """The environment variable that holds its password."""
    cipher_suite: Literal[3, 17] | None = None
    """17 (SHA-256) or, for an old controller, 3 (SHA-1); by default the best that it offers to ipmitool."""


_KINDS = ("command", "redfish", "ipmi")


def _kind(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


def _has_kind(value: Any) -> Any:
    if (kind := _kind(value)) not in _KINDS:
        raise ValueError(f"must be a mapping with `kind`, one of {', '.join(_KINDS)}; found kind {found(kind)}")
    return value


Power = Annotated[
    Annotated[CommandPower, Tag("command")]
    | Annotated[RedfishPower, Tag("redfish")]
    | Annotated[IpmiPower, Tag("ipmi")],
    Discriminator(_kind),
    BeforeValidator(_has_kind),
]
