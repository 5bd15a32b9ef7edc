"""The plan: what is going to happen, as one frozen value.

`make_plan` takes an experiment and an inventory that fit together and gives a `Plan`; the runner carries it out and
writes it to plan.json, where `judge` reads `terms` and nothing else. Hosts are picked here, faults are bound to their
hosts here, and what the inventory protects is refused here, before anything is touched.

Times are in s from the end of the baseline.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any, Literal

from chaos.errors import SpecError
from chaos.overlays import Overlay
from chaos.plan.draw import draw_hosts, draw_seed
from chaos.plan.existing import PlannedLocust, PlannedTraffic, existing_terms, plan_existing
from chaos.plan.reach import BlastRadius, blast_radius, check_reach
from chaos.plan.rehearsal import rehearsed
from chaos.plan.step import LoadStep, Step
from chaos.record.terms import AT_ONCE, AddedRate, Frozen, ProbeTerms, Process, Terms
from chaos.spec.abort import Abort, GivenQuery, PlannedAbort
from chaos.spec.changes import view_of
from chaos.spec.experiment import Experiment, FaultStep
from chaos.spec.inventory import Inventory
from chaos.spec.load import Load, LoadClass, fill, placeholders
from chaos.spec.places import Mistake
from chaos.spec.probes import GivenProbe
from chaos.spec.rates import mean_rate
from chaos.spec.references import candidates, check_references
from chaos.spec.selection import On


class PlannedClass(Frozen):
    """One class of requests; placeholders in the body are filled in as each is sent (`probes.template`)."""

    name: str
    weight: float
    body: str | None
    is_json: bool = False
    prompts: str | None = None


class PlannedStep(Frozen):
    """A stretch of `seconds` (None: to the end) at a rate from `first` to `last`, in 1/s."""

    seconds: float | None
    first: float
    last: float


class PlannedSlo(Frozen):
    """When an answer is good: limits in s, None where there is none."""

    latency: float | None = None
    ttft: float | None = None
    tpot: float | None = None


class PlannedLoad(Frozen):
    """All that a load needs to know but when it starts and where it writes. Times in s, the rate in 1/s."""

    url: str
    method: str
    headers: dict[str, str]
    classes: tuple[PlannedClass, ...]
    process: Process
    rate: float | None
    burstiness: float
    steps: tuple[PlannedStep, ...] = ()
    trace: str | None = None
    fit: Literal["thin", "scale"] | None = None
    seed: int
    duration: float
    slo: PlannedSlo
    timeout: float
    connect_timeout: float
    first_byte_timeout: float | None
    response_limit: int
    connections: int
    stream: bool
    http2: bool
    unix_socket: str | None
    ca: str | None
    certificate: str | None
    key: str | None
    keys: int | None = None
    overlays: tuple[Overlay, ...] = ()
    """What the changes of the load lay over it, in their order; times in s from its start."""
    processes: int = 1
    senders: tuple[str, ...] = ()


class PlannedProbe(Frozen):
    """One health probe: its class as an entry point names it, its parameters in SI units, every target filled in."""

    name: str
    type: str
    parameters: dict[str, Any]


AnyPlannedLoad = PlannedLoad | PlannedLocust | PlannedTraffic


class Plan(Frozen):
    """What one trial of an experiment does. `trial` counts from 0."""

    trial: int
    terms: Terms
    load: AnyPlannedLoad
    probes: tuple[PlannedProbe, ...] = ()
    steps: tuple[Step, ...]
    changes: tuple[LoadStep, ...] = ()
    abort: tuple[PlannedAbort, ...]
    reach: BlastRadius

    @property
    def faulty_until_s(self) -> float:
        """When the last fault is to be undone, in s from the start; 0 where there is none."""
        lead = self.terms.warmup + self.terms.baseline
        return max(
            (lead + until for until in (*(s.until_s for s in self.steps), *(c.until_s for c in self.changes))),
            default=0.0,
        )

    def rehearsed(self) -> Plan:
        """Return the plan of a rehearsal: everything as it is, but no fault is applied and no change made."""
        steps = tuple(step.model_copy(update={"fault": rehearsed(step.fault)}) for step in self.steps)
        terms = self.terms.model_copy(update={"rehearsal": True, "added": ()})
        plain = {"load": self.load.model_copy(update={"overlays": ()})} if self.changes else {}
        return self.model_copy(update={"steps": steps, "terms": terms, "changes": (), **plain})


def make_plan(experiment: Experiment, inventory: Inventory, trial: int = 0) -> Plan:
    """Plan one trial, from 0.

    Raises SpecError for a name the inventory does not have, PlanRefused for a plan that reaches further than it allows.
    """
    check_references(experiment, inventory)
    steps = _side_by_side(
        planned for index, step in experiment.host_steps for planned in _plan(experiment, inventory, index, step, trial)
    )
    _check_clashes(steps, experiment)
    check_reach(steps, inventory)
    load = _load(experiment, inventory, trial)
    return Plan(
        trial=trial,
        terms=_terms(experiment, load, trial),
        load=load,
        probes=tuple(_probe(probe, inventory) for probe in experiment.probes),
        steps=steps,
        changes=tuple(change for change, _ in _changes(experiment, trial)),
        abort=tuple(_abort(condition, inventory) for condition in experiment.abort),
        reach=blast_radius(steps, inventory),
    )


def _side_by_side(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Let each fault know the others of its host."""
    given = tuple(steps)
    of_host: dict[str, list[Step]] = {}
    for step in given:
        of_host.setdefault(step.host, []).append(step)

    def known(step: Step) -> Step:
        beside = of_host[step.host]
        fault = step.fault.among([other.fault for other in beside], beside.index(step))
        return step.model_copy(update={"fault": fault})

    return tuple(map(known, given))


