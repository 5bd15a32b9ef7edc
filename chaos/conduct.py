"""The whole way of an experiment: plan -> run -> recording -> verdict -> report, for the command line and pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.clock import Clock, SystemClock
from chaos.errors import Exit, InputError
from chaos.judge import judge
from chaos.judge.verdict import Verdict
from chaos.record.recording import Recording
from chaos.spec.experiment import Experiment
from chaos.spec.inventory import Inventory

if TYPE_CHECKING:
    from chaos.plan.plan import Plan

_EXIT = {"pass": Exit.PASS, "fail": Exit.BUDGET_BROKEN, "unknown": Exit.UNKNOWN}
_WORST = (Exit.PASS, Exit.UNKNOWN, Exit.BUDGET_BROKEN, Exit.STUCK)


@dataclass(frozen=True)
class Conducted:
    """One trial that was run and judged."""

    recording: Recording
    verdict: Verdict
    report: Path

    @property
    def exit_code(self) -> Exit:
        """What `gameday` ends with for it; an undo that could not be verified outweighs everything."""
        return Exit.STUCK if self.verdict.stuck else _EXIT[self.verdict.rehearsal or self.verdict.verdict]


@dataclass(frozen=True)
class Conductor:
    """Runs experiments against one inventory. `watch` opens a view of a run's progress for an experiment's name.

    `processes` is how many share the load, whatever the experiment says; `dask` the scheduler whose workers run them.
    """

    inventory: Inventory
    out: Path
    watch: Callable[[str], AbstractContextManager[Any]]
    processes: int | None = None
    dask: str | None = None
    rehearsal: bool = False
    """Whether to do everything but apply and undo the faults."""
    confirmed: str | None = None
    """The environment that whoever runs it named."""
    clock: Clock = field(default_factory=SystemClock)

    def check(self, experiments: Sequence[Experiment], trials: int | None = None) -> None:
        """Plan every trial of every experiment, and hold all of them together against `protect`.

        To be called before the first one runs. Raises SpecError or PlanRefused; nothing is touched.
        """
        from chaos.plan.plan import make_plan

        plans = [make_plan(e, self.inventory, trial) for e in experiments for trial in range(trials or e.trials)]
        self._check_day(plans)

    def trials(self, experiment: Experiment, source: str, trials: int | None = None) -> Iterator[Conducted]:
        """Run each trial and judge it. Stops after one that left something stuck or was interrupted."""
        for trial in range(trials or experiment.trials):
            done = self.trial(experiment, source, trial)
            yield done
            outcome = done.recording.named("run.ended")[-1]["outcome"]
            if done.verdict.stuck or outcome == "interrupted":
                return

    def trial(self, experiment: Experiment, source: str, trial: int = 0) -> Conducted:
        """Run one trial (from 0) and judge it. Raises InputError, Refusal or TargetError before anything is touched."""
        from chaos.plan.plan import PlannedLoad, make_plan
        from chaos.run.runner import Runner

        plan = make_plan(experiment, self.inventory, trial)
        self._check_day([plan])  # again: the trials before may have taken longer than was expected
        if self.rehearsal:
            plan = plan.rehearsed()
        if self.processes:
            if not isinstance(plan.load, PlannedLoad):
                raise InputError("--processes: only a load of our own is shared among processes of this machine")
            plan = plan.model_copy(update={"load": plan.load.model_copy(update={"processes": self.processes})})
        with self.watch(experiment.name) as watcher:
            folder = Runner(plan, self.inventory.hosts, source, self.out, watcher, dask=self.dask).run()
        return conclude(Recording.open(folder))

    def _check_day(self, plans: Sequence[Plan]) -> None:
        from chaos.plan.day import check_day
        from chaos.run.runner import Runner

        check_day(plans, self.inventory.protect, self.clock.utc(), Runner.lease, self.confirmed)


def conclude(recording: Recording) -> Conducted:
    """Judge a recording, and write its verdict and its report beside it."""
    from chaos.report.html import write_html
    from chaos.report.jsonout import verdict_json

    verdict = judge(recording)
    (recording.path / "verdict.json").write_text(verdict_json([verdict]), encoding="utf-8")
    report = recording.path / "report.html"
    write_html(recording, verdict, report)
    return Conducted(recording, verdict, report)


def lab_inventory() -> Path:
    """Return the inventory of the lab, which is meant where none is named. Raises InputError when it is not up."""
    from chaos import lab

    up = lab.status()
    if up is None:
        raise InputError("no inventory: name one with -i FILE, or start the lab with `gameday lab up`")
    return up.inventory_path


def worst_exit(codes: list[Exit]) -> Exit:
    """Return the exit code of several trials: STUCK, then a broken budget, then unknown."""
    return max(codes, key=_WORST.index, default=Exit.PASS)
