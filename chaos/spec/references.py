"""What an experiment asks of an inventory: every host and group it names, and power where a fault cuts it.

Called by `gameday check` and by the plan. It stands apart from reading an experiment because the same file is run
against a lab and against staging.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import Any

from chaos.contracts import Fault, PowerState
from chaos.errors import ChaosError, InventoryError, Misfit, SpecError
from chaos.spec.abort import GivenQuery
from chaos.spec.experiment import Experiment, FaultStep
from chaos.spec.inventory import Inventory
from chaos.spec.load import Load, Senders, check_url, fill, placeholders
from chaos.spec.loads import address_of
from chaos.spec.places import Mistake, Path
from chaos.spec.probes import GivenProbe, mistakes_of
from chaos.spec.selection import On
from chaos.spec.sheet import nearest

Complaint = tuple[Path, str]


def check_references(experiment: Experiment, inventory: Inventory) -> None:
    """Return when the inventory has all that the experiment names. Raises SpecError with every mistake."""
    key, url = address_of(experiment.load)
    complaints = list(_of_url(("load", key), url, inventory)) if url else []
    if isinstance(experiment.load, Load):
        complaints += _of_senders(experiment.load.on, inventory)
    for index, probe in enumerate(experiment.probes):
        complaints += [(("probes", index, *path), text) for path, text in _of_probe(probe, inventory)]
    for index, condition in enumerate(experiment.abort):
        if isinstance(condition, GivenQuery):
            complaints += _of_url(("abort", index, "prometheus"), condition.prometheus, inventory)
    for index, step in experiment.host_steps:
        complaints += [(("faults", index, *path), text) for path, text in _of_step(step, inventory)]
    if not complaints:
        complaints = list(_clashes(experiment, inventory))
    if complaints:
        raise SpecError([str(Mistake(experiment.place(path), path, text)) for path, text in complaints])


def candidates(on: str | On, inventory: Inventory) -> tuple[str, ...]:
    """Return the hosts that a selection may fall on, before any pick. Raises KeyError for an unknown name."""
    if isinstance(on, str):
        return inventory.members(on)
    return on.hosts or ((on.host,) if on.host else inventory.groups[on.group or ""])


def needs_power(fault: Fault[Any]) -> bool:
    """Return whether a fault (bound to its host) works through the host's power controller."""
    return any(isinstance(question, PowerState) for question in fault.reading().questions)


def _of_url(at: Path, url: str, inventory: Inventory) -> Iterator[Complaint]:
    known = [*inventory.hosts, *inventory.groups]
    unknown = [name for name in placeholders(url) if name not in known]
    for name in unknown:
        yield at, f"{{{name}}} is no host or group{_there_are(name, inventory)}"
    if not unknown:
        try:
            check_url(fill(url, {name: inventory.url_of(name) for name in placeholders(url)}))
        except (InventoryError, ValueError) as error:
            yield at, str(error)


def _of_probe(probe: GivenProbe, inventory: Inventory) -> Iterator[Complaint]:
    unknown = [(key, name) for key, name in probe.names() if name not in {*inventory.hosts, *inventory.groups}]
    for key, name in unknown:
        yield (key,), f"{{{name}}} is no host or group{_there_are(name, inventory)}"
    if not unknown:
        try:
            yield from mistakes_of(probe, inventory.url_of)
        except InventoryError as error:
            yield (), str(error)


def _of_senders(on: Senders | None, inventory: Inventory) -> Iterator[Complaint]:
    if on is None:
        return
    at = ("load", "on", "group")
    if on.group not in inventory.groups:
        yield at, f"{on.group!r} is no group{_there_are(on.group, inventory)}"
        return
    for name in inventory.groups[on.group]:
        if inventory.hosts[name].connection != "ssh":
            yield at, f"{name} has connection {inventory.hosts[name].connection}; a load is sent from hosts over ssh"


def _of_step(step: FaultStep, inventory: Inventory) -> Iterator[Complaint]:
    unknown = list(_unknown_names(step.on, inventory))
    yield from unknown
    if unknown:
        return
    hosts = candidates(step.on, inventory)
    if isinstance(step.on, On) and (asked := step.on.pick.out_of(len(hosts))) > len(hosts):
        yield ("on", "pick"), f"asks for {asked} hosts; the group {step.on.group} has {len(hosts)}"
    if step.min_hosts and step.min_hosts > (most := _chosen(step.on, len(hosts))):
        yield ("min_hosts",), f"asks for {step.min_hosts} hosts; the fault acts on {most}"
    yield from dict.fromkeys(complaint for host in hosts for complaint in _of_host(step, host, inventory))


def _clashes(experiment: Experiment, inventory: Inventory) -> Iterator[Complaint]:
    """Yield faults that can't be on one host at once and are sure to be; where hosts are drawn, the plan tells."""
    for (_, first), (index, second) in combinations(experiment.host_steps, 2):
        if first.at >= second.at + second.for_ or second.at >= first.at + first.for_:
            continue
        hosts = [candidates(step.on, inventory) for step in (first, second)]
        drawn = any(_chosen(step.on, len(of)) < len(of) for step, of in zip((first, second), hosts, strict=True))
        for host in () if drawn else sorted({*hosts[0]}.intersection(hosts[1])):
            view = inventory.view(host)
            if why := second.fault.bind(view).clash(first.fault.bind(view)):
                yield ("faults", index), f"on {host}: {why}"


def _chosen(on: str | On, hosts: int) -> int:
    return on.pick.out_of(hosts) if isinstance(on, On) and on.group else hosts


def _of_host(step: FaultStep, host: str, inventory: Inventory) -> Iterator[Complaint]:
    try:
        bound = step.fault.bind(inventory.view(host))
        lacking = inventory.hosts[host].power is None and needs_power(bound)
    except Misfit as error:
        yield error.path, str(error)
        return
    except (ChaosError, ValueError) as error:  # a fault that can't be bound to this host says why
        yield (), f"{step.fault.kind} on {host}: {error}"
        return
    if lacking:
        yield ("on",), f"{step.fault.kind} cuts the power of {host}, and the inventory gives it no `power`"


def _unknown_names(on: str | On, inventory: Inventory) -> Iterator[Complaint]:
    if isinstance(on, str):
        if on not in inventory.hosts and on not in inventory.groups:
            yield ("on",), f"{on!r} is no host or group{_there_are(on, inventory)}"
        return
    if on.group and on.group not in inventory.groups:
        yield ("on", "group"), f"{on.group!r} is {_instead(on.group, 'group', inventory.hosts, 'host', inventory)}"
    if on.host and on.host not in inventory.hosts:
        yield ("on", "host"), f"{on.host!r} is {_instead(on.host, 'host', inventory.groups, 'group', inventory)}"
    for index, name in enumerate(on.hosts or ()):
        if name not in inventory.hosts:
            yield ("on", "hosts", index), f"{name!r} is {_instead(name, 'host', inventory.groups, 'group', inventory)}"


def _instead(name: str, wanted: str, others: Collection[str], other: str, inventory: Inventory) -> str:
    """Return what a name is that was wanted as a host or as a group."""
    if name in others:
        return f"a {other} and no {wanted}; write `{other}: {name}`"
    return f"no {wanted}{_there_are(name, inventory)}"


def _there_are(name: str, inventory: Inventory) -> str:
    hint = nearest(name, [*inventory.hosts, *inventory.groups])
    groups = f"; groups: {', '.join(inventory.groups)}" if inventory.groups else ""
    return f" of this inventory{hint} (hosts: {', '.join(inventory.hosts)}{groups})"
