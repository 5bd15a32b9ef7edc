"""Commands for who writes experiments: check, schema, plan. They touch no host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chaos.cli._common import (
    InventoryOption,
    JsonOption,
    experiment_of,
    experiments_under,
    harmless,
    inventory_of,
    print_json,
    say,
)
from chaos.errors import InputError

if TYPE_CHECKING:
    from chaos.plan.plan import AnyPlannedLoad, Plan
    from chaos.record.terms import Terms
    from chaos.spec.protect import Protect

Files = Annotated[list[Path], typer.Argument(help="Experiments, or folders of them.")]


def check(paths: Files, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """Check experiments offline: keys, units, times; with -i also whether its hosts exist."""
    files = experiments_under(paths)
    mistakes = [line for path in files for line in _mistakes(path, inventory)]
    if as_json:
        print_json({"files": [str(path) for path in files], "mistakes": mistakes})
    else:
        say("\n".join(mistakes) if mistakes else f"{len(files)} checked, nothing wrong", err=bool(mistakes))
    if mistakes:
        raise typer.Exit(2)


def _mistakes(path: Path, inventory: Path | None) -> list[str]:
    from chaos.spec.references import check_references

    try:
        experiment = experiment_of(path)
        if inventory is not None:
            check_references(experiment, inventory_of(inventory))
    except InputError as error:
        return str(error).splitlines()
    return []


def schema() -> None:
    """Print the JSON Schema of an experiment, for editors."""
    from chaos import catalog
    from chaos.spec.schema import experiment_schema

    print_json(experiment_schema(catalog.faults(), catalog.health_probes()))


def plan(file: Path, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """Show what would happen on which host, and its undo. Touches nothing and reads nothing."""
    from chaos.plan.plan import make_plan
    from chaos.run.preview import preview

    known = inventory_of(inventory)
    experiment = experiment_of(file)
    planned = make_plan(experiment, known)
    previews = preview(planned, known)
    if as_json:
        print_json(planned.model_dump(mode="json") | {"commands": [asdict(shown) for shown in previews]})
        return
    load, terms = planned.load, planned.terms
    typer.secho(harmless(terms.name), bold=True)
    say(f"load    {_said(load, terms)}")
    say(f"times   warm-up {terms.warmup:g} s, baseline {terms.baseline:g} s, observation {terms.observe:g} s")
    for probe, said in zip(planned.probes, terms.probes, strict=True):
        at = probe.parameters.get("url") or probe.parameters.get("address") or ""
        say(f"probe   {probe.name} ({said.kind}) every {said.every:g} s {at}".rstrip())
    say("\n".join(_reach(planned, known.protect, experiment.trials)))
    for change in planned.changes:
        asked = ", ".join(f"{name} {value:g}" for name, value in change.asked.items())
        say(f"\nload: {change.fault.kind} from {change.at_s:g} s for {change.for_s:g} s")
        say(f"  asked: {asked}\n  letting go: {change.fault.release}; it ends with the load's process")
    for step, shown in zip(planned.steps, previews, strict=True):
        say(f"\n{step.host}: {step.fault.kind} from {step.at_s:g} s for {step.for_s:g} s")
        say(f"  letting go: {step.fault.release}; the fuse stands on the {step.fault.undo_from}")
        for title, scripts in (("apply", shown.apply), ("undo", shown.undo), ("clean when", shown.clean)):
            say(f"  {title}:")
            say("\n".join(f"    {line}" for script in scripts for line in script.splitlines()))


def _reach(plan: Plan, protect: Protect, trials: int) -> Iterator[str]:
    """Yield how far a plan reaches, and what the inventory allows, a line each."""
    from chaos.clock import SystemClock
    from chaos.plan.day import expected_s, hours_line
    from chaos.run.runner import Runner
    from chaos.units import show_seconds

    reach = plan.reach
    most = f"; {protect.max_hosts} allowed" if protect.max_hosts else ""
    yield f"reach   {', '.join(reach.hosts) or 'no host'}; {reach.hosts_at_once} at once at most{most}"
    part = f"; {protect.max_fraction:.0%} allowed" if protect.max_fraction else ""
    for group, share in reach.groups_at_once.items():
        yield f"        {share:.0%} of group {group} at once{part}"
    yield f"never   {', '.join(protect.hosts) or 'no host is protected'}"
    yield f"hours   {hours_line([plan] * trials, protect, SystemClock().utc(), Runner.lease)}"
    if protect.environment:
        wants = f"; to run it, give --yes-really {protect.environment}" if protect.confirm else ""
        yield f"where   {protect.environment}{wants}"
    lasts = f"{show_seconds(expected_s(plan))} a trial"
    yield f"lasts   {lasts}" + (
        f", {show_seconds(expected_s(plan) * trials)} for {trials} trials" if trials > 1 else ""
    )


def _said(load: AnyPlannedLoad, terms: Terms) -> str:
    """Return what makes the load, in one line."""
    from chaos.plan.existing import PlannedLocust, PlannedTraffic

    if isinstance(load, PlannedLocust):
        to = f" to {load.host}" if load.host else ""
        return f"{load.locustfile} by Locust: {load.users} users, {load.workers} workers{to}"
    if isinstance(load, PlannedTraffic):
        return f"watched every {load.interval:g} s at {load.prometheus}: {load.query}"
    return f"{load.process} {terms.rate:g}/s{' on the mean' * bool(terms.profile)} to {load.url}"
