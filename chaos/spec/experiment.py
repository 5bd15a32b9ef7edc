"""An experiment: one YAML file as one frozen value.

`load_experiment` takes the path and the registry of faults and gives an `Experiment`, or one SpecError with every
mistake in the file. A fault's own fields stand beside `kind`, `on`, `at` and `for` in the YAML and are checked by its
class: the model that validates the YAML is the object that acts.

What only an inventory can tell (does the host exist?) is asked by `references.check_references`; the experiment keeps
its document, so that those mistakes too have a place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal

from pydantic import Field, PrivateAttr, SkipValidation, ValidationError, ValidationInfo, field_validator

from chaos.catalog import FaultRegistry, LoadChangeRegistry, ProbeRegistry, Registry, load_changes
from chaos.contracts import Cause, Fault, LoadChange
from chaos.errors import InputError, Place, SpecError, UnknownKind
from chaos.overlays import RatePiece
from chaos.record.terms import STREAMED, Budget
from chaos.spec.abort import Abort, AbortCondition, ProbeCondition
from chaos.spec.budgets import Budgets, given
from chaos.spec.changes import LoadStep, mistakes
from chaos.spec.fields import Count, Delay, PositiveDuration, Spec, Text, Whole
from chaos.spec.load import Load
from chaos.spec.load_locust import Locust
from chaos.spec.load_prometheus import Traffic
from chaos.spec.loads import AnyLoad
from chaos.spec.places import Document, Path
from chaos.spec.probes import GivenProbe, read_probes
from chaos.spec.rates import intended_rates
from chaos.spec.selection import Selection
from chaos.spec.sheet import Sheet, found, nearest
from chaos.spec.yaml import read_yaml
from chaos.units import show_seconds


class Timeline(Spec):
    """The phases of a run, one after the other. Zero of every time is the end of the baseline."""

    warmup: Delay = 5.0
    """Load before anything counts."""
    baseline: PositiveDuration
    """The steady state that the observation is compared with."""
    observe: PositiveDuration
    """From the first fault's earliest moment to the end of the run: the faults and the recovery."""

    @property
    def total(self) -> float:
        """How long the load lasts, in s."""
        return self.warmup + self.baseline + self.observe


class StepFrame(Spec):
    """Where and when a fault acts."""

    on: Selection
    """A host or a group, or {host: NAME}, {hosts: [NAME, ...]}, {group: NAME, pick: 1 | "50%" | all}."""
    at: Delay = 0.0
    """When it is applied, counted from the end of the baseline."""
    for_: PositiveDuration = Field(alias="for")
    """How long it is held."""
    start: Literal["each", "together"] = "each"
    """each: every host as soon as it is reached. together: all at one moment, by their own clocks."""
    min_hosts: Count | None = None
    """The fewest hosts that must be ready for any to be touched; all of them by default. Others are left out."""


class MomentFrame(StepFrame):
    """Where and when a fault acts that is over once applied, like a kill."""

    for_: PositiveDuration = Field(default=0.0, alias="for")
    """How long to wait before it is undone, where the fault has an undo; not at all by default."""


class LoadFrame(Spec):
    """When a change of the load acts: on no host."""

    at: Delay = 0.0
    """When it begins, counted from the end of the baseline."""
    for_: PositiveDuration = Field(alias="for")
    """How long it lasts."""


class LoadMomentFrame(LoadFrame):
    """When a change of the load acts that may be over at once."""

    for_: PositiveDuration = Field(default=0.0, alias="for")
    """How long it lasts, where it does."""


def frame_of(cause: type[Cause]) -> type[StepFrame | LoadFrame]:
    """Return the frame of a kind's steps: what always lasts must always say how long, what acts on hosts on which."""
    always = cause.lasts is Cause.lasts
    if issubclass(cause, LoadChange):
        return LoadFrame if always else LoadMomentFrame
    return StepFrame if always else MomentFrame


FRAME_KEYS = ("kind", *(field.alias or name for name, field in StepFrame.model_fields.items()))


@dataclass(frozen=True)
class FaultStep:
    """A fault with where and when it acts: applied `at` s after the end of the baseline, held for `for_` s."""

    fault: SkipValidation[Fault[Any]]
    on: Selection
    at: float
    for_: float
    start: Literal["each", "together"] = "each"
    min_hosts: int | None = None


