"""Puts the verdict together: soundness first, then the figures, then the limits.

It takes a recording and gives its `Verdict`. An error in any part travels up: a judge that crashed has no opinion, and
one that swallowed its crash would have the wrong one.
"""

from __future__ import annotations

from chaos.judge.baseline import Survey, survey
from chaos.judge.budgets import judge_budget
from chaos.judge.closed import closed_gate
from chaos.judge.errors import errors_by_kind
from chaos.judge.figures import NEEDS_BASELINE, Measurement, findings_of, load_onset_s
from chaos.judge.finding import Findings
from chaos.judge.generator import Gate, gate
from chaos.judge.interventions import as_it_went, fault_lines, first_touch_s, never_applied
from chaos.judge.probes import Sight, probe_problems, sights_of
from chaos.judge.requests import Requests
from chaos.judge.series import Series, load_requests, load_samples, series_of, whole_windows
from chaos.judge.soundness import drift_of, drift_problems, fault_problems, run_problems, stuck_of
from chaos.judge.streams import streams_of
from chaos.judge.verdict import FaultLine, Outcome, Verdict, worst
from chaos.judge.watched import watched_gate
from chaos.record.recording import Recording
from chaos.record.terms import BUDGETS, Terms


def conclude(recording: Recording) -> Verdict:
    """Return the verdict of a recording. Raises RecordingError when it can't be read."""
    faults = fault_lines(recording)
    terms = as_it_went(recording)
    samples, requests = load_samples(recording), load_requests(recording)
    series = series_of(recording, requests)
    load, steady = _gate(recording, terms, requests, series), _survey(recording, series, terms)
    measurement = Measurement(
        terms=terms,
        zero=recording.zero or 0,
        requests=requests,
        series=series,
        baseline=steady.baseline,
        generator=load.generator,
        faults=() if terms.rehearsal else faults,  # a rehearsal is judged as a control run: nothing was applied
        streams=streams_of(recording, samples.rows),
        calibration=recording.calibration,
    )
    sights = sights_of(recording, first_touch_s(recording), load_onset_s(measurement))
    problems = (
        *run_problems(recording),
        *(load.problems if recording.zero is not None else ()),
        *(steady.problems if measurement.faults or _binds_baseline(terms) else ()),
        *fault_problems(recording, faults),
        *drift_problems(drift_of(recording)),
        *probe_problems(recording, sights),
    )
    errors = errors_by_kind(samples, measurement.due & ~requests.answered)
    shown = tuple(map(never_applied, faults)) if terms.rehearsal else faults
    return _verdict(recording, measurement, problems, errors, sights, shown)


def _gate(recording: Recording, terms: Terms, requests: Requests, series: Series) -> Gate:
    begin = -whole_windows(terms.baseline, terms.window)
    end = max(series.first + len(series.start_s), begin)
    if terms.process == "watched":
        return watched_gate(recording, series, begin)
    if terms.process == "closed":
        return closed_gate(recording, requests, begin, end)
    return gate(requests, terms, begin, end, recording.usage)


def _survey(recording: Recording, series: Series, terms: Terms) -> Survey:
    """Return the baseline; where nothing was recorded, the load's own problem says it all."""
    return survey(series, terms, first_touch_s(recording)) if len(series.start_s) else Survey(None)


def _binds_baseline(terms: Terms) -> bool:
    return any(BUDGETS[b.name].figure in NEEDS_BASELINE for b in terms.budgets)


def _verdict(
    recording: Recording,
    measurement: Measurement,
    problems: tuple[str, ...],
    errors: dict[str, int],
    sights: tuple[Sight, ...],
    faults: tuple[FaultLine, ...],
) -> Verdict:
    terms, findings = recording.terms, findings_of(measurement)
    budgets = [b for b in terms.budgets if not terms.rehearsal or BUDGETS[b.name].figure in findings]
    judged = [judge_budget(budget, findings, sound=not problems) for budget in budgets]
    outcome: Outcome = "unknown" if problems else worst(j.line.verdict for j in judged)
    broken = {BUDGETS[j.line.name].figure: j.reason for j in judged if j.reason}
    return Verdict(
        experiment=terms.name,
        run=str(recording.path),
        verdict="unknown" if terms.rehearsal else outcome,
        rehearsal=outcome if terms.rehearsal else None,
        reasons=(*problems, *broken.values(), *_words({n: f for n, f in findings.items() if n not in broken})),
        generator=measurement.generator,
        figures={name: finding.figure for name, finding in findings.items()},
        errors=errors,
        budgets=tuple(j.line for j in judged),
        faults=faults,
        probes=tuple(sight.line for sight in sights),
        drift=drift_of(recording),
        stuck=stuck_of(recording),
    )


def _words(findings: Findings) -> tuple[str, ...]:
    """Return the figures' own reasons, those that share one joined: `a, b: why`."""
    by_reason: dict[str, list[str]] = {}
    for name, finding in findings.items():
        if finding.reason:
            by_reason.setdefault(finding.reason, []).append(name)
    return tuple(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
