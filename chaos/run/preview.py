"""The commands a plan would run, without a host: what each fault would do to a healthy one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.plan.plan import Plan
from chaos.run.connect import target_of
from chaos.spec.inventory import Inventory


@dataclass(frozen=True)
class Preview:
    """One step's commands (sh); the real ones are made for the host as it was read."""

    step: str
    apply: tuple[str, ...]
    undo: tuple[str, ...]
    clean: tuple[str, ...]


def preview(plan: Plan, inventory: Inventory) -> list[Preview]:
    """Return the commands of every step."""
    shown = []
    for step in plan.steps:
        target, state = target_of(step.host, inventory.hosts[step.host]), step.fault.typical()
        apply = [target.render(action) for action in step.fault.apply(state)] if state else []
        revert = [target.render(action) for action in step.fault.revert(state)] if state else []
        shown.append(
            Preview(
                step.id,
                tuple(action.do for action in apply),
                tuple(action.do for action in revert),
                tuple(action.until for action in revert),
            )
        )
    return shown