def _check_clashes(steps: tuple[Step, ...], experiment: Experiment) -> None:
    """Refuse faults that can't be on one host at once, under the later of the two. Raises SpecError."""
    mistakes = {}
    for first, second in combinations(steps, 2):
        if first.host == second.host and first.at_s < second.until_s and second.at_s < first.until_s:
            path = ("faults", int(second.fault_id.rpartition("-")[2]))
            if why := second.fault.clash(first.fault):
                mistakes[path] = Mistake(experiment.place(path), path, f"on {second.host}: {why}")
    if mistakes:
        raise SpecError([str(mistake) for mistake in mistakes.values()])


def _plan(experiment: Experiment, inventory: Inventory, index: int, step: FaultStep, trial: int) -> Iterator[Step]:
    hosts = candidates(step.on, inventory)
    if isinstance(step.on, On) and step.on.group:
        hosts = draw_hosts(hosts, step.on.pick.out_of(len(hosts)), experiment.seed, trial, index)
    for host in hosts:
        fault = step.fault.bind(inventory.view(host))
        yield Step(
            id=f"{fault.kind}-{index}@{host}", fault=fault, host=host, at_s=step.at, for_s=step.for_,
            start=step.start, min_hosts=step.min_hosts,
        )  # fmt: skip


def _changes(experiment: Experiment, trial: int) -> Iterator[tuple[LoadStep, Overlay]]:
    """Yield each change of the load with what it lays over it, in s from the end of the baseline."""
    load, rates = experiment.load, experiment.rates(draw_seed(experiment.seed, trial)) if experiment.load_steps else ()
    for index, step in experiment.load_steps:
        assert isinstance(load, Load), "only a load of our own is changed"
        view = view_of(load, rates, step)
        planned = LoadStep(
            id=f"{step.fault.kind}-{index}", fault=step.fault, at_s=step.at, for_s=step.for_,
            asked=step.fault.asked(view),
        )  # fmt: skip
        yield planned, step.fault.overlay(view)


def _added(change: LoadStep, overlay: Overlay) -> Iterator[AddedRate]:
    """Yield what a change adds to the rate."""
    if overlay.requests:
        seconds = max(overlay.end - overlay.begin, AT_ONCE)
        rate = overlay.requests / seconds
        yield AddedRate(fault=change.id, begin=overlay.begin, end=overlay.begin + seconds, first=rate, last=rate)
    for piece in overlay.extra:
        yield AddedRate(fault=change.id, **piece.model_dump())


def _terms(experiment: Experiment, load: AnyPlannedLoad, trial: int) -> Terms:
    timeline = experiment.timeline
    return Terms(
        name=experiment.name,
        hypothesis=experiment.hypothesis,
        **_load_terms(experiment, load),
        warmup=timeline.warmup,
        baseline=timeline.baseline,
        observe=timeline.observe,
        added=tuple(rate for change in _changes(experiment, trial) for rate in _added(*change)),
        budgets=experiment.agreed_budgets,
        probes=tuple(_probe_terms(probe) for probe in experiment.probes),
    )