class Experiment(Spec):
    """A hypothesis, the load it is judged under, and the faults that try it."""

    name: Text
    """What reports call it; its recordings lie in a folder of this name."""
    hypothesis: Text = ""
    """What is expected to hold, in a sentence."""
    tags: tuple[Text, ...] = ()
    """Words to select experiments by."""
    seed: Whole = 1
    """All that is random follows from it and the number of the trial."""
    load: AnyLoad
    """What is sent, how often, and what counts as good; or a locustfile; or traffic that is there already."""
    probes: SkipValidation[tuple[GivenProbe, ...]] = ()
    """What is asked beside the load, as monitoring would ask it; each probe has samples and a detection of its own."""
    timeline: Timeline
    """The phases of the run."""
    faults: SkipValidation[tuple[FaultStep | LoadStep, ...]] = ()
    """What is done to which hosts, and to the load; none at all makes a control run."""
    abort: tuple[Abort, ...] = ()
    """Conditions that end the run early, like "goodput < 50% for 10s" or "probe healthz unhealthy for 5s"; the faults
    are undone. A PromQL query is a mapping."""
    budgets: Budgets = Field(default_factory=Budgets)
    """Limits on figures; a budget that is broken fails the run."""
    trials: Count = 1
    """How often the run is repeated."""

    _document: Document | None = PrivateAttr(default=None)

    @field_validator("budgets")
    @classmethod
    def _can_be_measured(cls, budgets: Budgets, info: ValidationInfo) -> Budgets:
        load = info.data.get("load")
        of_streams = [b.name for b in given(budgets) if b.name.startswith(STREAMED)]
        if of_streams and load and not load.stream:
            raise ValueError(f"{', '.join(of_streams)}: of streamed answers only; add stream: true to the load")
        return budgets

    @property
    def agreed_budgets(self) -> tuple[Budget, ...]:
        """The budgets that were written, each limit in its unit."""
        return given(self.budgets)

    @property
    def document(self) -> Document:
        """The file it came from; one without places for an experiment made in code."""
        return self._document or Document(self.name, None, {})

    @property
    def host_steps(self) -> tuple[tuple[int, FaultStep], ...]:
        """What is done to hosts, each with its index among the faults."""
        return tuple((index, step) for index, step in enumerate(self.faults) if isinstance(step, FaultStep))

    @property
    def load_steps(self) -> tuple[tuple[int, LoadStep], ...]:
        """What is done to the load, each with its index among the faults."""
        return tuple((index, step) for index, step in enumerate(self.faults) if isinstance(step, LoadStep))

    def rates(self, seed: int) -> tuple[RatePiece, ...]:
        """Return the rate that is intended over time, none where it is one throughout or nobody knows.

        Raises InputError for a trace that is wrong; `seed` is that of the load.
        """
        if not isinstance(self.load, Load):
            return ()
        times = self.timeline
        return intended_rates(self.load.arrivals, times.warmup, times.baseline, times.observe, seed)

    def place(self, path: Path) -> Place:
        """Return where a value stands in the file."""
        return self.document.place(path)


def load_experiment(
    path: FilePath,
    faults: FaultRegistry,
    probes: ProbeRegistry | None = None,
    changes: LoadChangeRegistry | None = None,
) -> Experiment:
    """Read an experiment. Raises SpecError with every mistake, each at file:line:column.

    `probes` and `changes` of the load are the kinds of the catalogue by default, those of probes loaded only where the
    file has one.
    """
    document = read_yaml(path, SpecError)
    sheet = Sheet(document)
    raw = document.value if isinstance(document.value, dict) else {}
    if raw is not document.value:
        sheet.wrong((), f"an experiment is a mapping that starts with `name:`; found {found(document.value)}")
        sheet.close(SpecError)
    kinds = faults.beside(load_changes() if changes is None else changes)
    steps = _read_steps(sheet, raw.get("faults", []), kinds, path.parent)
    _check_times(sheet, steps, raw.get("timeline"))
    asked = read_probes(sheet, raw["probes"], probes) if "probes" in raw else ()
    experiment = sheet.check(
        Experiment, raw | {"faults": tuple(steps.values()), "probes": asked}, (), context={"folder": path.parent}
    )
    if experiment:
        _check_load(sheet, experiment)
        _check_changes(sheet, experiment, steps)
        _check_abort(sheet, experiment)
    sheet.close(SpecError)
    assert experiment is not None, "the sheet raises when a model has mistakes"
    experiment._document = document
    return experiment


def _read_steps(sheet: Sheet, raw: Any, faults: Registry[Cause], folder: FilePath) -> dict[int, FaultStep | LoadStep]:
    """Return the steps that have no mistake, by their index in the file."""
    if not isinstance(raw, list):
        sheet.wrong(("faults",), f"must be a list; found {found(raw)}")
        return {}
    read = {index: _read_step(sheet, ("faults", index), step, faults, folder) for index, step in enumerate(raw)}
    return {index: step for index, step in read.items() if step}


