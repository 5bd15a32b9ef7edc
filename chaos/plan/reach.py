"""How far a plan reaches, and whether the inventory allows it.

A fault counts from the moment it is applied to the moment it is to be undone, both included: the undo takes time, so a
step that begins as another ends may overlap with it, and a guard assumes that it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaos.errors import PlanRefused
from chaos.plan.step import Step
from chaos.record.terms import Frozen
from chaos.spec.inventory import Inventory


class BlastRadius(Frozen):
    """Who may be hurt: every host with a fault, and the most at once, as a count and as a share of each group."""

    hosts: tuple[str, ...]
    hosts_at_once: int
    groups_at_once: dict[str, float]


def blast_radius(steps: Sequence[Step], inventory: Inventory) -> BlastRadius:
    """Return how far the steps reach."""
    crowds = [hosts for _, hosts in _moments(steps)]
    return BlastRadius(
        hosts=tuple(dict.fromkeys(step.host for step in steps)),
        hosts_at_once=max(map(len, crowds), default=0),
        groups_at_once={
            name: max((len(crowd.intersection(group)) / len(group) for crowd in crowds), default=0.0)
            for name, group in inventory.groups.items()
        },
    )


def check_reach(steps: Sequence[Step], inventory: Inventory) -> None:
    """Return when the inventory allows all of it. Raises PlanRefused with every line it crosses."""
    objections = [
        *_protected(steps, inventory),
        *_crowded(steps, inventory),
        *_crowded_groups(steps, inventory),
    ]
    if objections:
        raise PlanRefused("\n".join(objections))


def _protected(steps: Sequence[Step], inventory: Inventory) -> Iterator[str]:
    for step in steps:
        if step.host in inventory.protect.hosts:
            yield f"{step.id}: {step.host} is protected (protect.hosts); choose another host with `on`"


def _crowded(steps: Sequence[Step], inventory: Inventory) -> Iterator[str]:
    most = inventory.protect.max_hosts
    when, hosts = max(_moments(steps), key=lambda moment: len(moment[1]), default=(0.0, set()))
    if most is not None and len(hosts) > most:
        yield (
            f"{len(hosts)} hosts would be under a fault at once, at {when:g} s: {_listed(hosts)};"
            f" {most} allowed (protect.max_hosts); pick fewer or leave time between the faults"
        )


def _crowded_groups(steps: Sequence[Step], inventory: Inventory) -> Iterator[str]:
    most = inventory.protect.max_fraction
    for name, group in inventory.groups.items() if most is not None else ():
        moments = [(when, hosts.intersection(group)) for when, hosts in _moments(steps)]
        when, hosts = max(moments, key=lambda moment: len(moment[1]), default=(0.0, set()))
        if most is not None and len(hosts) > most * len(group) + 1e-9:
            yield (
                f"{len(hosts)} of {len(group)} hosts of group {name} would be under a fault at once, at {when:g} s:"
                f" {_listed(hosts)}; at most {most:.0%} allowed (protect.max_fraction)"
            )


def _moments(steps: Sequence[Step]) -> list[tuple[float, set[str]]]:
    """Return the hosts under a fault at each step's beginning; no other moment has more."""
    starts = sorted({step.at_s for step in steps})
    return [(at, {s.host for s in steps if s.at_s <= at <= s.until_s}) for at in starts]


def _listed(hosts: set[str]) -> str:
    return ", ".join(sorted(hosts))