def _probe_terms(probe: GivenProbe) -> ProbeTerms:
    said = probe.values
    return ProbeTerms(
        name=probe.name,
        kind=said.kind,
        every=said.every,
        timeout=said.timeout,
        failure_threshold=said.failure_threshold,
        success_threshold=said.success_threshold,
    )


def _probe(probe: GivenProbe, inventory: Inventory) -> PlannedProbe:
    filled, cls = probe.filled(inventory.url_of), probe.type
    return PlannedProbe(
        name=probe.name, type=f"{cls.__module__}:{cls.__qualname__}", parameters=filled.model_dump(mode="json")
    )


def _abort(condition: Abort, inventory: Inventory) -> PlannedAbort:
    if not isinstance(condition, GivenQuery):
        return condition
    url = condition.prometheus
    return condition.at(fill(url, {name: inventory.url_of(name) for name in placeholders(url)}))


def _load_terms(experiment: Experiment, planned: AnyPlannedLoad) -> dict[str, Any]:
    load, observe = experiment.load, experiment.timeline.observe
    if not isinstance(load, Load) or not isinstance(planned, PlannedLoad):
        assert not isinstance(load, Load), "a load of our own is planned as one"
        return existing_terms(load)
    slo, profile = _slo(load), experiment.rates(planned.seed)
    return {
        "rate": mean_rate(profile, 0, observe) if profile else load.arrivals.rate or 0.0,
        "profile": profile,
        "process": load.arrivals.process,
        "burstiness": load.arrivals.burstiness,
        "classes": tuple(c.name for c in load.classes),
        "slo_latency": slo.latency,
        "slo_ttft": slo.ttft,
        "slo_tpot": slo.tpot,
        "stream": load.stream,
    }


def _load(experiment: Experiment, inventory: Inventory, trial: int) -> AnyPlannedLoad:
    load, timeline = experiment.load, experiment.timeline
    if not isinstance(load, Load):
        return plan_existing(load, timeline, inventory)
    return PlannedLoad(
        url=fill(load.url, {name: inventory.url_of(name) for name in placeholders(load.url)}),
        method=load.method,
        headers=_headers(load),
        classes=tuple(_class(load, c) for c in load.classes),
        process=load.arrivals.process,
        rate=load.arrivals.rate,
        burstiness=load.arrivals.burstiness,
        steps=tuple(PlannedStep(seconds=s.for_, first=s.rates[0], last=s.rates[1]) for s in load.arrivals.steps),
        trace=load.arrivals.trace,
        fit=load.arrivals.fit,
        seed=draw_seed(experiment.seed, trial),
        duration=timeline.total,
        slo=_slo(load),
        timeout=load.timeout,
        connect_timeout=load.connect_timeout,
        first_byte_timeout=load.first_byte_timeout,
        response_limit=load.response_limit,
        connections=load.connections,
        stream=load.stream,
        http2=load.http2,
        unix_socket=load.unix_socket,
        ca=load.tls.ca if load.tls else None,
        certificate=load.tls.certificate if load.tls else None,
        key=load.tls.key if load.tls else None,
        keys=load.keys,
        overlays=tuple(o.later(timeline.warmup + timeline.baseline) for _, o in _changes(experiment, trial)),
        processes=load.processes,
        senders=inventory.groups[load.on.group] if load.on else (),
    )


def _slo(load: Load) -> PlannedSlo:
    return PlannedSlo(**load.slo.model_dump()) if load.slo else PlannedSlo()


def _headers(load: Load) -> dict[str, str]:
    """Return the headers; JSON bodies are announced as such unless the experiment says otherwise."""
    announced = any(name.lower() == "content-type" for name in load.headers)
    if announced or not any(c.has_json for c in load.classes):
        return dict(load.headers)
    return {"Content-Type": "application/json", **load.headers}


def _class(load: Load, kind: LoadClass) -> PlannedClass:
    return PlannedClass(
        name=kind.name,
        weight=kind.weight,
        body=_body(kind),
        is_json=kind.has_json,
        prompts=kind.prompts or load.prompts,
    )


def _body(request: LoadClass) -> str | None:
    return json.dumps(request.json_, ensure_ascii=False) if request.has_json else request.body
