"""From the inventory to targets: how each host is reached, opened side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from chaos.contracts import Target
from chaos.errors import ChaosError, Refusal, Unreachable
from chaos.spec.inventory import Host
from chaos.spec.power import CommandPower, IpmiPower, RedfishPower
from chaos.targets.local import LocalTarget
from chaos.targets.power import PowerController

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 64  # hosts that are talked to at a time


def target_of(name: str, host: Host) -> Target:
    """Return the target for a host; nothing is connected before it is first used. Raises Refusal."""
    power = _power(name, host)
    if host.connection == "local":
        return LocalTarget(name, None, power)
    if host.connection == "netns":
        return LocalTarget(name, host.pid, power)
    from chaos.targets.ssh import SshAddress, SshTarget  # paramiko is dear to import, and only this needs it

    address = SshAddress(
        address=str(host.address),
        port=host.port if host.port != 22 else None,
        user=host.user,
        identity_file=str(host.identity_file) if host.identity_file else None,
        known_hosts=str(host.known_hosts) if host.known_hosts else None,
        proxy_jump=host.proxy_jump,
        become=host.become,
        sudo_password=_secret(name, host.password_env),
    )
    return SshTarget(name, address, power)


def controller() -> Target:
    """Return this machine, where the fuse of a fault stands that takes its host down."""
    return LocalTarget("controller")


def controller_home() -> str:
    """Return where fuses and their state live on this machine: our own state folder, which needs no root."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return f"{base}/gameday"


@contextmanager
def connected(hosts: Mapping[str, Host], names: Iterable[str]) -> Iterator[Mapping[str, Target]]:
    """Hold targets to hosts; each is connected to when it is first used."""
    targets = {name: target_of(name, hosts[name]) for name in dict.fromkeys(names)}
    try:
        yield targets
    finally:
        side_by_side(targets.values(), lambda target: target.close())


def side_by_side(items: Iterable[T], do: Callable[[T], R]) -> list[R]:
    """Do something to each at once; when any fails, raise one error that says it of all that failed."""
    todo = list(items)
    if not todo:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(todo)), "hosts") as pool:
        futures = [pool.submit(do, item) for item in todo]
    failed = [error for future in futures if (error := future.exception()) is not None]
    for error in failed:
        if not isinstance(error, ChaosError):
            raise error
    if len(failed) > 1 and len({type(error) for error in failed}) == 1:
        raise (
            type(failed[0])("\n".join(map(str, failed))) if isinstance(failed[0], Unreachable | Refusal) else failed[0]
        )
    if failed:
        raise failed[0]
    return [future.result() for future in futures]


def _power(name: str, host: Host) -> PowerController | None:
    match host.power:
        case None:
            return None
        case CommandPower(on=on, off=off, status=status):
            return PowerController.by_commands(name, on, off, status)
        case RedfishPower(url=url, user=user, password_env=secret, system=system, ca=ca):
            _secret(name, secret)
            return PowerController.by_redfish(name, url, user, secret, system, str(ca) if ca else None)
        case IpmiPower(address=address, port=port, user=user, password_env=secret, cipher_suite=cipher_suite):
            _secret(name, secret)
            return PowerController.by_ipmi(name, address, port, user, secret, cipher_suite)


def _secret(name: str, variable: str | None) -> str | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise Refusal(f"{name}: the inventory takes its password from ${variable}, which is not set")
    return os.environ[variable]
