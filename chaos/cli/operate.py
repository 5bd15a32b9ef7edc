"""Commands that reach hosts: preflight, run, heal, panic."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from chaos.cli._common import (
    RUNS,
    DaskOption,
    InventoryOption,
    JsonOption,
    ProcessesOption,
    RunsOption,
    experiment_of,
    experiments_under,
    harmless,
    inventory_of,
    print_json,
    say,
)
from chaos.errors import Exit

_UNDER = 8 * " "  # before what else a host said, under our line


def preflight(file: Path, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """Read the hosts of an experiment: reachable, root, tools, modules, foreign state, leftovers. Touches nothing."""
    from chaos.plan.plan import make_plan
    from chaos.run.connect import target_of
    from chaos.run.preflight import preflight as look

    known = inventory_of(inventory)
    plan = make_plan(experiment_of(file), known)
    targets = {step.host: target_of(step.host, known.hosts[step.host]) for step in plan.steps}
    try:
        findings = look(plan, targets)
    finally:
        for target in targets.values():
            target.close()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "ok     " if finding.fine else "REFUSED"
            say(
                f"{mark} {finding.host}: {finding.what}{': ' + finding.detail if finding.detail else ''}", indent=_UNDER
            )
    if not all(finding.fine for finding in findings):
        raise typer.Exit(int(Exit.REFUSED))


def run(
    files: Annotated[list[Path], typer.Argument(help="Experiments, or folders of them; run one after the other.")],
    inventory: InventoryOption = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Repeat each so often, whatever it says itself.")] = None,
    processes: ProcessesOption = None,
    dask: DaskOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rehearse: do everything but apply the faults.")] = False,
    yes_really: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The environment that is meant, where it is protected.", show_default=False),
    ] = None,
    out: RunsOption = RUNS,
    as_json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show each action.")] = False,
) -> None:
    """Run experiments: live progress, verdict, report."""
    from chaos.conduct import Conducted, Conductor, worst_exit
    from chaos.report.jsonout import verdict_json

    paths = experiments_under(files)
    experiments = [(path, experiment_of(path)) for path in paths]  # all are read before the first one runs
    if verbose:
        show_actions()
    conductor = Conductor(
        inventory_of(inventory), out, progress_on(sys.stderr if as_json else sys.stdout), processes, dask,
        rehearsal=dry_run, confirmed=yes_really,
    )  # fmt: skip
    conductor.check([experiment for _, experiment in experiments], trials)
    done: list[Conducted] = []
    for path, experiment in experiments:
        for trial in conductor.trials(experiment, path.read_text(encoding="utf-8"), trials):
            done.append(trial)
            if not as_json:
                show(trial)
    if as_json:
        sys.stdout.write(verdict_json([trial.verdict for trial in done]))
    raise typer.Exit(int(worst_exit([trial.exit_code for trial in done])))


def heal(
    inventory: InventoryOption = None,
    check: Annotated[bool, typer.Option("--check", help="Touch nothing; say whether anything is left.")] = False,
    out: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Finish every open undo, from ledgers, from fuses on the hosts, and by our marks there; safe to repeat."""
    from chaos.run import heal as healing

    results = (healing.check if check else healing.heal)(inventory_of(inventory), out)
    _show_healed(results, as_json, "LEFT" if check else "STUCK")


def panic(
    inventory: InventoryOption = None,
    release: Annotated[bool, typer.Option("--release", help="Let runs begin again; undoes nothing.")] = False,
    out: RunsOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Undo everything on every host at once, whoever runs it, and let no run begin until --release."""
    from chaos.run import panic as panicking

    known = inventory_of(inventory)
    if release:
        _show_healed(panicking.release(known), as_json, "LOCKED")
        return
    results = panicking.panic(known, out)
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        for result in results:
            say(f"{'clean' if result.clean else 'STUCK'}  {result.host}: {result.seconds:.2f} s")
            for found in result.found:
                say(f"       {found.what}{': ' + found.detail if found.detail else ''}", indent=_UNDER)
        say("no run begins here or there until `gameday panic --release`")
    if not all(result.clean for result in results):
        raise typer.Exit(int(Exit.STUCK))


def _show_healed(results: Sequence[Any], as_json: bool, bad: str) -> None:
    """Print what was found on each host; ends with exit 5 where anything is not clean."""
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        for result in results:
            mark = "clean" if result.clean else bad
            say(f"{mark}  {result.host}: {result.what}{': ' + result.detail if result.detail else ''}", indent=_UNDER)
    if not all(result.clean for result in results):
        raise typer.Exit(int(Exit.STUCK))


def show(trial: Any) -> None:
    """Print the verdict of one trial, and where its report is."""
    from rich.console import Console

    from chaos.judge.series import series_of
    from chaos.report.terminal import render_verdict

    hypothesis = trial.recording.terms.hypothesis
    console = Console()
    render_verdict(trial.verdict, series_of(trial.recording), console, hypothesis=hypothesis, report=trial.report)
    for line in trial.verdict.stuck:
        console.print(harmless(line), style="bold red", markup=False)


def progress_on(stream: Any) -> Any:
    """Return what opens a view of a run's progress on a stream."""
    from rich.console import Console

    from chaos.report.progress import open_progress

    @contextmanager
    def watch(name: str) -> Iterator[Any]:
        progress = open_progress(Console(file=stream), name)
        try:
            yield progress
        finally:
            progress.close()

    return watch


def show_actions() -> None:
    """Log every command that is sent to a host, on standard error."""
    import logging

    class Harmless(logging.Formatter):
        """What is sent to a host holds text from YAML, and what went wrong holds a host's words."""

        def format(self, record: logging.LogRecord) -> str:
            return harmless(super().format(record))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Harmless("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG, handlers=[handler])
    for noisy in ("paramiko", "asyncio", "pyroute2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