def _read_step(
    sheet: Sheet, at: Path, raw: Any, faults: Registry[Cause], folder: FilePath
) -> FaultStep | LoadStep | None:
    if not isinstance(raw, dict):
        sheet.wrong(at, f"must be a mapping that starts with `kind:`; found {found(raw)}")
        return None
    cls = _read_kind(sheet, at, raw.get("kind"), faults)
    own = {key: raw[key] for key in raw if key not in FRAME_KEYS}
    frame = sheet.check(frame_of(cls) if cls else StepFrame, {k: raw[k] for k in FRAME_KEYS[1:] if k in raw}, at)
    fault = sheet.check(cls, own, at, context={"folder": folder}, beside=FRAME_KEYS) if cls else None
    if frame and fault and fault.lasts and not frame.for_:
        sheet.wrong((*at, "for"), f"is missing: with these parameters a {fault.kind} lasts")
        return None
    if isinstance(frame, StepFrame) and isinstance(fault, Fault):
        return FaultStep(fault, frame.on, frame.at, frame.for_, frame.start, frame.min_hosts)
    return LoadStep(fault, frame.at, frame.for_) if frame and isinstance(fault, LoadChange) else None


def _read_kind(sheet: Sheet, at: Path, kind: Any, faults: Registry[Cause]) -> type[Cause] | None:
    if not isinstance(kind, str):
        kinds = ", ".join(known for known, _ in faults)
        sheet.wrong((*at, "kind"), f"must name a fault; found {found(kind)} (there are: {kinds})")
        return None
    try:
        return faults.get(kind)
    except UnknownKind as error:
        sheet.wrong((*at, "kind"), str(error))
        return None


def _check_times(sheet: Sheet, steps: dict[int, FaultStep | LoadStep], timeline: Any) -> None:
    """Note each step that outlasts the observation."""
    try:
        observe = Timeline.model_validate(timeline).observe
    except ValidationError:
        return  # its mistakes are noted with the experiment's
    for index, step in steps.items():
        if step.at + step.for_ > observe + 1e-9:  # 0.1 + 0.2 > 0.3 in floats
            end, allowed = show_seconds(step.at + step.for_), show_seconds(observe)
            text = (
                f"the fault would end at {end} (at + for), after the observation ends at {allowed} (timeline.observe)"
            )
            sheet.wrong(("faults", index, "for" if step.for_ else "at"), text)


def _check_load(sheet: Sheet, experiment: Experiment) -> None:
    """Note what the load would find wrong once it runs for the whole timeline, or can't tell in it."""
    load = experiment.load
    if isinstance(load, Load):
        for at, text in load.mistakes(experiment.timeline.total):
            sheet.wrong(("load", *at), text)
    if isinstance(load, Locust) and (why := load.spawning_mistake(experiment.timeline.warmup)):
        sheet.wrong(("load", "spawn_rate"), why)
    before = experiment.timeline.warmup + experiment.timeline.baseline
    if isinstance(load, Traffic) and (why := load.misfit(before)):
        sheet.wrong(("load", "interval"), why)


def _check_changes(sheet: Sheet, experiment: Experiment, steps: dict[int, FaultStep | LoadStep]) -> None:
    """Note each change that the load can't have."""
    changes = tuple((index, step) for index, step in steps.items() if isinstance(step, LoadStep))
    if not changes:
        return
    try:
        rates = experiment.rates(experiment.seed)
    except InputError:
        return  # what is wrong with a trace is noted with the load
    for at, text in mistakes(changes, experiment.load, rates):
        sheet.wrong(at, text)
    for index, step in changes:
        if step.at >= experiment.timeline.observe:
            sheet.wrong(("faults", index, "at"), "begins as the observation ends; nothing of it would be sent")


def _check_abort(sheet: Sheet, experiment: Experiment) -> None:
    """Note each condition that can never be told in this run."""
    unread = any(path[:1] == ("probes",) for path in sheet.paths())  # a probe with a mistake may be the one meant
    for index, condition in enumerate(experiment.abort):
        of_probe = isinstance(condition, ProbeCondition)
        if (why := _untold(condition, experiment)) and not (of_probe and unread):
            sheet.wrong(("abort", index), why)
        if condition.for_s > experiment.timeline.total:
            held, total = show_seconds(condition.for_s), show_seconds(experiment.timeline.total)
            sheet.wrong(("abort", index), f"never holds for {held} in a run of {total} (timeline); shorten `for`")


def _untold(condition: Abort, experiment: Experiment) -> str:
    """Return why nothing in the run says whether a condition holds, or ""."""
    if isinstance(condition, AbortCondition) and isinstance(experiment.load, Traffic):
        return experiment.load.untold(condition.signal)
    probes = [probe.name for probe in experiment.probes]
    if isinstance(condition, ProbeCondition) and condition.probe not in probes:
        there = ", ".join(probes) or "none"
        return f"no probe is called {condition.probe!r}{nearest(condition.probe, probes)} (probes: {there})"
    return ""
